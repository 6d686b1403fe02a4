"""The runs under a directory, found by a walk and opened by name, never by path; and their figures, computed once."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from safescape.errors import InputError, SafescapeError, first_line
from safescape.landscape import Landscape
from safescape.store import KnownPoints, Store
from safescape.stored_landscape import stored_landscape
from safescape.views import Glance, Opinions, glance_of

_FILES = ("run.sqlite", "run.sqlite-wal", "survey.json")
_DEPTH = 6
"""How far below the directory runs are looked for; those of a study are three deep."""
_KEPT = 8
"""The number of landscapes that are kept, the ones used last: a reader goes back and forth between few runs."""

GONE = "gone"
"""The version of a run that is no longer there."""

_log = logging.getLogger(__name__)


class Runs:
    """The run directories below one directory.

    A request names a run, never a file: the name is a key into what the last walk found. Links are not followed: a run
    of which the directory or a file is a symbolic link is left out, so that nothing outside of the directory is read.
    """

    def __init__(self, directory: Path) -> None:
        if not directory.is_dir():
            raise InputError(f"{directory}: no such directory; give the one that holds the run directories")
        self.title = directory
        """The directory as the user typed it."""
        self.directory = directory.resolve()
        self.known: dict[str, Path] = {}
        """What the last walk found, by name."""

    def found(self) -> dict[str, Path]:
        """Look for runs below the directory, and return all of them by name, in the order of their names."""
        found = {}
        for place, below, files in os.walk(self.directory):
            here = Path(place)
            depth = len(here.relative_to(self.directory).parts)
            below[:] = sorted(name for name in below if not name.startswith(".")) if depth < _DEPTH else []
            if {"run.sqlite", "survey.json"} & set(files) and not _has_links(here):
                found[self._name(here)] = here
        self.known = dict(sorted(found.items()))
        _log.debug("walked %s: %d runs", self.directory, len(found))
        return self.known

    def _name(self, place: Path) -> str:
        """The path of a run below the directory; for the directory itself, its own name."""
        inside = place.relative_to(self.directory).as_posix()
        name = place.name if inside == "." else inside
        return name.encode("utf-8", "replace").decode()  # a name on disk need not be text

    def place(self, name: str) -> Path:
        """Return the directory of a run. Walks only if the last walk did not find it, or it is no longer there.

        Raises:
            InputError: there is no run of that name.

        """
        known = self.known.get(name)
        found = known if known is not None and _is_run(known) else self.found().get(name)
        if found is None:
            raise InputError(f"{name}: no such run under {self.directory}; it may have been moved or deleted")
        return found

    @contextmanager
    def opened(self, name: str) -> Iterator[Store]:
        """Open a run for reading.

        Raises:
            InputError: the run is not there, incomplete, or of another version.

        """
        place = self.place(name)
        if not (place / "survey.json").is_file():
            raise InputError(f"{name}: half a run, survey.json is missing; put it back, or measure again")
        with Store.read(place) as store:
            yield store

    def version(self, *names: str) -> str:
        """Return a word that changes when something is written to one of these runs; `GONE` if one is not there.

        It is made of the sizes and times of the runs' files, so a look opens nothing and walks nothing.
        """
        versions = []
        for name in names:
            try:
                versions.append(version_of(self.place(name)))
            except InputError:
                return GONE
        return "+".join(versions)


def version_of(place: Path) -> str:
    """Return a word that changes when something is written to a run: a commit writes to the log beside the database."""
    stamps = []
    for name in _FILES:
        with suppress(OSError):
            found = (place / name).stat()
            stamps.append(f"{found.st_ino:x}.{found.st_size:x}.{found.st_mtime_ns:x}")
    return "-".join(stamps) or GONE


def _is_run(place: Path) -> bool:
    """Whether a directory that was a run still is one, and no part of its path has become a link."""
    return any((place / name).is_file() for name in _FILES) and not _has_links(place) and place.resolve() == place


def _has_links(place: Path) -> bool:
    return any((place / name).is_symlink() for name in _FILES)


class _Kept(NamedTuple):
    """What is kept of a run."""

    version: str
    """The version of the run that was read."""
    landscape: Landscape | None
    points: KnownPoints
    """What was read, so that a further point costs only itself; its page likewise."""
    opinions: Opinions


class Landscapes:
    """The figures of the runs by name, computed once for each version of a run: a large one takes a second at first.

    The list opens at once: its verdicts are computed in one background thread, one run after the other.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._kept: dict[str, _Kept] = {}
        self._glances: dict[str, tuple[str, Glance | None]] = {}
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None
        self._edition = 0
        """Counts the verdicts that were computed."""

    def of(self, name: str, store: Store, version: str) -> Landscape | None:
        """Return a run's landscape; None while nothing is measured.

        Args:
            name: The run.
            store: The run, open.
            version: What `Runs.version` returned before it was opened.

        """
        with self._lock:
            kept = self._kept.pop(name, None) or _Kept("", None, {}, {})
        landscape = kept.landscape if kept.version == version else stored_landscape(store, known=kept.points)
        glance = glance_of(landscape) if landscape else None
        with self._lock:
            self._kept[name] = _Kept(version, landscape, kept.points, kept.opinions)
            for old in [*self._kept][:-_KEPT]:
                del self._kept[old]
            if self._glances.get(name, ("",))[0] != version:
                self._glances[name] = version, glance
                self._edition += 1
        return landscape

    def opinions(self, name: str) -> Opinions:
        """Return what the pages of a run have read, which the next one begins with; see `compose_page`."""
        with self._lock:
            kept = self._kept.get(name)
            return {} if kept is None else kept.opinions

    def glances(self) -> Mapping[str, Glance | None]:
        """Return the verdicts that are computed so far."""
        with self._lock:
            return {name: glance for name, (_, glance) in self._glances.items()}

    def version(self) -> str:
        """Walk, begin to compute what has changed, and return a word that changes when the list does."""
        versions = {name: version_of(place) for name, place in self._runs.found().items()}
        with self._lock:
            stale = [name for name, version in versions.items() if self._glances.get(name, ("",))[0] != version]
            if stale and (self._reader is None or not self._reader.is_alive()):
                self._reader = threading.Thread(target=self._read, args=(stale,), daemon=True)
                self._reader.start()
            return f"{hash(tuple(versions.items())):x}.{self._edition}"

    def _read(self, names: list[str]) -> None:
        for name in names:
            version = self._runs.version(name)
            try:
                with self._runs.opened(name) as store:
                    self.of(name, store, version)
            except SafescapeError as error:
                _log.info("%s cannot be read: %s", name, first_line(error))  # the list shows it
                with self._lock:
                    self._glances[name] = version, None
                    self._edition += 1
