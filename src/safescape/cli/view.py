"""`safescape view`: all runs under a directory in the browser, live while they are measured."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from safescape.errors import InputError


def view(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Directory of the runs")] = Path("runs"),
    port: Annotated[str, typer.Option(metavar="N", help="First port to try; 0: any free port")] = "8712",
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the browser")] = True,
) -> None:
    """Example: safescape view runs

    Show the runs under DIR in the browser, from a server that only this machine can reach: the report of each, as it is
    now and live while it is measured, and comparisons of those you select. Nothing is written. Ctrl-C ends it.
    """
    from safescape.explorer import Runs, listen, serve  # loads the drawing libraries, which `--help` need not wait for

    if not port.isdecimal():
        raise InputError(f"--port {port}: expected a number from 0 to 65535")
    runs = Runs(directory)
    listening = listen(int(port))
    if listening.taken:
        _say(f"port {listening.taken[0]} is in use; took {listening.port}")
    number = len(runs.found())
    _say(f"{number} run{'' if number == 1 else 's'} under {directory}: {listening.address} (Ctrl-C ends it)")
    serve(listening, runs, (lambda: open_page(listening.address)) if open_browser else lambda: None)


def open_page(address: str) -> None:
    """Open an address in the browser, or say that none could be opened."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        browser = None
    # one that runs in the terminal would take it from the server
    if browser is None or type(browser) is webbrowser.GenericBrowser or not browser.open(address):
        _say(f"no browser could be opened; open {address} yourself")


def _say(line: str) -> None:
    print(line, flush=True)
