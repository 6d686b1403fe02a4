"""Quantised checkpoints, dequantised once into a cached safetensors checkpoint.

A dequantised tensor is written in fp32, since the values are what is measured: fp32 holds the product of an integer of
up to 8 bits, or of an FP8 value, and a half-precision scale exactly, and where a scale is fp32 itself the product is
rounded once, as the format's own library rounds it (bitsandbytes: two or three times). Rounded to bf16 or fp16, they
are the values of a library that dequantises into that dtype. MXFP4 is written in bf16, which holds each of its values
exactly. Tensors that are not quantised are copied as they are, but for those that the model does not load.

Scales of activations are left out: what is measured is the model with its weights as they are stored, and with
activations that are not quantised. That every other tensor of the files is used, and that none of the model is missing,
is known before anything is written.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from safescape.cache import cached_directory
from safescape.errors import InputError
from safescape.weights.checkpoint import Checkpoint
from safescape.weights.files import Stored
from safescape.weights.inventory import empty_model, inventory_of
from safescape.weights.quantised.bitsandbytes import bitsandbytes_recipes
from safescape.weights.quantised.compressed import compressed_recipes
from safescape.weights.quantised.fp8 import fp8_recipes
from safescape.weights.quantised.gptq import awq_recipes, gptq_recipes
from safescape.weights.quantised.mxfp4 import mxfp4_recipes
from safescape.weights.quantised.recipes import Quantised, Recipe
from safescape.weights.quantised.recognition import sections
from safescape.weights.shards import save_shards

_FORMATS: Mapping[str, Callable[[Quantised], dict[str, Recipe]]] = {
    "fp8": fp8_recipes,
    "compressed-tensors": compressed_recipes,
    "mxfp4": mxfp4_recipes,
    "gptq": gptq_recipes,
    "awq": awq_recipes,
    "bitsandbytes": bitsandbytes_recipes,
}
"""By `quant_method` in config.json."""

_SECTION = "quantization_config"
_COPIED = ("*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt", "*.py", "additional_chat_templates/*.jinja")
"""Tokenizer, chat templates, generation settings, and a model's own code."""
_NOT_COPIED = re.compile(r"(model\.safetensors\.index|hf_quant_config|quant(ize)?_config)\.json")
_ACTIVATIONS = re.compile(r".+\.((input|output|activation|[qkv]|kv)_(scale|zero_point)|\w+_activation_scale)")
"""What the values that flow through a model are quantised with while it answers."""
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_LAYOUT = 1
"""Raised when dequantised checkpoints change, so that an older one in the cache is not used."""

_log = logging.getLogger(__name__)


def is_dequantisable(config: Mapping[str, Any]) -> bool:
    """Whether a configuration describes weights of a format that can be dequantised."""
    found = _settings(config)
    return found is not None and str(found.get("quant_method")) in _FORMATS


def dequantised(files: Checkpoint, config: Mapping[str, Any], given: str, *, trust_remote_code: bool) -> Path:
    """Return the cached directory of a quantised checkpoint's dequantised model.

    Args:
        files: The quantised checkpoint.
        config: Its configuration, for which `is_dequantisable` holds.
        given: The model's name in messages.
        trust_remote_code: Whether the model's own code may run.

    Raises:
        InputError: A tensor is missing, superfluous or does not fit the configuration.

    """
    paths = {each.path for each in files.stored.values()} | {files.directory / "config.json"}
    paths |= set(_copied(files.directory))
    states = ((path, path.stat()) for path in sorted(paths))
    digest = _digest(tuple((path, state.st_size, state.st_mtime_ns) for path, state in states))
    return cached_directory(
        f"dequantised/{_LAYOUT}-{digest[:16]}",
        lambda directory: _dequantise(files, config, given, directory, trust_remote_code=trust_remote_code),
    )


def _dequantise(
    files: Checkpoint, config: Mapping[str, Any], given: str, directory: Path, *, trust_remote_code: bool
) -> None:
    plain = _without_section(config)
    for path in _copied(files.directory):
        target = directory / path.relative_to(files.directory)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
    text = json.dumps(plain, indent=2)
    (directory / "config.json").write_text(text, encoding="utf-8")
    model = empty_model(directory, text, given, trust_remote_code=trust_remote_code)

    settings = _settings(config) or {}
    recipes = _FORMATS[settings["quant_method"]](Quantised(given, settings, files.stored, files.tensor))
    if not recipes:
        raise InputError(
            f"{given}: config.json says that its weights are quantised ({settings['quant_method']}), but its files "
            f"hold no such tensor; remove {_SECTION} from config.json if they are not"
        )
    used = {source for recipe in recipes.values() for source in recipe.sources}
    own = {".".join(name.split(".")[-2:]) for name in model.state_dict()}

    def is_without_effect(name: str) -> bool:
        layer, _, last = name.rpartition(".")
        if ".".join(name.split(".")[-2:]) in own:
            return False
        if last in ("bias", "weight_zero_point") and f"{layer}.weight" in recipes:
            # AutoGPTQ wrote a bias of 0 for layers that have none, llm-compressor a zero point of 0 for symmetric ones.
            return not files.tensor(name).float().any()
        return _ACTIVATIONS.fullmatch(name) is not None

    rest = {name: each for name, each in files.stored.items() if name not in used and not is_without_effect(name)}
    for name in sorted(recipes.keys() & rest.keys()):
        raise InputError(
            f"{given}: has {name} twice, as it is and quantised as {recipes[name].sources[0]}; download the model again"
        )

    def tensor(name: str) -> Tensor:
        if name in rest:
            return files.tensor(name)
        recipe = recipes[name]
        values = recipe.compute(*map(files.tensor, recipe.sources)).to(recipe.dtype).contiguous()
        if not torch.isfinite(values).all():
            raise InputError(
                f"{given}: the tensor {name} holds NaN or infinity once it is dequantised; the checkpoint is broken, "
                "download it again"
            )
        return values

    stored = rest | {name: Stored(directory, _NAMES[recipe.dtype], recipe.shape) for name, recipe in recipes.items()}
    inventory = inventory_of(model, stored, tensor, given)
    _log.info("dequantising %s", given)
    empty = {
        name: torch.empty(each.shape, dtype=_DTYPES[each.dtype], device="meta")
        for name, each in stored.items()
        if name not in inventory.ignored
    }
    save_shards(directory, empty, tensor, given)


def _settings(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the section that describes the quantised weights; None if there is none, or several that differ."""
    found = [section[_SECTION] for section in sections(config) if section.get(_SECTION)]
    is_one = bool(found) and all(isinstance(each, dict) and each == found[0] for each in found)
    return found[0] if is_one and not any(section.get("quantization") for section in sections(config)) else None


def _without_section(config: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = copy.deepcopy(dict(config))
    for section in sections(plain):
        if isinstance(section, dict):
            section.pop(_SECTION, None)
    return plain


def _copied(directory: Path) -> list[Path]:
    found = {path for pattern in _COPIED for path in directory.glob(pattern) if path.is_file()}
    return sorted(path for path in found if path.name != "config.json" and not _NOT_COPIED.fullmatch(path.name))


@functools.lru_cache(maxsize=8)
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Return a SHA-256 of the names and contents of files; size and time tell whether a file has changed."""
    lines = []
    for path, _, _ in files:
        with path.open("rb") as file:
            lines.append(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
