"""Model names: directories, GGUF files and adapters are found; what cannot be used is refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from safetensors.torch import load_file, save_file

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


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"quantization_config": {"quant_method": "hqq", "bits": 4}}, "hqq, 4 bits, by quantization_config"),
        ({"quantization_config": {"load_in_8bit": True}}, "a format that it does not name, 8 bits, by"),
        ({"quantization_config": {"quant_method": "fbgemm_fp8"}}, "fbgemm_fp8, by quantization_config in config.json"),
        ({"quantization": {"group_size": 64, "bits": 4}}, "MLX, 4 bits, by quantization in config.json"),
        (
            {"compression_config": {"format": "pack-quantized"}},
            "compressed-tensors, pack-quantized, by compression_config in config.json",
        ),
        (
            {"text_config": {"model_type": "llama", "quantization_config": {"quant_method": "aqlm"}}},
            "aqlm, by quantization_config",
        ),
    ],
    ids=["HQQ", "no name", "FBGEMM", "MLX", "compressed-tensors", "a text model's own"],
)
def test_a_configuration_of_quantised_weights_is_refused(copy: Path, section: dict[str, object], said: str) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **section}))
    with pytest.raises(InputError, match=rf"its weights are quantised \({said}.*\) and cannot be moved") as refused:
        resolve(str(copy))
    assert "give the unquantised model or a GGUF" in str(refused.value)


DOWN = "model.layers.0.mlp.down_proj"


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({f"{DOWN}.weight": torch.ones(32, 48).to(torch.float8_e4m3fn)}, r"FP8, by the tensor .* of dtype F8_E4M3"),
        ({f"{DOWN}.weight": torch.ones(32, 48).to(torch.float8_e5m2)}, r"FP8, by the tensor .* of dtype F8_E5M2"),
        ({f"{DOWN}.qweight": torch.ones(6, 32, dtype=torch.int32)}, "GPTQ or AWQ, by the tensor"),
        ({f"{DOWN}.weight_packed": torch.ones(32, 6, dtype=torch.int32)}, "compressed-tensors, by the tensor"),
        ({f"{DOWN}.weight": torch.ones(32, 6, dtype=torch.uint32)}, r"MLX, by the tensor .* of dtype U32"),
        (
            {f"{DOWN}.weight": torch.ones(768, 1, dtype=torch.uint8), f"{DOWN}.weight.absmax": torch.ones(12)},
            "bitsandbytes, 4 bits, by the tensor",
        ),
        (
            {f"{DOWN}.weight": torch.ones(32, 48, dtype=torch.int8), f"{DOWN}.SCB": torch.ones(32)},
            "bitsandbytes, 8 bits, by the tensor",
        ),
        ({"model.layers.0.mlp.experts.gate_up_proj_blocks": torch.ones(4, dtype=torch.uint8)}, "MXFP4, by the tensor"),
        ({f"{DOWN}.weight": torch.ones(32, 48, dtype=torch.int8)}, r"integers, by the tensor .* of dtype I8"),
    ],
    ids=["E4M3", "E5M2", "GPTQ", "packed", "MLX", "nf4", "int8", "MXFP4", "plain integers"],
)
def test_quantised_tensors_are_refused_though_no_configuration_tells(
    copy: Path, tensors: dict[str, torch.Tensor], said: str
) -> None:
    stored = {name: tensor.clone() for name, tensor in load_file(copy / "model.safetensors").items()}
    del stored[f"{DOWN}.weight"]
    save_file({**stored, **tensors}, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=rf"its weights are quantised \({said}"):
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
