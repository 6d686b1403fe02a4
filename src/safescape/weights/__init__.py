"""Weights on disk and their movement: checkpoints, adapters, directions, subspaces, movers, fingerprints."""

from safescape.weights.blocks import BlockSpace, save_blend, save_rescaled
from safescape.weights.checkpoint import (
    Checkpoint,
    ModelWeights,
    Weights,
    fingerprint,
    fingerprint_of_stream,
    inspect,
)
from safescape.weights.chosen import chosen, layer_of
from safescape.weights.computed import (
    at_the_norm_of,
    directions_of,
    file_of,
    fingerprint_of_file,
    length_of,
    save_direction,
)
from safescape.weights.directions import (
    Direction,
    InterpolationDirection,
    RandomDirection,
    noise_device,
)
from safescape.weights.fused import views_of_parts
from safescape.weights.gpu_mover import mover_of
from safescape.weights.inner_product import dot
from safescape.weights.inventory import Inventory, auto_class, inventory_of, loading, norms_of, quiet
from safescape.weights.lora import Adapted, ScaledAdapter
from safescape.weights.lora_changes import LowRank
from safescape.weights.lora_config import REFUSED_FIELDS, UNMERGED_FIELDS
from safescape.weights.models import Model, adapter_directory, checkpoint_of, identity, resolve
from safescape.weights.move import Move, Sums, position_of
from safescape.weights.mover import Mover, free_memory
from safescape.weights.order import RowBlocks
from safescape.weights.parts import Part
from safescape.weights.share import Share, shares_of
from safescape.weights.subspace import Space, Subspace, difference_of, resized_embeddings

__all__ = [
    "REFUSED_FIELDS",
    "UNMERGED_FIELDS",
    "Adapted",
    "BlockSpace",
    "Checkpoint",
    "Direction",
    "InterpolationDirection",
    "Inventory",
    "LowRank",
    "Model",
    "ModelWeights",
    "Move",
    "Mover",
    "Part",
    "RandomDirection",
    "RowBlocks",
    "ScaledAdapter",
    "Share",
    "Space",
    "Subspace",
    "Sums",
    "Weights",
    "adapter_directory",
    "at_the_norm_of",
    "auto_class",
    "checkpoint_of",
    "chosen",
    "difference_of",
    "directions_of",
    "dot",
    "file_of",
    "fingerprint",
    "fingerprint_of_file",
    "fingerprint_of_stream",
    "free_memory",
    "identity",
    "inspect",
    "inventory_of",
    "layer_of",
    "length_of",
    "loading",
    "mover_of",
    "noise_device",
    "norms_of",
    "position_of",
    "quiet",
    "resized_embeddings",
    "resolve",
    "save_blend",
    "save_direction",
    "save_rescaled",
    "shares_of",
    "views_of_parts",
]
