"""The runs under a directory: found anew whenever somebody asks, opened by name, never by path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safescape.errors import InputError
from safescape.store import Store

__all__ = ["GONE", "Runs"]

_FILES = ("run.sqlite", "run.sqlite-wal", "survey.json")
_DEPTH = 6
"""How far below the directory runs are looked for; a study's lie three deep."""

GONE = "gone"
"""The version of a run that is no longer there."""


class Runs:
    """Run directories below one directory.

    Links are not followed: neither a directory nor a run's file that is a symbolic link is a run, so that nothing
    outside of the directory is read.
    """

    def __init__(self, directory: Path) -> None:
        if not directory.is_dir():
            raise InputError(f"{directory}: no such directory; give the one that holds the run directories")
        self.title = directory
        """The directory as the user typed it."""
        self.directory = directory.resolve()

    def found(self) -> dict[str, Path]:
        """Return all run directories by name, in the order of their names."""
        found = {}
        for place, below, files in os.walk(self.directory):
            here = Path(place)
            deep = len(here.relative_to(self.directory).parts)
            below[:] = sorted(name for name in below if not name.startswith(".")) if deep < _DEPTH else []
            if {"run.sqlite", "survey.json"} & set(files) and not _has_links(here):
                found[self._name(here)] = here
        return dict(sorted(found.items()))

    def _name(self, place: Path) -> str:
        """The way to a run from the directory; of the directory itself, its own name."""
        inside = place.relative_to(self.directory).as_posix()
        name = place.name if inside == "." else inside
        return name.encode("utf-8", "replace").decode()  # a name on disk may be no text

    def place(self, name: str) -> Path:
        """Return where a run lies.

        Raises:
            InputError: there is none of that name.

        """
        if (found := self.found().get(name)) is None:
            raise InputError(f"{name}: no such run under {self.directory}; it may have been moved or deleted")
        return found

    @contextmanager
    def opened(self, name: str) -> Iterator[Store]:
        """Open a run for looking.

        Raises:
            InputError: it is not there, not whole, or of another version.

        """
        place = self.place(name)
        if not (place / "survey.json").is_file():
            raise InputError(f"{name}: half a run, survey.json is missing; put it back, or measure again")
        with Store.read(place) as store:
            yield store

    def version(self, *names: str) -> str:
        """Return a word that changes when something is written to one of these runs; `GONE` where one is not there."""
        found = self.found()
        versions = [_version_of(found[name]) if name in found else GONE for name in names]
        return GONE if GONE in versions else "+".join(versions)


def _version_of(place: Path) -> str:
    """Return a word that changes when something is written to a run.

    A commit writes to the log beside the database, so sizes and times of the files are enough.
    """
    stamps = []
    for name in _FILES:
        try:
            found = (place / name).stat()
        except FileNotFoundError:
            continue
        stamps.append(f"{found.st_ino:x}.{found.st_size:x}.{found.st_mtime_ns:x}")
    return "-".join(stamps) or GONE


def _has_links(place: Path) -> bool:
    return any((place / name).is_symlink() for name in _FILES)
