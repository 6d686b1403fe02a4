"""The routes: the pages (the list of runs, a run, a comparison) and what their scripts fetch."""

from __future__ import annotations

import threading

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from safescape.errors import InputError, SafescapeError
from safescape.explorer.runs import Landscapes, Runs
from safescape.explorer.security import Guard
from safescape.explorer.watcher import Watcher
from safescape.landscape import Compared, comparison_of
from safescape.views import (
    Document,
    Home,
    Row,
    answers_at,
    compose_comparison,
    compose_notice,
    compose_page,
    compose_run_list,
    plotly_source,
    row_of,
)


def application(runs: Runs, port: int, stopping: threading.Event) -> ASGIApp:
    """Return the server's application; its event streams end when `stopping` is set."""
    explorer = _Explorer(runs, stopping)
    threading.Thread(target=explorer.prepare, daemon=True).start()
    routes = {
        "/": explorer.run_list,
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
    """The handlers of the routes. Starlette calls each in a thread of its own, so a large page delays no other one."""

    def __init__(self, runs: Runs, stopping: threading.Event) -> None:
        self._runs = runs
        self._landscapes = Landscapes(runs)
        self._watcher = Watcher(self._landscapes.version, runs.version, stopping)

    def prepare(self) -> None:
        """Do in advance what the first page would wait for: compress plotly, and begin to compute verdicts."""
        plotly_source()
        self._landscapes.version()

    def run_list(self, request: Request) -> Response:
        """Return the list of runs."""
        version, glances, rows = self._landscapes.version(), self._landscapes.glances(), []
        for name in self._runs.known:
            try:
                with self._runs.opened(name) as store:
                    rows.append(row_of(name, store, glances.get(name)))
            except SafescapeError as error:
                rows.append(Row(name, problem=str(error)))
        return _page(compose_run_list(self._runs.title, rows, version))

    def run(self, request: Request) -> Response:
        """Return the page of a run, as it is now."""
        name = request.query_params.get("run", "")
        # taken first: what is written meanwhile makes the page reload itself
        version = self._runs.version(name)
        with self._runs.opened(name) as store:
            landscape = self._landscapes.of(name, store, version)
            if landscape is None:
                waiting = "Nothing is measured yet: this page shows the first point as soon as it is finished."
                what = "If no scan is running, repeat the command that began it: it resumes the run."
                return _page(compose_notice(store.survey.model, waiting, what, run=name, version=version))
            home, opinions = Home(served=True, version=version), self._landscapes.opinions(name)
            return _page(compose_page(store, landscape, home, name, opinions))

    def compare(self, request: Request) -> Response:
        """Return the comparison of several runs."""
        names = list(dict.fromkeys(request.query_params.getlist("run")))
        if len(names) < 2:
            raise InputError("select two or more runs to compare them")
        version = self._runs.version(*names)
        found = []
        for name in names:
            with self._runs.opened(name) as store:
                found.append(Compared(name, store.survey, store.points.measured()))
            if not found[-1].measured:
                raise InputError(f"{name}: no point was measured in it yet; compare it when there is one")
        return _page(compose_comparison(comparison_of(found), Home(served=True, version=version)))

    def answers(self, request: Request) -> Response:
        """Return the answers at a point of a run."""
        number = request.query_params.get("point", "")
        asked = int(number) if number.isascii() and number.isdecimal() and len(number) < 9 else -1
        with self._runs.opened(request.query_params.get("run", "")) as store:
            point = next((point for place, point in enumerate(store.survey.points()) if place == asked), None)
            if point is None:
                raise InputError(f"{number}: no such point of this run; reload the page")
            answers = answers_at(store, point)
        return Response(answers, media_type="application/json", headers={"Content-Encoding": "gzip"})

    async def events(self, request: Request) -> Response:
        """Return a stream of the versions of a run, of several, or of the list."""
        names = tuple(request.query_params.getlist("run"))
        which = f"The run {names[0]}" if len(names) == 1 else "One of these runs"
        gone = (
            f"{which} is no longer there: it was moved or deleted. This page shows what was read before; "
            "its answers can no longer be fetched."
        )
        return self._watcher.events(names, gone)

    def plotly(self, request: Request) -> Response:
        """Return plotly, which is the same for all pages."""
        headers = {"Content-Encoding": "gzip", "Cache-Control": "private, max-age=3600"}
        return Response(plotly_source(), media_type="text/javascript", headers=headers)


def _page(document: Document, status: int = 200) -> Response:
    return HTMLResponse(document.text, status, headers={"Content-Security-Policy": document.policy})


def _problem(request: Request, error: Exception) -> Response:
    """Return an error's message: as a page where a page was requested, else as a line."""
    if request.url.path in ("/run", "/compare"):
        title, headline = "safescape view", "This cannot be shown."
        return _page(compose_notice(title, headline, str(error)), 404)
    return PlainTextResponse(f"{error}\n", 404)
