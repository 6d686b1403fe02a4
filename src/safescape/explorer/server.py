"""The server: it takes a port on loopback, responds, and ends on a signal without a traceback."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import uvicorn

from safescape.errors import InputError
from safescape.explorer.application import application
from safescape.explorer.label_form import label_form
from safescape.explorer.runs import Runs
from safescape.store import Store

_HOST = "127.0.0.1"
_TRIES = 20
"""The number of ports to try."""
_PATIENCE = 2
"""Seconds for responses that are being sent when the server ends."""


class Listening(NamedTuple):
    """A server whose port is taken and that does not respond yet."""

    socket: socket.socket
    port: int
    taken: tuple[int, ...]
    """Ports that were in use before this one."""

    @property
    def address(self) -> str:
        """The address to open in a browser."""
        return f"http://{_HOST}:{self.port}/"


def listen(port: int) -> Listening:
    """Take a port on loopback.

    Args:
        port: The first port to try; ports in use are skipped. 0: any free port.

    Raises:
        InputError: no port is free.

    """
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
        return Listening(bound, bound.getsockname()[1], tuple(taken))
    raise InputError(f"--port {port}: it and the {len(taken) - 1} after it are in use; give another one")


def serve(listening: Listening, served: Runs | Store, on_ready: Callable[[], None] = lambda: None) -> None:
    """Serve until Ctrl-C or SIGTERM; `on_ready` is called once the server responds.

    Args:
        listening: The port.
        served: The runs to show; or one run, claimed and with a sample, whose answers are labelled.
        on_ready: Called in a thread of its own.

    """
    asyncio.run(_serve(listening, served, on_ready))


async def _serve(listening: Listening, served: Runs | Store, on_ready: Callable[[], None]) -> None:
    stopping, port = threading.Event(), listening.port
    config = uvicorn.Config(
        application(served, port, stopping) if isinstance(served, Runs) else label_form(served, port),
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
    """uvicorn without its handling of signals, which raises them again and prints a traceback."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `serve`."""
        yield
