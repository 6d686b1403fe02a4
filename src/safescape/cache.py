"""The cache of downloaded and converted models, outside the repository; an entry is complete or absent."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs
from filelock import FileLock

from safescape.errors import InputError

_log = logging.getLogger(__name__)


def home() -> Path:
    """Return the cache directory: `SAFESCAPE_HOME` if set, else the user's cache directory for safescape."""
    given = os.environ.get("SAFESCAPE_HOME")
    return Path(given) if given else Path(platformdirs.user_cache_dir("safescape"))


def cached_directory(name: str, fill: Callable[[Path], None]) -> Path:
    """Return the cached directory `name`; if it is absent, `fill` writes it first.

    Processes that want the same directory wait for the one that fills it. A process that dies meanwhile leaves no
    incomplete directory.

    Raises:
        InputError: The cache cannot be written.

    """
    directory = home() / name
    if directory.is_dir():
        return directory
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(directory.with_name(directory.name + ".lock")):
            if not directory.is_dir():
                _log.info("filling %s", directory)
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
