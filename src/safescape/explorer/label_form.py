"""`safescape label --page`: a form in the browser that stores a person's labels in one run.

The page holds the sampled answers, without points and without verdicts. A label is the only thing that a request can
write: it names an answer by its place in the sample and one of the labels. `Guard` takes such a request from this very
page alone.
"""

from __future__ import annotations

import json
import secrets

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from safescape.explorer.security import Guard
from safescape.store import Store
from safescape.survey import Label
from safescape.views import compose_label_form

_LARGEST = 1000
"""Bytes of the body of a request."""


def label_form(store: Store, port: int) -> ASGIApp:
    """Return the application of the form for a claimed run with a sample.

    Its handlers run in one thread, that of the event loop, since SQLite's connection belongs to the thread that opened
    it.
    """
    form = _Form(store, secrets.token_urlsafe(32))
    routes = [Route("/", form.page, methods=["GET"]), Route("/label", form.give, methods=["POST"])]
    return Guard(Starlette(routes=routes), port, token=form.token)


class _Form:
    """The handlers of the routes."""

    def __init__(self, store: Store, token: str) -> None:
        self._store, self.token = store, token

    async def page(self, request: Request) -> Response:
        """Return the form with the labels so far."""
        sample, shown = self._store.labels.sample(), self._store.labels.shown()
        assert sample is not None
        document = compose_label_form(self._store.directory, self._store.survey.model, sample, shown, self.token)
        return HTMLResponse(document.text, headers={"Content-Security-Policy": document.policy})

    async def give(self, request: Request) -> Response:
        """Store a label, or take it back, and return how many answers are labelled."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LARGEST:
                return PlainTextResponse("expected a label\n", 413)
        sample = self._store.labels.sample()
        assert sample is not None
        try:
            found = json.loads(body)
            place, label, skipped = found["place"], found["label"], found["skipped"]
            row = sample.rows[place] if _is_place(place, len(sample.rows)) else None
            given = None if label is None else Label(label)
        except (ValueError, KeyError, TypeError, RecursionError):
            row, given, skipped = None, None, None
        if row is None or not isinstance(skipped, bool) or (skipped and given is not None):
            return PlainTextResponse("expected a place of the sample and a label\n", 400)
        self._store.labels.give(row.response, given, skipped=skipped)
        before = row.label is not None
        labelled = sum(each.label is not None for each in sample.rows) - before + (given is not None)
        return JSONResponse({"labelled": labelled})


def _is_place(place: object, rows: int) -> bool:
    return isinstance(place, int) and not isinstance(place, bool) and 0 <= place < rows
