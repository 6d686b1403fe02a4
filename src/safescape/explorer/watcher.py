"""One watcher of the disk for all open pages: each page is sent the new versions of what it shows."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable

from starlette.responses import StreamingResponse

from safescape.explorer.runs import GONE

_RUN_EVERY = 0.4
"""Seconds between two looks at the files of the runs that are open."""
_LIST_EVERY = 2.0
"""Seconds between two walks for the list, which read the whole tree."""
_KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent, so that a closed connection is noticed."""

Names = tuple[str, ...]
"""The runs that a page shows; empty for the list."""


class Watcher:
    """Looks at the disk for all open pages at once, and not at all while no page is open.

    Args:
        list_version: Return the version of the list; walks the tree.
        run_version: Return the version of some runs; looks only at their files.
        stopping: Set when the server ends; ends every stream.
        run_every: Seconds between two looks at open runs.
        list_every: Seconds between two looks at the list.

    """

    def __init__(
        self,
        list_version: Callable[..., str],
        run_version: Callable[..., str],
        stopping: threading.Event,
        *,
        run_every: float = _RUN_EVERY,
        list_every: float = _LIST_EVERY,
    ) -> None:
        self._list_version, self._run_version, self._stopping = list_version, run_version, stopping
        self._run_every, self._list_every = run_every, list_every
        self._pages: dict[Names, list[asyncio.Queue[str | None]]] = {}
        self._versions: dict[Names, tuple[str, float]] = {}
        """The version that was seen last and the time of the look, of what is open."""
        self._task: asyncio.Task[None] | None = None

    def events(self, names: Names, gone: str) -> StreamingResponse:
        """Return a stream of server-sent events: the version now, then every later one.

        Args:
            names: The runs that the page shows; empty for the list.
            gone: The message when one of them is no longer there; the stream ends with it.

        """

        async def stream() -> AsyncIterator[str]:
            async for version in self.versions(names):
                if version is None:
                    yield ": still here\n\n"
                elif version == GONE:
                    yield _event("gone", gone)
                    return
                else:
                    yield _event("version", version)

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def versions(self, names: Names) -> AsyncIterator[str | None]:
        """Yield the version now and every later one, and None after each silence, until the server ends."""
        page: asyncio.Queue[str | None] = asyncio.Queue()
        self._pages.setdefault(names, []).append(page)
        if names in self._versions:
            page.put_nowait(self._versions[names][0])
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            while not self._stopping.is_set():
                try:
                    version = await asyncio.wait_for(page.get(), _KEEP_ALIVE)
                except TimeoutError:
                    yield None
                    continue
                if version is None:
                    return
                yield version
        finally:
            self._pages[names].remove(page)
            if not self._pages[names]:
                del self._pages[names]
                self._versions.pop(names, None)

    async def _watch(self) -> None:
        """Look until no page is open."""
        try:
            while self._pages and not self._stopping.is_set():
                for names in [*self._pages]:
                    await self._look(names)
                await asyncio.sleep(self._run_every)
        finally:
            # streams end; a browser connects again by itself
            for names in self._pages:
                self._tell(names, None)

    async def _look(self, names: Names) -> None:
        known, looked = self._versions.get(names, ("", 0.0))
        if not names and known and time.monotonic() - looked < self._list_every:
            return
        version = await asyncio.to_thread(self._run_version if names else self._list_version, *names)
        if names in self._pages:
            self._versions[names] = version, time.monotonic()
        if version != known:
            self._tell(names, version)

    def _tell(self, names: Names, version: str | None) -> None:
        for page in self._pages.get(names, []):
            page.put_nowait(version)


def _event(kind: str, data: str) -> str:
    # a line break would end the event's data
    return f"event: {kind}\ndata: {' '.join(data.split())}\n\n"
