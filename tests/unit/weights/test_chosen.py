"""Which parameters move: layers, kinds and patterns of names, and what is said where nothing does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, PretrainedConfig

import safescape
from helpers import tiny_models
from safescape import InputError
from safescape.survey import Lines, Point, RandomAxis
from safescape.weights import Subspace, chosen, resolve

LLAMA = tiny_models.llama_config(tie_word_embeddings=False, num_hidden_layers=3)
GPT2 = GPT2Config(vocab_size=260, n_embd=32, n_layer=3, n_head=4, n_positions=256, eos_token_id=0)


def names(tmp_path: Path, config: PretrainedConfig, only: str) -> set[str]:
    directory = tmp_path / "model"
    if not directory.exists():
        tiny_models.save_model(directory, config)
    return set(chosen(only, resolve(str(directory)).weights))


def test_layers_and_kinds_of_a_llama(tmp_path: Path) -> None:
    every = names(tmp_path, LLAMA, ".")
    assert "model.norm.weight" not in every
    first = {name for name in every if name.startswith("model.layers.0.")}
    assert len(first) == 7
    assert names(tmp_path, LLAMA, "layers.0") == first
    later = {name for name in every if name.startswith(("model.layers.1.", "model.layers.2."))}
    assert names(tmp_path, LLAMA, "layers.1-2") == later
    assert names(tmp_path, LLAMA, "attention") == {name for name in every if "self_attn" in name}
    assert names(tmp_path, LLAMA, "mlp") == {name for name in every if ".mlp." in name}
    assert names(tmp_path, LLAMA, "embeddings") == {"model.embed_tokens.weight"}
    assert names(tmp_path, LLAMA, "head") == {"lm_head.weight"}
    assert names(tmp_path, LLAMA, "layers.0, head") == first | {"lm_head.weight"}
    assert names(tmp_path, LLAMA, r"layers\.[02]\..*q_proj") == {
        f"model.layers.{number}.self_attn.q_proj.weight" for number in (0, 2)
    }


def test_kinds_of_a_gpt2_are_parts_of_all(tmp_path: Path) -> None:
    kinds = [names(tmp_path, GPT2, kind) for kind in ("attention", "mlp", "embeddings")]
    every = names(tmp_path, GPT2, ".")
    assert set.union(*kinds) == every
    assert sum(map(len, kinds)) == len(every)
    assert not any("ln_" in name for name in every)


@pytest.mark.parametrize(
    ("only", "message"),
    [
        (
            "layers.9",
            "'layers.9' selects nothing that moves; expected of layers.0 to layers.2, attention",
        ),
        ("attention,nothing", "--only attention,nothing: 'nothing' selects nothing that moves"),
        ("", "--only : '' selects nothing that moves"),
        ("norm", "'norm' selects nothing that moves"),
        ("(", "'(' is no regular expression"),
    ],
)
def test_what_selects_nothing_is_refused_with_what_there_is(tmp_path: Path, only: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        names(tmp_path, LLAMA, only)
    assert message in str(refused.value)
    assert "model.embed_tokens.weight" in str(refused.value)


def test_only_what_was_chosen_moves_and_as_far_as_without_a_choice(tmp_path: Path) -> None:
    directory = tiny_models.save_model(tmp_path / "model", LLAMA)
    origin = resolve(str(directory)).weights
    whole, part = (
        Subspace(Lines(axes=(RandomAxis(seed=3, span=0.5, steps=2, only=only),)), origin)
        for only in (None, "attention")
    )
    for name in origin.names():
        tensor = origin.tensor(name)
        moved, expected = (space.frame(Point(0, (0.5,)))[0].tensor(name, tensor) for space in (part, whole))
        assert torch.equal(moved, expected if "self_attn" in name else torch.zeros_like(expected))


def test_a_scan_of_a_choice_says_so_everywhere(tiny_model: Path, tmp_path: Path) -> None:
    small: dict[str, Any] = {"limit": 3, "max_new_tokens": 4, "judges": "keyword", "directions": 2, "steps": 2}
    run = safescape.scan(str(tiny_model), out=tmp_path / "run", only="layers.0,mlp", **small)
    assert {axis.only for axis in run.survey.subspace.axes if axis.kind == "random"} == {"layers.0,mlp"}
    page = (tmp_path / "run" / "report.html").read_text()
    assert "2 random directions of layers.0,mlp alone" in page
    assert "weights of layers.0,mlp alone move" in page
    again = safescape.scan(str(tiny_model), out=tmp_path / "run", only="layers.0,mlp", **small)
    assert again.landscape == run.landscape
    with pytest.raises(InputError, match="only"):
        safescape.scan(str(tiny_model), out=tmp_path / "run", **small)
    with pytest.raises(InputError, match="selects nothing that moves"):
        safescape.scan(str(tiny_model), out=tmp_path / "other", only="layers.7", **small)
    assert not (tmp_path / "other").exists()
