"""The verdicts of the list, read in the background: figures of a large run take seconds, the list opens at once."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from safescape.errors import SafescapeError
from safescape.explorer.runs import Runs, version_of
from safescape.landscape import landscape_of
from safescape.views import Verdict, verdict_of

__all__ = ["Verdicts"]


class Verdicts:
    """What is known of the runs, by name, as of a version of each. One thread reads, one run after the other."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._known: dict[str, tuple[str, Verdict | None]] = {}
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None
        self._edition = 0

    def known(self) -> Mapping[str, Verdict | None]:
        """Return what is known by now."""
        with self._lock:
            return {name: verdict for name, (_, verdict) in self._known.items()}

    def version(self) -> str:
        """Return a word that changes when the list does; what has changed begins to be read."""
        versions = {name: version_of(place) for name, place in self._runs.found().items()}
        with self._lock:
            stale = [name for name, version in versions.items() if self._known.get(name, ("",))[0] != version]
            if stale and (self._reader is None or not self._reader.is_alive()):
                self._reader = threading.Thread(target=self._read, args=(stale,), daemon=True)
                self._reader.start()
            return f"{hash(tuple(versions.items())):x}.{self._edition}"

    def _read(self, names: list[str]) -> None:
        for name in names:
            version = self._runs.version(name)
            verdict = self._verdict(name)
            with self._lock:
                self._known[name] = (version, verdict)
                self._edition += 1

    def _verdict(self, name: str) -> Verdict | None:
        """A run's verdict; None where nothing is measured, or it cannot be read, of which the list tells."""
        try:
            with self._runs.opened(name) as store:
                measured = list(store.measured())
                return verdict_of(landscape_of(store.survey, measured)) if measured else None
        except SafescapeError:
            return None
