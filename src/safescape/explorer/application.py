"""The pages: the list of runs, a run, a comparison; and what their scripts ask for."""

from __future__ import annotations

import threading

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from safescape.errors import InputError, SafescapeError
from safescape.explorer.cache import Landscapes
from safescape.explorer.events import events
from safescape.explorer.runs import Runs
from safescape.explorer.security import Guard
from safescape.landscape import Compared, comparison_of
from safescape.views import (
    Document,
    Home,
    Row,
    compose_comparison,
    compose_notice,
    compose_page,
    compose_shelf,
    plotly_source,
    row_of,
    said_at,
)

__all__ = ["application"]


def application(runs: Runs, port: int, stopping: threading.Event) -> ASGIApp:
    """Return the server's application.

    Args:
        runs: What it shows.
        port: Where it listens; part of the host names that it answers to.
        stopping: Set when it ends, so that streams end too.

    """
    explorer = _Explorer(runs, stopping)
    threading.Thread(target=explorer.prepare, daemon=True).start()
    routes = {
        "/": explorer.shelf,
        "/run": explorer.run,
        "/compare": explorer.compare,
        "/answers": explorer.answers,
        "/events": explorer.events,
        "/plotly.js": explorer.plotly,
    }
    pages = Starlette(
        routes=[Route(path, answer, methods=["GET"]) for path, answer in routes.items()],
        exception_handlers={SafescapeError: _problem},
    )
    return Guard(pages, port)


class _Explorer:
    """What is answered. Starlette calls each in a thread of its own, so a large page keeps no other one waiting."""

    def __init__(self, runs: Runs, stopping: threading.Event) -> None:
        self._runs = runs
        self._landscapes = Landscapes(runs)
        self._stopping = stopping

    def prepare(self) -> None:
        """Do once what the first pages would wait for: compress plotly, and begin to read the runs."""
        plotly_source()
        self._landscapes.version()

    def shelf(self, request: Request) -> Response:
        """Answer with the list of runs."""
        version, glances, rows = self._landscapes.version(), self._landscapes.glances(), []
        for name in self._runs.found():
            try:
                with self._runs.opened(name) as store:
                    rows.append(row_of(name, store, glances.get(name)))
            except SafescapeError as error:
                rows.append(Row(name, problem=str(error)))
        return _page(compose_shelf(self._runs.title, rows, version))

    def run(self, request: Request) -> Response:
        """Answer with the page of a run, as it is now."""
        name = request.query_params.get("run", "")
        # before anything else: what is written meanwhile makes the page read itself again
        version = self._runs.version(name)
        with self._runs.opened(name) as store:
            landscape = self._landscapes.of(name, store, version)
            if landscape is None:
                waiting = "Nothing is measured yet: this page shows the first point as soon as it is finished."
                what = "If no scan is running, repeat the command that began it: it goes on where it stopped."
                return _page(compose_notice(store.survey.model, waiting, what, run=name, version=version))
            return _page(compose_page(store, landscape, Home(served=True, version=version), name))

    def compare(self, request: Request) -> Response:
        """Answer with the comparison of several runs."""
        names = list(dict.fromkeys(request.query_params.getlist("run")))
        if len(names) < 2:
            raise InputError("tick two runs or more to compare them")
        version = self._runs.version(*names)
        found = []
        for name in names:
            with self._runs.opened(name) as store:
                found.append(Compared(name, store.survey, list(store.points.measured())))
            if not found[-1].measured:
                raise InputError(f"{name}: no point was measured in it yet; compare it when there is one")
        return _page(compose_comparison(comparison_of(found), Home(served=True, version=version)))

    def answers(self, request: Request) -> Response:
        """Answer with what was said at a point of a run."""
        number = request.query_params.get("point", "")
        asked = int(number) if number.isascii() and number.isdecimal() and len(number) < 9 else -1
        with self._runs.opened(request.query_params.get("run", "")) as store:
            point = next((point for place, point in enumerate(store.survey.points()) if place == asked), None)
            if point is None:
                raise InputError(f"{number}: no such point of this run; reload the page")
            said = said_at(store, point)
        return Response(said, media_type="application/json", headers={"Content-Encoding": "gzip"})

    def events(self, request: Request) -> Response:
        """Answer with a stream that tells when a run, one of several, or the list has changed."""
        names = request.query_params.getlist("run")
        if not names:
            return events(self._landscapes.version, "", self._stopping)
        which = f"The run {names[0]}" if len(names) == 1 else "One of these runs"
        gone = (
            f"{which} is no longer there: it was moved or deleted. What you see is what was read before; "
            "its answers cannot be fetched any more."
        )
        return events(lambda: self._runs.version(*names), gone, self._stopping)

    def plotly(self, request: Request) -> Response:
        """Answer with plotly; it is the same for all pages."""
        headers = {"Content-Encoding": "gzip", "Cache-Control": "private, max-age=3600"}
        return Response(plotly_source(), media_type="text/javascript", headers=headers)


def _page(document: Document, status: int = 200) -> Response:
    return HTMLResponse(document.text, status, headers={"Content-Security-Policy": document.policy})


def _problem(request: Request, error: Exception) -> Response:
    """Say what is wrong: a page where a page was asked for, else a line."""
    if request.url.path in ("/run", "/compare"):
        title, headline = "safescape view", "This cannot be shown."
        return _page(compose_notice(title, headline, str(error)), 404)
    return PlainTextResponse(f"{error}\n", 404)
