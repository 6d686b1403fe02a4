"""Whatever stands in a model's JSON files, it is loaded or refused in one line; never a traceback."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, MixtralConfig, Qwen3Config

import safescape
from helpers import tiny_models
from safescape import InputError

CONFIGS = {
    "llama": tiny_models.llama_config(),
    "qwen3": Qwen3Config(**{**tiny_models.llama_config().to_dict(), "head_dim": 8}),
    "mixtral": MixtralConfig(**{**tiny_models.SHAPE, "num_local_experts": 2, "eos_token_id": 0, "bos_token_id": None}),
    "gpt2": GPT2Config(vocab_size=260, n_embd=32, n_layer=2, n_head=4, n_positions=512, eos_token_id=0),
}
FILES = ("config.json", "tokenizer_config.json", "generation_config.json", "tokenizer.json")
# no large numbers: a million layers are built as asked, which only takes time
VALUES: list[Any] = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2,
    3,
    7,
    0.5,
    -0.5,
    1e308,
    "",
    "x",
    "llama",
    "\u2028",
    "../..",
    [],
    [1],
]
VALUES += [["x"], {}, {"rope_type": "yarn"}, {"rope_type": "x", "factor": -1.0}, {"x": None}, [None], [[]]]
ODD = st.sampled_from(VALUES)


@pytest.fixture(scope="module", params=CONFIGS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model; tests copy it before they change it."""
    return tiny_models.save_model(tmp_path_factory.mktemp("config") / "model", CONFIGS[request.param])


def inspected(directory: Path) -> None:
    """Look at a model as a user does; a refusal is one line that names something."""
    try:
        found = safescape.inspect(str(directory))
    except InputError as error:
        problems: tuple[str, ...] = (str(error),)
    else:
        problems = found.problems
        assert found.parameters > 0
    for problem in problems:
        assert problem.strip()
        assert "Traceback" not in problem


def changed(model: Path, directory: Path, file: str) -> tuple[Path, dict[str, Any]]:
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(model, directory)
    return directory / file, json.loads((directory / file).read_text(encoding="utf-8"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("file", FILES)
def test_a_field_with_an_odd_value_is_used_or_refused(
    model: Path, tmp_path: Path, file: str, data: st.DataObject
) -> None:
    path, found = changed(model, tmp_path / "model", file)
    for name in data.draw(st.lists(st.sampled_from(sorted(found)), min_size=1, max_size=2, unique=True)):
        found[name] = data.draw(ODD)
    path.write_text(json.dumps(found), encoding="utf-8")
    inspected(path.parent)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_refused(model: Path, tmp_path: Path, file: str, data: st.DataObject) -> None:
    path, _ = changed(model, tmp_path / "model", file)
    raw = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=4)):
        raw[place] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw)
    inspected(path.parent)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("text", ["", "null", "[]", "3", '"x"', "{", "{}", '{"a": ' * 5000, "\ufeff{}", "\0"])
def test_a_file_of_another_kind_is_refused(model: Path, tmp_path: Path, file: str, text: str) -> None:
    path, _ = changed(model, tmp_path / "model", file)
    path.write_text(text, encoding="utf-8")
    inspected(path.parent)
