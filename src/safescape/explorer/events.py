"""Server-sent events: a line whenever what a page shows has changed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

from starlette.responses import StreamingResponse

from safescape.explorer.runs import GONE

__all__ = ["events"]

_EVERY = 0.4  # seconds between two looks
_SIGN_OF_LIFE = 15.0  # seconds; a proxy or a sleeping browser is noticed by it


def events(version: Callable[[], str], gone: str, stopping: threading.Event) -> StreamingResponse:
    """Return a stream that says the version now, and every later one.

    Args:
        version: What to look at; called in a thread, as it reads the disk.
        gone: What to say when there is nothing to look at any more; the stream ends with it.
        stopping: Set when the server ends.

    """

    async def stream() -> AsyncIterator[str]:
        said, quiet = "", 0.0
        while not stopping.is_set():
            now = await asyncio.to_thread(version)
            if now == GONE:
                yield _event("gone", gone)
                return
            if now != said:
                yield _event("version", now)
                said, quiet = now, 0.0
            await asyncio.sleep(_EVERY)
            quiet += _EVERY
            if quiet >= _SIGN_OF_LIFE:
                yield ": still here\n\n"
                quiet = 0.0

    return StreamingResponse(stream(), media_type="text/event-stream")


def _event(kind: str, data: str) -> str:
    # a line break would end the event's data
    return f"event: {kind}\ndata: {' '.join(data.split())}\n\n"
