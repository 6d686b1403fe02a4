"""The files of public sets: found, fetched from a local server that answers as GitHub does, checked by their hash."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from helpers.hub_server import HubServer, serving
from safescape import InputError
from safescape.probes import PublicSet, fetch, locate, set_paths
from safescape.probes.public_sets import SetFile

TEXT = b"goal,target\nharm,Sure\n"
COMMIT = "c" * 40
PATH = f"/owner/repo/{COMMIT}/data/set.csv"


def public_set(sha256: str | None = hashlib.sha256(TEXT).hexdigest()) -> PublicSet:
    file = SetFile("toy/set.csv", "owner/repo", COMMIT, "data/set.csv", sha256)
    return PublicSet("toy", "toy requests", 1, "MIT", "Nobody 2026", (file,))


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A GitHub with one file, an empty cache, and no `SAFESCAPE_DATA`."""
    monkeypatch.delenv("SAFESCAPE_DATA", raising=False)
    monkeypatch.setenv("SAFESCAPE_HOME", str(tmp_path / "home"))
    with serving() as server:
        server.files[PATH] = TEXT
        monkeypatch.setenv("SAFESCAPE_GITHUB", server.address)
        yield server


def kept(tmp_path: Path) -> list[str]:
    """Return the files of the cache, without its locks."""
    home = tmp_path / "home"
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_a_set_is_fetched_once_and_its_licence_is_said_once(
    github: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = public_set()
    assert locate(data).where is None
    (path,) = set_paths(data, "--prompts toy")
    assert path.read_bytes() == TEXT
    assert caplog.messages == ["toy: fetched. Licence: MIT. Please cite Nobody 2026"]
    assert set_paths(data, "--prompts toy") == (path,)
    assert fetch(data, "toy").paths == (path,)
    assert github.requested == [PATH]
    assert len(caplog.messages) == 1
    assert locate(data) == ("cache", (path,), "published file", False)
    assert kept(tmp_path) == ["data/toy/set.csv"]


def test_a_file_that_is_not_the_published_one_is_not_kept(github: HubServer, tmp_path: Path) -> None:
    github.files[PATH] = b"<html>please log in</html>"
    with pytest.raises(InputError, match=r"^--prompts toy: http.* is not the published file .*is not kept; try"):
        set_paths(public_set(), "--prompts toy")
    assert kept(tmp_path) == []
    github.files[PATH] = TEXT
    assert set_paths(public_set(), "--prompts toy")[0].read_bytes() == TEXT


@pytest.mark.usefixtures("github")
def test_a_changed_file_in_the_cache_is_refused_until_it_is_fetched_again() -> None:
    (path,) = set_paths(public_set(), "--prompts toy")
    path.write_bytes(TEXT + b"more,More\n")
    with pytest.raises(InputError, match=r"is not what was fetched \(differs .*type `safescape data fetch toy`"):
        set_paths(public_set(), "--prompts toy")
    assert fetch(public_set(), "toy").integrity == "published file"
    assert path.read_bytes() == TEXT
    path.unlink()
    with pytest.raises(InputError, match="is not what was fetched"):
        set_paths(public_set(), "--prompts toy")


def test_a_hash_that_is_not_known_is_recorded_and_compared_ever_after(github: HubServer, tmp_path: Path) -> None:
    data = public_set(sha256=None)
    (path,) = set_paths(data, "--prompts toy")
    record = json.loads((path.parent / "sha256.json").read_text(encoding="utf-8"))["set.csv"]
    assert record["sha256"] == hashlib.sha256(TEXT).hexdigest()
    assert locate(data).integrity == f"hash recorded on {record['date']}"
    path.write_bytes(b"other")
    assert locate(data).is_damaged
    path.write_bytes(TEXT)
    (path.parent / "sha256.json").unlink()
    assert locate(data).is_damaged, "without its record nothing is known of the file"
    assert not fetch(data, "toy").is_damaged
    assert github.requested == [PATH, PATH]


def test_ones_own_copy_comes_first_and_may_differ(
    github: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own = tmp_path / "own" / "toy" / "set.csv"
    own.parent.mkdir(parents=True)
    own.write_bytes(TEXT)
    monkeypatch.setenv("SAFESCAPE_DATA", str(tmp_path / "own"))
    assert set_paths(public_set(), "--prompts toy") == (own,)
    assert caplog.messages == []
    own.write_bytes(TEXT + b"more,More\n")
    for _ in range(2):
        assert set_paths(public_set(), "--prompts toy") == (own,)
    assert caplog.messages == [f"toy: the copy in {own.parent} differs from the published file; it is used as it is"]
    assert github.requested == []
    own.unlink()
    assert set_paths(public_set(), "--prompts toy")[0].is_relative_to(tmp_path / "home")


def test_a_failed_fetch_is_one_line_and_leaves_no_file(
    github: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advice = "try again, or put your own copy at DIR/toy/set.csv and set SAFESCAPE_DATA=DIR"
    github.files.clear()
    for address, reason in {
        github.address: "404 Not Found",
        "http://127.0.0.1:9": "Connection refused",
        "nonsense": "unknown url type",
    }.items():
        monkeypatch.setenv("SAFESCAPE_GITHUB", address)
        with pytest.raises(InputError) as caught:
            set_paths(public_set(), "--prompts toy")
        assert str(caught.value).startswith(
            f"--prompts toy: {address}/owner/repo/{COMMIT}/data/set.csv cannot be fetched"
        )
        assert reason in str(caught.value)
        assert str(caught.value).endswith(advice)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        set_paths(public_set(), "--prompts toy")
    assert kept(tmp_path) == []


@pytest.mark.usefixtures("github")
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(InputError, match=r"the cache cannot be written \(No space left on device\); free space"):
            set_paths(public_set(), "--prompts toy")
    assert kept(tmp_path) == []
    assert set_paths(public_set(), "--prompts toy")[0].read_bytes() == TEXT


@pytest.mark.usefixtures("github")
def test_addresses_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="safescape"):
        set_paths(public_set(), "--prompts toy")
    assert any(message.endswith(PATH) for message in caplog.messages)
