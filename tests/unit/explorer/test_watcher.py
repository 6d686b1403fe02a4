"""One watcher looks at the disk for all open pages; runs are found again without a walk."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from helpers.runs import make_run
from helpers.surveys import make_survey
from safescape.errors import InputError
from safescape.explorer.runs import GONE, Landscapes, Runs
from safescape.explorer.watcher import Watcher

SEVERAL = 5


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    directory = tmp_path / "runs"
    for name in ("first", "second"):
        make_run(directory / name, make_survey(prompts=2, lines=1, steps=2)).close()
    return Runs(directory)


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The directories of which the tree was walked."""
    found: list[str] = []
    walk = os.walk

    def counted(top: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        found.append(str(top))
        return walk(top)

    monkeypatch.setattr(os, "walk", counted)
    return found


def watched(runs: Runs, act: Callable[[Watcher], Awaitable[None]]) -> None:
    """Run something with a watcher that looks at runs every 10 ms and walks every 100 ms."""
    stopping = threading.Event()

    async def main() -> None:
        watcher = Watcher(Landscapes(runs).version, runs.version, stopping, run_every=0.01, list_every=0.1)
        await asyncio.wait_for(act(watcher), 20)
        stopping.set()

    asyncio.run(main())


def touch(runs: Runs, name: str) -> None:
    place = runs.directory / name / "survey.json"
    os.utime(place, ns=(0, place.stat().st_mtime_ns + 1_000_000))


async def opened(watcher: Watcher, *names: str) -> list[AsyncIterator[str | None]]:
    """Several pages that show the same, each with its first version."""
    pages = [watcher.versions(names) for _ in range(SEVERAL)]
    assert len({await anext(page) for page in pages}) == 1
    return pages


def test_all_pages_of_a_run_share_one_walk(runs: Runs, walks: list[str]) -> None:
    async def act(watcher: Watcher) -> None:
        pages = await opened(watcher, "first")
        assert len(walks) == 1
        await asyncio.sleep(0.3)
        touch(runs, "first")
        assert len({await anext(page) for page in pages}) == 1
        assert len(walks) == 1

    watched(runs, act)


def test_pages_of_the_list_share_one_walk_per_interval(runs: Runs, walks: list[str]) -> None:
    async def act(watcher: Watcher) -> None:
        pages = await opened(watcher)
        begun = len(walks)
        await asyncio.sleep(0.55)
        assert 2 <= len(walks) - begun <= 6
        touch(runs, "second")
        assert all([await anext(page) for page in pages])

    watched(runs, act)


def test_nothing_is_looked_at_while_no_page_is_open(runs: Runs, walks: list[str]) -> None:
    async def act(watcher: Watcher) -> None:
        for page in await opened(watcher):
            await page.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(0.05)
        closed = len(walks)
        await asyncio.sleep(0.3)
        assert len(walks) == closed
        await opened(watcher)
        assert len(walks) > closed

    watched(runs, act)


def test_a_page_that_opens_later_gets_the_version_at_once(runs: Runs, walks: list[str]) -> None:
    async def act(watcher: Watcher) -> None:
        first = watcher.versions(("first", "second"))
        version = await anext(first)
        assert await anext(watcher.versions(("first", "second"))) == version
        shutil.rmtree(runs.directory / "second")
        assert await anext(first) == GONE

    watched(runs, act)


def test_streams_end_with_the_server(runs: Runs) -> None:
    stopping = threading.Event()

    async def main() -> list[str | None]:
        watcher = Watcher(Landscapes(runs).version, runs.version, stopping, run_every=0.01)
        page = watcher.versions(("first",))
        await anext(page)
        stopping.set()
        return [version async for version in page]

    assert asyncio.run(asyncio.wait_for(main(), 20)) == []


def test_a_failed_walk_ends_the_streams_and_the_next_page_restarts_the_watcher(runs: Runs) -> None:
    looks: list[str] = []

    def fails_once(*names: str) -> str:
        looks.append(names[0])
        if len(looks) == 1:
            raise OSError("the disk is gone")
        return "seen"

    async def main() -> None:
        watcher = Watcher(lambda: "", fails_once, threading.Event(), run_every=0.01)
        assert [version async for version in watcher.versions(("first",))] == []
        assert await anext(watcher.versions(("first",))) == "seen"

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_run_is_found_again_without_a_walk(runs: Runs, walks: list[str]) -> None:
    for _ in range(3):
        with runs.opened("first") as store:
            assert store.survey.model
        runs.version("first", "second")
    assert len(walks) == 1


def test_a_run_that_became_a_link_or_moved_is_not_served(runs: Runs, tmp_path: Path) -> None:
    runs.found()
    outside = tmp_path / "outside"
    shutil.move(runs.directory / "first", outside)
    (runs.directory / "first").symlink_to(outside)
    with pytest.raises(InputError, match="no such run under"):
        runs.place("first")
    (runs.directory / "second" / "run.sqlite").unlink()
    (runs.directory / "second" / "run.sqlite").symlink_to(outside / "run.sqlite")
    assert runs.version("second") == GONE
