"""Where downloads and converted models are kept: outside the repository, made once, whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs
from filelock import FileLock

from safescape.errors import InputError

__all__ = ["cached_directory", "home"]


def home() -> Path:
    """Return `SAFESCAPE_HOME`, or the user's cache directory."""
    given = os.environ.get("SAFESCAPE_HOME")
    return Path(given) if given else Path(platformdirs.user_cache_dir("safescape"))


def cached_directory(name: str, fill: Callable[[Path], None]) -> Path:
    """Return the cached directory `name`, filled by `fill` if it is not there yet.

    Processes that want the same directory wait for the first one. One that dies while filling leaves nothing.

    Raises:
        InputError: the cache cannot be written.

    """
    directory = home() / name
    if directory.is_dir():
        return directory
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(directory.with_name(directory.name + ".lock")):
            if not directory.is_dir():
                with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".partial-") as partial:
                    filled = Path(partial) / "filled"
                    filled.mkdir()
                    fill(filled)
                    shutil.move(filled, directory)
    except OSError as error:
        raise InputError(
            f"{directory}: the cache cannot be written ({error.strerror or error}); free space or set SAFESCAPE_HOME"
        ) from error
    return directory
