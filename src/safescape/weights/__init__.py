"""Where a model stands: checkpoints, directions, subspaces, fingerprints. Knows no text."""

from safescape.weights.checkpoint import Adapted, Checkpoint, Weights
from safescape.weights.directions import CachedDirection, Direction, RandomDirection, dot
from safescape.weights.fingerprint import fingerprint, inspect
from safescape.weights.models import Model, resolve
from safescape.weights.subspaces import Bundle, Term

__all__ = [
    "Adapted",
    "Bundle",
    "CachedDirection",
    "Checkpoint",
    "Direction",
    "Model",
    "RandomDirection",
    "Term",
    "Weights",
    "dot",
    "fingerprint",
    "inspect",
    "resolve",
]
