"""The list of the runs under a directory, and the page that says why a run or a comparison cannot be shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safescape.landscape import Landscape
from safescape.store import Store
from safescape.survey import Plane, Survey
from safescape.views.pages.document import Document, Home, compose
from safescape.views.pages.payload import NoticePayload
from safescape.views.text.verdict import Verdict, verdict_of
from safescape.views.text.words import counted, subspace_text


class Glance(NamedTuple):
    """What the list shows of a landscape."""

    verdict: Verdict
    complete: bool


def glance_of(landscape: Landscape) -> Glance:
    """Return what the list shows of a landscape."""
    return Glance(verdict_of(landscape), landscape.complete)


class Row(NamedTuple):
    """One run in the list."""

    name: str
    """The run directory's path below the listed directory. This and all further texts are untrusted."""
    problem: str = ""
    """Why the run cannot be read; then nothing else is known."""
    model: str = ""
    subject: str = ""
    points: str = ""
    finished: int = 0
    share: float | None = None
    """The share of its points that is measured, 0 to 1; None if it is finished, or adaptive (the total is unknown)."""
    when: str = ""
    """Local time of the last measured point."""
    verdict: Verdict | None = None
    """None while it is not computed."""


def row_of(name: str, store: Store, glance: Glance | None) -> Row:
    """Return the row of a run which the server calls `name`; without a glance if its landscape is not computed."""
    survey, finished = store.survey, len(store.points.finished())
    total = None if survey.adaptive is not None else sum(1 for _ in survey.points())
    newest = store.points.last_finished()
    if total is not None:
        points = f"{finished} of {counted(total, 'point')}"
    elif glance is not None and glance.complete:
        points = f"{counted(finished, 'point')}, chosen as results came in"
    else:
        points = f"{counted(finished, 'point')} so far, chosen as results come in"
    return Row(
        name,
        model=survey.model,
        subject=_subject(survey),
        points=points,
        finished=finished,
        share=None if total is None or finished == total else finished / total,
        when="" if newest is None else newest.astimezone().strftime("%Y-%m-%d %H:%M"),
        verdict=glance.verdict if glance else None,
    )


def compose_run_list(place: Path, rows: Sequence[Row], version: str) -> Document:
    """Return the list of the runs under a directory."""
    home = Home(served=True, version=version)
    return compose("run_list.html.j2", "run_list.js", {}, home=home, plots=False, place=str(place), rows=list(rows))


def compose_notice(title: str, headline: str, detail: str, *, run: str | None = None, version: str = "") -> Document:
    """Return a page that says why what was asked for cannot be shown.

    It becomes the page of `run`, if given, when its first point is measured; `version` is the version of that run.
    """
    data, home = NoticePayload(run=run), Home(served=True, version=version)
    texts: dict[str, Any] = {"title": title, "headline": headline, "detail": detail}
    return compose("notice.html.j2", "notice.js", data, home=home, plots=False, **texts)


def _subject(survey: Survey) -> str:
    where = subspace_text(survey.subspace.axes, plane=isinstance(survey.subspace, Plane))
    return f"{len(survey.prompts.prompts)} harmful prompts on {where if where[0].isdigit() else f'a {where}'}"
