"""The errors that users meet. Each says what was expected, what came, and how to mend it."""


class AlloygenError(ValueError):
    """Base of every error that bad input raises."""


class LatticeMismatch(AlloygenError):
    """Atoms, checkpoint or Hamiltonian do not belong to the lattice at hand."""


class UnknownSpecies(AlloygenError):
    """An element that the sublattice, the Hamiltonian or the chemical potentials do not know."""


class BadCondition(AlloygenError):
    """A temperature or a chemical potential that cannot be used."""


class CheckpointError(AlloygenError):
    """A checkpoint that is damaged, newer than the code, or made for another Hamiltonian or lattice."""


class ConfigError(AlloygenError):
    """A training configuration with an unknown key or an impossible value."""


class TooLarge(AlloygenError):
    """What would need more memory than the machine has, or a time without end; told before any work."""


class OutsideTrainedRange(UserWarning):
    """A condition outside the range that the model was trained on."""


class LowSampleSize(UserWarning):
    """An importance-weighted estimate that rests on too few effective samples."""


class NotLabelled(UserWarning):
    """Configurations that a calculator has no energy for, and which are kept apart."""


class NotConverged(UserWarning):
    """A Monte Carlo run that has not forgotten its start, or has not reached the precision asked for."""


class NotSaved(UserWarning):
    """A file that could not be written, while what was to be in it is still at hand."""


class WorkersLost(UserWarning):
    """An executor that broke on the way; this process does what is left."""


class UnusableModel(UserWarning):
    """A file among the models that cannot be used and is passed over."""


class StrainTaken(UserWarning):
    """A cell that is noticeably strained against the lattice, and was taken as a relaxed one."""


class NoModel(UserWarning):
    """Monte Carlo in place of a model, because none fits the supercell or the Hamiltonian."""


class OtherAlloy(UserWarning):
    """The expansion that ships, where a law of an own alloy has the same elements."""


class FitWarning(UserWarning):
    """A fit of an expansion that rests on structures which map badly, or whose ground states are not those of its data."""
