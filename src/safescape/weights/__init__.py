"""Where a model stands: checkpoints, directions, subspaces, fingerprints. Knows no text."""

from safescape.weights.blocks import Blends, layer_of
from safescape.weights.checkpoint import BEYOND_LORA, Adapted, Checkpoint, LowRank, Weights
from safescape.weights.directions import (
    Direction,
    InterpolationDirection,
    OrthogonalDirection,
    Products,
    RandomDirection,
    dot,
    products,
)
from safescape.weights.fingerprint import fingerprint, fingerprint_in_turn, inspect
from safescape.weights.lora import ScaledAdapter
from safescape.weights.models import Model, adapter_directory, identity, resolve
from safescape.weights.mover import Mover, Moving
from safescape.weights.subspace import Displacement, Space, Subspace, Term, resized_embeddings

__all__ = [
    "BEYOND_LORA",
    "Adapted",
    "Blends",
    "Checkpoint",
    "Direction",
    "Displacement",
    "InterpolationDirection",
    "LowRank",
    "Model",
    "Mover",
    "Moving",
    "OrthogonalDirection",
    "Products",
    "RandomDirection",
    "ScaledAdapter",
    "Space",
    "Subspace",
    "Term",
    "Weights",
    "adapter_directory",
    "dot",
    "fingerprint",
    "fingerprint_in_turn",
    "identity",
    "inspect",
    "layer_of",
    "products",
    "resized_embeddings",
    "resolve",
]
