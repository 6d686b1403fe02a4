"""Which parameters of a model move, as a user chooses them by `--only`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from safescape.errors import InputError
from safescape.weights.checkpoint import ModelWeights

_KINDS = {
    "attention": r"attn|attention",
    "mlp": r"mlp|feed_forward|ffn|experts|\.fc\d",
    "embeddings": r"embed_tokens|wte|wpe|embed_in|word_embeddings|embed_positions",
    "head": r"lm_head|embed_out",
}
"""Kinds of parameters, each with a pattern of their names."""
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block)\.(\d+)\.")
_LAYERS = re.compile(r"layers\.(\d+)(?:-(\d+))?")
_SHOWN = 6


def layer_of(name: str) -> int | None:
    """Return the number of a tensor's layer, counted from 0; None for embeddings, final norm and head."""
    found = _LAYER.search(name)
    return int(found[1]) if found else None


def chosen(only: str, weights: ModelWeights) -> frozenset[str]:
    """Return the names of the parameters that move; those of normalisation layers never do.

    Args:
        only: One or more of these, separated by commas: `layers.3` or `layers.8-15` (counted from 0), `attention`,
            `mlp`, `embeddings`, `head`, or a regular expression that is searched for in the names.
        weights: Of the model.

    Raises:
        InputError: a part of it selects no parameter that moves; the message lists what there is.

    """
    names = [name for name in weights.names() if name not in weights.inventory.norms]
    found: set[str] = set()
    for part in only.split(","):
        some = _selected(part.strip(), names, only)
        if not some:
            raise InputError(f"--only {only}: {part.strip()!r} selects nothing that moves; {_listed(names)}")
        found |= some
    return frozenset(found)


def _selected(part: str, names: Sequence[str], only: str) -> set[str]:
    if layers := _LAYERS.fullmatch(part):
        first, last = int(layers[1]), int(layers[2] or layers[1])
        return {name for name in names if (number := layer_of(name)) is not None and first <= number <= last}
    try:
        pattern = re.compile(_KINDS.get(part, part))
    except re.error as error:
        raise InputError(f"--only {only}: {part!r} is no regular expression ({error}); {_listed(names)}") from error
    return {name for name in names if part and pattern.search(name)}


def _listed(names: Sequence[str]) -> str:
    """What can be selected of a model, in words."""
    numbers = [number for name in names if (number := layer_of(name)) is not None]
    layers = [f"layers.0 to layers.{max(numbers)}"] if numbers else []
    kinds = [kind for kind, pattern in _KINDS.items() if any(re.search(pattern, name) for name in names)]
    some = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"expected of {', '.join([*layers, *kinds])}, or a regular expression for names such as {some}"
