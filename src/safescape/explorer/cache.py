"""The figures of the runs, computed once for each state of a run: those of a large one take a second."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from safescape.errors import SafescapeError
from safescape.explorer.runs import Runs
from safescape.landscape import Landscape, landscape_of
from safescape.store import Store
from safescape.views import Glance, glance_of

__all__ = ["Landscapes"]

_KEPT = 8
"""Runs whose landscapes are kept, those that were asked for last: a reader goes back and forth between few."""


class Landscapes:
    """What is known of the runs, by name, as of a version of each.

    Of every run a glance, for the list, which opens at once: the runs are read in the background, one after the other.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._kept: dict[str, tuple[str, Landscape | None]] = {}
        self._glances: dict[str, tuple[str, Glance | None]] = {}
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None
        self._edition = 0

    def of(self, name: str, store: Store, version: str) -> Landscape | None:
        """Return a run's landscape; None where nothing is measured.

        Args:
            name: The run.
            store: It, open.
            version: What `Runs.version` said before it was opened.

        """
        with self._lock:
            kept_version, landscape = self._kept.pop(name, ("", None))
        if kept_version != version:
            measured = list(store.points.measured())
            landscape = landscape_of(store.survey, measured) if measured else None
        glance = glance_of(landscape) if landscape else None
        with self._lock:
            self._kept[name] = version, landscape
            for old in [*self._kept][:-_KEPT]:
                del self._kept[old]
            if self._glances.get(name, ("",))[0] != version:
                self._glances[name] = version, glance
                self._edition += 1
        return landscape

    def glances(self) -> Mapping[str, Glance | None]:
        """Return what is known by now."""
        with self._lock:
            return {name: glance for name, (_, glance) in self._glances.items()}

    def version(self) -> str:
        """Return a word that changes when the list does; what has changed begins to be read."""
        versions = {name: self._runs.version(name) for name in self._runs.found()}
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
            except SafescapeError:
                # the list tells of it
                with self._lock:
                    self._glances[name] = version, None
                    self._edition += 1
