"""Model names: directories, GGUF files and adapters are found; what cannot be used is refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter

from helpers.tiny_models import save_adapter
from safescape import InputError
from safescape.weights import resolve


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.mark.parametrize("name", ["nope", "./nope", "nope.gguf", "/nowhere/at/all", ""])
def test_a_model_that_does_not_exist(name: str) -> None:
    with pytest.raises(InputError, match=r"expected a Hub id|no such file"):
        resolve(name)


def test_an_adapter_given_as_a_model_says_what_to_type(tiny_model: Path, tmp_path: Path) -> None:
    adapter = save_adapter(tiny_model, tmp_path / "adapter")
    with pytest.raises(InputError, match=r"is an adapter; give BASE\+"):
        resolve(str(adapter))


def test_a_quantised_model_is_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(InputError, match="quantised"):
        resolve(str(copy))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "config.json").unlink(), "no config.json"),
        (lambda d: (d / "config.json").write_text("{"), "is not JSON"),
        (lambda d: (d / "config.json").write_text("[]"), "is not a JSON object"),
        (lambda d: (d / "model.safetensors").unlink(), "no model.safetensors"),
        (lambda d: (d / "model.safetensors").write_bytes(b""), "cut short"),
    ],
    ids=["no config", "half a config", "a list as config", "no weights", "empty weights"],
)
def test_damaged_directories(copy: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(copy)
    with pytest.raises(InputError, match=message):
        resolve(str(copy))


def test_a_gguf_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_tensor("token_embd.weight", np.ones((64, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    whole = path.read_bytes()
    for size in (0, 3, 20, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="cut short"):
            resolve(str(path))
