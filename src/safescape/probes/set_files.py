"""The files of public data sets: found in `SAFESCAPE_DATA` or in the cache, else fetched from where they are published.

A file from the network is kept only if its SHA-256 is the pinned one. For the few files whose hash is not known in
advance, the hash is recorded when they are first fetched and compared whenever they are read.
"""

from __future__ import annotations

import csv
import datetime
import functools
import hashlib
import http.client
import json
import logging
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import constants, hf_hub_url

from safescape.cache import cached_directory, home
from safescape.errors import InputError, first_line
from safescape.probes.public_sets import PublicSet, SetFile
from safescape.probes.rows import datasets_library

_logger = logging.getLogger(__name__)

_GITHUB = "https://raw.githubusercontent.com"
"""Where GitHub serves the files of a commit; `SAFESCAPE_GITHUB` names a mirror."""
_RECORD = "sha256.json"
"""In a set's cache directory: the hash of each file that has no pinned one, and the day it was recorded."""
_SECONDS = 60.0
"""Longest wait for an answer."""
_PINNED, _DIFFERS, _UNKNOWN = "published file", "differs from the published file", "no hash was recorded"


class Located(NamedTuple):
    """Where a set is on this machine."""

    where: str | None
    """`SAFESCAPE_DATA` or `cache`; None: it has not been fetched."""
    paths: tuple[Path, ...]
    """Its files, in the set's order; empty if it has not been fetched."""
    integrity: str
    """What is known of its SHA-256, in a few words."""
    is_damaged: bool = False
    """Whether a cached file is not the one that was fetched."""


def set_paths(data: PublicSet, given: str) -> tuple[Path, ...]:
    """Return the files of a set, fetching them if they are neither in `SAFESCAPE_DATA` nor in the cache.

    Args:
        data: The set.
        given: What the user gave, flag included; every message begins with it.

    Raises:
        InputError: a cached file is not the one that was fetched, or the set cannot be fetched.

    """
    found = locate(data)
    if found.is_damaged:
        raise InputError(
            f"{given}: {found.paths[0].parent} is not what was fetched ({found.integrity}); "
            f"type `safescape data fetch {data.name}`"
        )
    if found.where is None:
        found = fetch(data, given)
    elif found.integrity == _DIFFERS:
        _note_difference(data.name, found.paths[0].parent)
    return found.paths


def locate(data: PublicSet) -> Located:
    """Return where a set is on this machine, and whether its files are the published ones."""
    own = os.environ.get("SAFESCAPE_DATA")
    if own:
        paths = tuple(Path(own) / file.place for file in data.files)
        if all(path.is_file() for path in paths):
            return Located("SAFESCAPE_DATA", paths, _integrity(data, paths, {}))
    directory = _directory(data)
    if not directory.is_dir():
        return Located(None, (), "")
    paths = tuple(directory / Path(file.place).name for file in data.files)
    recorded = _recorded(directory)
    integrity = _integrity(data, paths, recorded)
    return Located("cache", paths, integrity, integrity in (_DIFFERS, _UNKNOWN))


def fetch(data: PublicSet, given: str) -> Located:
    """Fetch a set into the cache, unless an intact copy is in `SAFESCAPE_DATA` or in the cache already.

    Licence and citation are logged as a warning, which Python prints on stderr unless logging is configured otherwise.

    Raises:
        InputError: the set cannot be reached, is not the published one, or the cache cannot be written.

    """
    found = locate(data)
    if found.where is not None and not found.is_damaged:
        return found
    directory = _directory(data)
    if found.is_damaged:
        shutil.rmtree(directory, ignore_errors=True)
    cached_directory(str(directory.relative_to(home())), functools.partial(_fill, data, given))
    _logger.warning("%s: fetched. Licence: %s. Please cite %s", data.name, data.licence, data.citation)
    return locate(data)


