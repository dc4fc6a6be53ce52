"""Generative models. ``MODELS`` names the kinds that a checkpoint or a configuration may ask for."""

from alloygen.models.causal import CausalModel
from alloygen.models.family import FamilyModel
from alloygen.models.local import LocalModel
from alloygen.models.masked import AutoregressiveModel, MarginalizationModel

MODELS = {m.kind: m for m in (LocalModel, FamilyModel, CausalModel, AutoregressiveModel, MarginalizationModel)}
