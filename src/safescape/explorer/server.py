"""The server's life: a port on loopback, and an end that makes no noise."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import uvicorn

from safescape.errors import InputError
from safescape.explorer.application import application
from safescape.explorer.runs import Runs

__all__ = ["Listening", "listen", "serve"]

_HOST = "127.0.0.1"
_TRIES = 20
_PATIENCE = 2  # seconds for answers that are being given when the server ends


class Listening(NamedTuple):
    """A server that is about to answer."""

    socket: socket.socket
    runs: Runs
    port: int
    taken: tuple[int, ...]
    """Ports that were in use before this one."""

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://{_HOST}:{self.port}/"


def listen(directory: Path, port: int) -> Listening:
    """Take a port on loopback.

    Args:
        directory: What holds the runs.
        port: Where to begin; a port in use is passed over. 0: any that is free.

    Raises:
        InputError: there is no such directory, or no port is free.

    """
    runs = Runs(directory)
    if not 0 <= port <= 65535:
        raise InputError(f"--port {port}: expected a number from 0 to 65535")
    taken: list[int] = []
    for candidate in range(port, min(port + _TRIES, 65536)) if port else (0,):
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        # a port whose last connections are still closing is free
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((_HOST, candidate))
            bound.listen(128)
        except OSError as error:
            bound.close()
            if error.errno == errno.EADDRINUSE:
                taken.append(candidate)
                continue
            raise InputError(f"--port {candidate}: cannot be taken ({error.strerror}); give another one") from error
        return Listening(bound, runs, bound.getsockname()[1], tuple(taken))
    raise InputError(f"--port {port}: it and the {len(taken) - 1} after it are in use; give another one")


def serve(listening: Listening, on_ready: Callable[[], None] = lambda: None) -> None:
    """Answer until the process is told to end: by Ctrl-C or SIGTERM.

    Args:
        listening: What `listen` gave.
        on_ready: Called once it answers.

    """
    asyncio.run(_serve(listening, on_ready))


async def _serve(listening: Listening, on_ready: Callable[[], None]) -> None:
    stopping = threading.Event()
    app = application(listening.runs, listening.port, stopping)
    config = uvicorn.Config(
        app,
        log_level="warning",
        lifespan="off",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_PATIENCE,
        ws="none",
    )
    server = _Server(config)

    def stop() -> None:
        stopping.set()
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for sent in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sent, stop)
    answering = asyncio.create_task(server.serve(sockets=[listening.socket]))
    while not server.started and not answering.done():
        await asyncio.sleep(0.01)
    await asyncio.to_thread(on_ready)
    await answering


class _Server(uvicorn.Server):
    """uvicorn, but for its way of ending, which raises the signal again and prints it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `serve`."""
        yield
