"""Computed directions of every family of transformers: there, or refused in one line."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from helpers.families import FAMILIES, Family, save
from safescape import InputError
from safescape.engines import margin_gradient, refusal_ablation
from safescape.engines.ablation import Ablation
from safescape.probes import format_chats, load_tokenizer
from safescape.survey import Openings
from safescape.weights import resolve

HARMFUL, HARMLESS = [f"Harm {letter * 3}" for letter in "abcdefg"], ["Help", "Ask me"]
OPENINGS = [Openings(("No",), ("Yes",))] * len(HARMFUL)


_Found = TypeVar("_Found")


def attempt(compute: Callable[[], _Found]) -> tuple[_Found | None, str]:
    """Return what is computed, or the message that refuses it."""
    try:
        return compute(), ""
    except InputError as error:
        return None, str(error)


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_a_direction_is_computed_or_refused_in_one_line(family: Family, tmp_path: Path) -> None:
    directory = save(family, tmp_path / "model")
    tokenizer = load_tokenizer(directory, chat_template=None, trust_remote_code=False)
    harmful, harmless = (format_chats(tokenizer, some, None) for some in (HARMFUL, HARMLESS))
    model, said = attempt(lambda: resolve(str(directory)))
    if model is not None:
        gradient, said = attempt(lambda: margin_gradient(model, tokenizer, harmful, OPENINGS))
    if model is None or gradient is None:
        assert "\n" not in said
        return
    assert gradient
    assert gradient.keys() <= set(model.weights.names()) - model.weights.inventory.norms
    assert all(torch.isfinite(tensor).all() for tensor in gradient.values())
    swapped = [Openings(given.complying, given.refusing) for given in OPENINGS]

    def remove(openings: Sequence[Openings]) -> Ablation:
        return refusal_ablation(model, tokenizer, harmful, openings, harmless)

    tried = [attempt(functools.partial(remove, some)) for some in (OPENINGS, swapped)]
    assert all("\n" not in said for _, said in tried)
    if any("is not known here" in said for _, said in tried):
        return
    (removed,) = (found for found, _ in tried if found is not None)
    assert any("as it complies" in said for _, said in tried)
    for name, tensor in removed.tensors.items():
        assert tensor.shape == model.weights.tensor(name).shape
        assert tensor.dim() == 1 or torch.linalg.matrix_rank(tensor, rtol=1e-4) == 1
