"""Generative models. ``MODELS`` names the kinds that a checkpoint or a configuration may ask for."""

from alloygen.models.causal import CausalModel

MODELS = {CausalModel.kind: CausalModel}
