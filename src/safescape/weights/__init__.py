"""Where a model stands: checkpoints, directions, subspaces, fingerprints. Knows no text."""

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
from safescape.weights.fingerprint import fingerprint, inspect
from safescape.weights.models import Model, resolve
from safescape.weights.moving import Mover
from safescape.weights.subspaces import Displacement, Subspace, Term, resized_embeddings

__all__ = [
    "BEYOND_LORA",
    "Adapted",
    "Checkpoint",
    "Direction",
    "Displacement",
    "InterpolationDirection",
    "LowRank",
    "Model",
    "Mover",
    "OrthogonalDirection",
    "Products",
    "RandomDirection",
    "Subspace",
    "Term",
    "Weights",
    "dot",
    "fingerprint",
    "inspect",
    "products",
    "resized_embeddings",
    "resolve",
]
