"""Stored answers, judged chunk by chunk.

A judge reads every exchange once, however many points repeat it, and what it said is stored as soon as it is there:
whatever stops it, the next call goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from safescape.errors import InputError, RunError
from safescape.judges import Judge, Panel, UnfinishedError, is_immediate, panel_named
from safescape.judging.opening import Judging, opened
from safescape.store import Store, Unjudged
from safescape.survey import Exchange, Finish, Verdict

__all__ = ["JudgingProgress", "judge_exchanges", "judge_stored"]

_CHUNK = 64
"""Exchanges judged between two writes: the most that a kill can lose."""
_IMMEDIATE = 1024
"""The same, of judges that need no time to speak of."""


class JudgingProgress(NamedTuple):
    """How far one judge is."""

    judge: str
    done: int = 0
    total: int = 0
    what: str = "answers"
    """What is counted."""
    note: str = ""
    """What the user should know, instead of a count."""


def judge_exchanges(
    exchanges: Sequence[Exchange], name: str, settings: Judging, rubrics: Mapping[str, str]
) -> list[Verdict]:
    """Return what a judge, or a panel, says of exchanges, in their order.

    Args:
        exchanges: What it reads.
        name: Of the judge.
        settings: How it works.
        rubrics: Texts of rubrics from files, by judge.

    Raises:
        InputError: there is no such judge, or it cannot be used here.
        RunError: it could not go on; if it is `UnfinishedError`, it carries what was judged.

    """
    panel = panel_named(name)
    if panel is not None:
        said = [judge_exchanges(exchanges, member, settings, rubrics) for member in panel.members]
        return [panel.verdict(verdicts) for verdicts in zip(*said, strict=True)]
    with opened(name, settings, rubrics) as judge:
        unique = list(dict.fromkeys(exchanges))
        found: dict[Exchange, Verdict] = {}
        for chunk in _chunks(unique, name):
            try:
                found.update(zip(chunk, judge.judge(chunk), strict=True))
            except UnfinishedError as error:
                raise UnfinishedError(str(error), {**found, **error.verdicts}) from error
    return [found[exchange] for exchange in exchanges]


def judge_stored(
    store: Store,
    names: Sequence[str],
    settings: Judging,
    *,
    rubrics: Mapping[str, str],
    on_progress: Callable[[JudgingProgress], None] = lambda _: None,
) -> None:
    """Let judges read every stored answer that they have not read yet.

    Args:
        store: A claimed run directory.
        names: Of judges and panels. A panel's members judge first, named or not.
        settings: How they work.
        rubrics: Texts of rubrics from files, by judge.
        on_progress: Told after every chunk.

    Raises:
        InputError: there is no such judge, it cannot be used here, or it reads whole answers and these were cut.
        RunError: it could not go on; what it had judged is stored.

    """
    panels = [panel for name in names if (panel := panel_named(name)) is not None]
    members = [member for panel in panels for member in panel.members]
    for name in dict.fromkeys([*(name for name in names if panel_named(name) is None), *members]):
        _judge(store, name, settings, rubrics, on_progress)
    for panel in panels:
        _count(store, panel)


def _judge(
    store: Store,
    name: str,
    settings: Judging,
    rubrics: Mapping[str, str],
    on_progress: Callable[[JudgingProgress], None],
) -> None:
    todo = store.unjudged(name)
    if not todo:
        return
    with opened(name, settings, rubrics) as judge:
        if any(_cut_too_early(answer, judge) for answer in todo):
            raise InputError(
                f"{store.directory}: its answers end where the judges of its scan could already tell, too early for "
                f"--judge {name}; measure again with --whole-answers"
            )
        store.begin_judging(name, judge.made_of)
        known = {} if is_immediate(name) else store.verdicts(name)
        places: dict[Exchange, list[int]] = {}
        for answer in todo:
            places.setdefault(answer.exchange, []).append(answer.response)
        again = [exchange for exchange in places if exchange._replace(evidence=None) in known]
        store.add_verdicts(
            name, {row: known[exchange._replace(evidence=None)] for exchange in again for row in places[exchange]}
        )
        fresh = [exchange for exchange in places if exchange._replace(evidence=None) not in known]
        on_progress(JudgingProgress(name, len(again), len(places)))
        judged = len(again)

        def keep(verdicts: Mapping[Exchange, Verdict]) -> None:
            nonlocal judged
            rows = {row: verdict for exchange, verdict in verdicts.items() for row in places[exchange]}
            store.add_verdicts(name, rows)
            judged += len(verdicts)
            on_progress(JudgingProgress(name, judged, len(places)))

        for chunk in _chunks(fresh, name):
            try:
                verdicts = judge.judge(chunk)
            except RunError as error:
                if isinstance(error, UnfinishedError):
                    keep(error.verdicts)
                raise RunError(
                    f"{error}; {len(places) - judged} of {len(places)} different answers are not judged by {name}: "
                    f"`safescape judge {store.directory} --with {name}` goes on"
                ) from error
            keep(dict(zip(chunk, verdicts, strict=True)))


def _count(store: Store, panel: Panel) -> None:
    """Store what follows from the members' verdicts."""
    todo = store.unjudged(panel.name)
    said = [store.by_response(member) for member in panel.members]
    store.begin_judging(panel.name, {"members": ", ".join(panel.members)})
    store.add_verdicts(
        panel.name,
        {answer.response: panel.verdict([verdicts[answer.response] for verdicts in said]) for answer in todo},
    )


def _chunks(exchanges: Sequence[Exchange], judge: str) -> Iterator[Sequence[Exchange]]:
    size = _IMMEDIATE if is_immediate(judge) else _CHUNK
    return (exchanges[start : start + size] for start in range(0, len(exchanges), size))


def _cut_too_early(answer: Unjudged, judge: Judge) -> bool:
    return answer.finish is Finish.SETTLED and not any(text in answer.exchange.response for text in judge.stop)