def _integrity(data: PublicSet, paths: tuple[Path, ...], recorded: dict[str, dict[str, str]]) -> str:
    """Return what is known of the files' SHA-256: the least good of them."""
    days = set()
    for file, path in zip(data.files, paths, strict=True):
        expected = file.sha256
        if expected is None and path.name in recorded:
            expected, day = recorded[path.name]["sha256"], recorded[path.name]["date"]
            days.add(day)
        elif expected is None and path.parent == _directory(data):
            return _UNKNOWN
        if expected is not None and _sha256(path) != expected:
            return _DIFFERS
    if days:
        return f"hash recorded on {min(days)}"
    return _PINNED if data.files[0].sha256 else "not compared: no published hash"


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _recorded(directory: Path) -> dict[str, dict[str, str]]:
    try:
        return dict(json.loads((directory / _RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


@functools.cache
def _note_difference(name: str, directory: Path) -> None:
    _logger.warning("%s: the copy in %s differs from the published file; it is used as it is", name, directory)


def _directory(data: PublicSet) -> Path:
    return home() / "data" / data.name.replace(":", "/")


def _fill(data: PublicSet, given: str, directory: Path) -> None:
    """Fetch every file of a set into a directory."""
    records = {}
    for file in data.files:
        address = _address(file)
        target = directory / Path(file.place).name
        content = _download(address, file, given)
        if file.path.endswith(".parquet"):
            _write_csv(content, target, given)
        else:
            target.write_bytes(content)
        found = _sha256(target)
        if file.sha256 is None:
            records[target.name] = {"sha256": str(found), "date": datetime.date.today().isoformat()}
        elif found != file.sha256:
            raise InputError(
                f"{given}: {address} is not the published file (SHA-256 {found}, expected {file.sha256}), and is not "
                f"kept; {_own_copy(file)}"
            )
    if records:
        (directory / _RECORD).write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


def _own_copy(file: SetFile) -> str:
    return f"try again, or put your own copy at DIR/{file.place} and set SAFESCAPE_DATA=DIR"


def _address(file: SetFile) -> str:
    if file.on_hub:
        return hf_hub_url(file.repository, file.path, repo_type="dataset", revision=file.revision)
    base = os.environ.get("SAFESCAPE_GITHUB") or _GITHUB
    return f"{base.rstrip('/')}/{file.repository}/{file.revision}/{file.path}"


def _download(address: str, file: SetFile, given: str) -> bytes:
    """Return what an address serves. The sets are small and open, so that no client with retries or login is needed."""
    if constants.HF_HUB_OFFLINE:
        raise InputError(f"{given}: {address} cannot be fetched (HF_HUB_OFFLINE is set); {_own_copy(file)}")
    _logger.info("fetching %s", address)
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS) as reply:
            return bytes(reply.read())
    except urllib.error.HTTPError as error:
        reason = f"{error.code} {error.reason}"
    except urllib.error.URLError as error:
        reason = str(error.reason)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = first_line(error)
    raise InputError(f"{given}: {address} cannot be fetched ({reason}); {_own_copy(file)}")


def _write_csv(parquet: bytes, target: Path, given: str) -> None:
    """Write multiple-choice questions as CSV with the columns question, choice0 to choice3, and answer (0 to 3)."""
    datasets = datasets_library(given)
    shows_bars = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        # beside the target, so that a full disk is met, and reported, where the set is kept
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            path = Path(folder) / "questions.parquet"
            path.write_bytes(parquet)
            rows = datasets.Dataset.from_parquet(str(path), cache_dir=folder, keep_in_memory=True)
            with target.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(["question", *(f"choice{number}" for number in range(4)), "answer"])
                writer.writerows([row["question"], *row["choices"], row["answer"]] for row in rows)
    except (ValueError, KeyError, TypeError, datasets.exceptions.DatasetsError) as error:
        raise InputError(
            f"{given}: what the Hub sent holds no questions in MMLU's layout ({first_line(error)}); try again, or set "
            "SAFESCAPE_DATA to a directory with your own copy"
        ) from error
    finally:
        if shows_bars:
            datasets.enable_progress_bars()
