"""A run directory: claimed by one process that measures in it, read by any number of others at any time."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Self

from filelock import FileLock, Timeout

from safescape.errors import InputError, RunError
from safescape.store.database import Database
from safescape.store.labels import StoredLabels
from safescape.store.noise import StoredNoise
from safescape.store.points import StoredPoints, now
from safescape.store.verdicts import StoredEvidence, StoredVerdicts
from safescape.survey import Survey

_log = logging.getLogger(__name__)


class SessionRecord(NamedTuple):
    """What a run records of a measuring session, from opening the engine to closing it.

    A session on several workers has one record, since all engines hold the same origin.
    """

    number: int
    closed: bool
    """False: the process died."""
    origin_at_start: str
    """Fingerprint of the live weights before the first point."""
    origin_at_close: str | None
    """The same after the last point; None: the process died before."""
    versions: Mapping[str, str]
    """By package, and what else is recorded of the machine."""


class Store:
    """One run directory.

    `Store.claim` opens it for measuring and keeps other processes out until `close`; `Store.read` opens it read-only,
    at any time. Methods that write raise a `RunError` if the disk is full or broken; what was stored before stays.
    """

    def __init__(self, database: Database, survey: Survey, lock: FileLock | None = None) -> None:
        self._database, self._lock = database, lock
        self.directory = database.directory
        self.survey = survey
        self.verdicts = StoredVerdicts(database, survey)
        self.points = StoredPoints(database, survey, self.verdicts)
        self.evidence = StoredEvidence(database, survey)
        self.labels = StoredLabels(database, survey)
        self.noise = StoredNoise(database, survey)

    @classmethod
    def claim(cls, directory: Path, survey: Survey) -> Store:
        """Open a run directory, new or unfinished, to measure `survey` in it.

        Raises:
            RunError: it cannot be written, or another process is measuring in it.
            InputError: it holds a run of a different survey (the message names what differs), or a damaged one; it is
                left unchanged.

        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = FileLock(directory / "run.lock", timeout=0)
            lock.acquire()
        except Timeout as error:
            raise RunError(
                f"{directory}: another process is measuring in this run directory; wait for it, or give another --out"
            ) from error
        except OSError as error:
            raise RunError(f"{directory}: cannot be written ({error.strerror}); give another --out") from error
        with contextlib.ExitStack() as opened:
            opened.callback(lock.release)
            check_survey(directory, survey)
            database = Database.create(directory)
            opened.callback(database.close)
            write_text(directory / "survey.json", survey.model_dump_json(indent=1) + "\n")
            opened.pop_all()
        _log.debug("claimed %s", directory)
        return cls(database, survey, lock)

    @classmethod
    def read(cls, directory: Path) -> Store:
        """Open a run directory read-only.

        Raises:
            InputError: it is not a run directory, it is damaged, or another version wrote it.

        """
        database = Database.read(directory)
        try:
            return cls(database, Survey.load(directory / "survey.json"))
        except BaseException:
            database.close()
            raise

    def sessions(self) -> list[SessionRecord]:
        """Return the measuring sessions of this run, in order."""
        rows = self._database.rows(
            "SELECT id, closed_at, origin_at_start, origin_at_close, versions FROM sessions ORDER BY id"
        )
        return [
            SessionRecord(key, closed is not None, start, end, json.loads(versions))
            for key, closed, start, end, versions in rows
        ]

    def begin_session(self, *, origin: str, noise_device: str, versions: Mapping[str, str]) -> int:
        """Record that a measuring session begins, and return its id.

        Args:
            origin: Fingerprint of the live weights.
            noise_device: Type of the device whose generator makes random directions, such as `cuda`.
            versions: By package.

        """
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO sessions (started_at, noise_device, origin_at_start, versions) VALUES (?, ?, ?, ?)",
                (now(), noise_device, origin, json.dumps(versions)),
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def end_session(self, session: int, *, origin: str) -> None:
        """Record that a measuring session ends, with the fingerprint of the live weights."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE sessions SET closed_at = ?, origin_at_close = ? WHERE id = ?", (now(), origin, session)
            )

    def close(self) -> None:
        """Close the database and release the directory for other processes."""
        self._database.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def stored_survey(directory: Path) -> Survey | None:
    """Return the survey of a run directory; None if no run was begun in it.

    Raises:
        InputError: survey.json is damaged, or of another version.

    """
    path = directory / "survey.json"
    return Survey.load(path) if path.exists() else None


def check_survey(directory: Path, survey: Survey) -> None:
    """Raise InputError if a run directory holds a run of another survey, or a damaged one."""
    there = stored_survey(directory)
    if there is None:
        return
    # chats repeat a difference in prompts or in the system prompt
    if differences := survey.without_chats().differences(there.without_chats()) or survey.differences(there):
        raise InputError(
            f"{directory}: holds a run of a different survey ({'; '.join(differences[:3])}); "
            "give another --out, or the flags of that run to resume it"
        )


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; see `new_file`."""
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; the file appears under its own name when it is complete, or not at all.

    Raises:
        RunError: it cannot be written; an earlier version of the file stays.

    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror}); mend that and repeat the command") from error
    finally:
        partial.unlink(missing_ok=True)
