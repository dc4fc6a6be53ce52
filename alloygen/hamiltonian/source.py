"""Hamiltonians by name or file, for configurations and the command line."""

from __future__ import annotations

import json
import os

from alloygen.errors import AlloygenError
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.types import PathLike


def expansion_from(spec: ClusterExpansion | PathLike) -> ClusterExpansion:
    """A ClusterExpansion from itself, "cuau", "ising", or the path of a file in alloygen's JSON format."""
    if isinstance(spec, ClusterExpansion):
        return spec
    if spec == "cuau":
        from alloygen import data

        return data.cuau()
    if spec == "ising":
        from alloygen.hamiltonian.ising import ising_expansion

        return ising_expansion()
    if isinstance(spec, (str, os.PathLike)) and os.path.isfile(spec):
        try:
            with open(spec) as f:
                return ClusterExpansion.from_dict(json.load(f))
        except AlloygenError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise AlloygenError(
                f"expected an expansion in alloygen's JSON format (to_dict) in {os.fspath(spec)!r}, got a file that holds none "
                f"({type(error).__name__}: {error}). Write it anew; for CLEASE settings use alloygen.from_clease."
            ) from None
    raise AlloygenError(
        f"expected a Hamiltonian: 'cuau', 'ising', a ClusterExpansion, or the path of its JSON file, got {spec!r}. "
        "For CLEASE settings and ECIs use alloygen.hamiltonian.clease.from_clease first."
    )
