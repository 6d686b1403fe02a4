"""GGUF files, converted once into an ordinary safetensors checkpoint with tokenizer and chat template.

Quantised tensors are widened to fp32: the values are those that the GGUF holds, no more exact than it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from pathlib import Path

import torch
from gguf import GGUFReader

from safescape.errors import InputError
from safescape.weights.cache import cached_directory

__all__ = ["convert", "converted"]


def converted(path: Path) -> Path:
    """Return the cached checkpoint directory of a GGUF file.

    Raises:
        InputError: the file is absent, cut short, or of an architecture that transformers cannot read from GGUF.

    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the path of a .gguf file")
    _read_through(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return cached_directory(f"converted/{digest[:16]}", lambda directory: convert(path, directory))


def _read_through(path: Path) -> None:
    """Refuse a file whose header promises more than the file holds."""
    try:
        tensors = GGUFReader(path).tensors
        whole = max((t.data_offset + t.n_bytes for t in tensors), default=0) <= path.stat().st_size
    except (ValueError, IndexError, OSError, KeyError) as error:
        raise InputError(f"{path}: cut short or not a GGUF file ({error}); download it again") from error
    if not tensors or not whole:
        raise InputError(f"{path}: cut short; download it again")


def convert(path: Path, directory: Path) -> None:
    """Write a GGUF file's tensors, config and tokenizer as an ordinary checkpoint.

    Raises:
        InputError: transformers cannot read its architecture from GGUF.

    """
    # heavy, and needed only when a GGUF file is met for the first time
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        # the conversion draws a bar of its own that cannot be switched off
        with contextlib.redirect_stderr(io.StringIO()):
            loaded = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except (ValueError, NotImplementedError, KeyError) as error:
        raise InputError(
            f"{path}: transformers cannot read this GGUF ({error}); give its safetensors version"
        ) from error
    # what comes out of a GGUF calls itself quantised and refuses to be saved, although its tensors are plain
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(loaded.state_dict())
    plain.generation_config = loaded.generation_config
    plain.save_pretrained(directory)
    logging.enable_progress_bar()
    tokenizer.save_pretrained(directory)
