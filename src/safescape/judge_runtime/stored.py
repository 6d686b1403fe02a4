"""Judging of stored answers, chunk by chunk.

A judge reads each distinct exchange once, however many points repeat it. Verdicts are stored after every chunk, so that
an interrupted call is resumed by the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import NamedTuple

from safescape.errors import InputError, RunError
from safescape.judge_runtime.open import JudgeSettings, open_judge
from safescape.judges import Judge, UnfinishedError, panel_verdict, verdict_unread
from safescape.store import Store, StoredExchange
from safescape.survey import Exchange, Finish, PanelName, Verdict, is_immediate, members_of, parse_judge_name

_CHUNK = 64
"""Exchanges judged between two writes to the store: the most that are lost when the process is killed."""
_IMMEDIATE = 1024
"""The same for immediate judges, which read thousands of answers per second."""

_log = logging.getLogger(__name__)


class JudgeProgress(NamedTuple):
    """Progress of one judge."""

    judge: str
    done: int = 0
    total: int = 0
    what: str = "answers"
    """The unit that is counted."""
    note: str = ""
    """A message for the user, in place of the count."""


class Judged(NamedTuple):
    """The verdicts of a judge, and what they were made with."""

    verdicts: list[Verdict]
    made_of: dict[str, str]


def judge_exchanges(
    exchanges: Sequence[Exchange], name: str, settings: JudgeSettings, rubrics: Mapping[str, str]
) -> list[Verdict]:
    """Return the verdicts of a judge or a panel, one per exchange, in order; see `identified_verdicts`."""
    return identified_verdicts(exchanges, name, settings, rubrics).verdicts


def identified_verdicts(
    exchanges: Sequence[Exchange], name: str, settings: JudgeSettings, rubrics: Mapping[str, str]
) -> Judged:
    """Return the verdicts of a judge or a panel, one per exchange, in order, and what they were made with.

    Repeated exchanges are read once.

    `rubrics` has the texts of rubrics from files, by judge.

    Raises:
        InputError: there is no such judge, or it cannot be used here.
        UnfinishedError: a judge could not go on; the error carries its verdicts so far.
        RunError: a judge could not go on, and has none.

    """
    panel = parse_judge_name(name)
    if isinstance(panel, PanelName):
        by_member = [judge_exchanges(exchanges, member.text, settings, rubrics) for member in panel.members]
        combined = [panel_verdict(panel, verdicts) for verdicts in zip(*by_member, strict=True)]
        return Judged(combined, {"members": ", ".join(members_of(name))})
    chunks = _chunks(list(dict.fromkeys(exchanges)), name)
    found: dict[Exchange, Verdict] = {}
    with open_judge(name, settings, rubrics, most=len(chunks)) as judges:
        try:
            for chunk, verdicts in _judge_chunks(judges, chunks):
                found.update(zip(chunk, verdicts, strict=True))
        except UnfinishedError as error:
            raise UnfinishedError(str(error), {**found, **error.verdicts}) from error
        made_of = dict(judges[0].made_of)
    return Judged([found[exchange] for exchange in exchanges], made_of)


def judge_stored(
    store: Store,
    names: Sequence[str],
    settings: JudgeSettings,
    *,
    again: bool = False,
    on_progress: Callable[[JudgeProgress], None] = lambda _: None,
    rubrics: Mapping[str, str],
) -> None:
    """Judge every answer in a claimed run that the judges, or the members of panels, have not read; store the verdicts.

    With `again` all answers are judged; earlier verdicts are kept until there are new ones. `rubrics` has the texts of
    rubrics from files, by judge. See `update_panels` for the verdicts of panels.

    Raises:
        InputError: there is no such judge, it cannot be used here, or the answers were stopped too early for it.
        RunError: a judge could not go on; its verdicts so far are stored.

    """
    for judge in dict.fromkeys(member for name in names for member in members_of(name)):
        _judge_answers(store, judge, settings, rubrics, again, on_progress)


def update_panels(store: Store, names: Sequence[str]) -> None:
    """Compute and store the verdicts of the panels among `names` and of those that a claimed run has already.

    Only answers that all members have judged are used.
    """
    for name in dict.fromkeys([*names, *store.verdicts.judges()]):
        panel = parse_judge_name(name)
        if not isinstance(panel, PanelName):
            continue
        by_member = [store.verdicts.by_response(member.text) for member in panel.members]
        judged = sorted(set(by_member[0]).intersection(*by_member[1:]))
        combined = {row: panel_verdict(panel, [verdicts[row] for verdicts in by_member]) for row in judged}
        store.verdicts.register(name, {"members": ", ".join(members_of(name))})
        store.verdicts.add(name, combined)


def _judge_answers(
    store: Store,
    name: str,
    settings: JudgeSettings,
    rubrics: Mapping[str, str],
    again: bool,
    on_progress: Callable[[JudgeProgress], None],
) -> None:
    todo = store.verdicts.exchanges() if again else store.verdicts.missing(name)
    if not todo:
        return
    places: dict[Exchange, list[int]] = {}
    unread: dict[int, Verdict] = {}
    for answer in todo:
        verdict = verdict_unread(answer.finish, is_unanswered=answer.is_unanswered)
        if verdict is None:
            places.setdefault(answer.exchange, []).append(answer.response)
        else:
            unread[answer.response] = verdict
    judged = 0

    def store_verdicts(verdicts: Mapping[Exchange, Verdict]) -> None:
        nonlocal judged
        rows = {row: verdict for exchange, verdict in verdicts.items() for row in places[exchange]}
        if again and not judged:
            store.verdicts.replace(name, judge.made_of, rows | unread)
        else:
            store.verdicts.add(name, rows)
        judged += len(verdicts)
        on_progress(JudgeProgress(name, judged, len(places)))

    _log.info("--judge %s reads %d distinct answers of %s", name, len(places), store.directory)
    with open_judge(name, settings, rubrics, most=-(-len(places) // _CHUNK)) as judges:
        judge = judges[0]
        if any(_stopped_too_early(answer, judge) for answer in todo if answer.response not in unread):
            raise InputError(
                f"{store.directory}: its answers end where the judges of its scan could already tell, too early for "
                f"--judge {name}; measure again with --whole-answers"
            )
        if not again:
            store.verdicts.register(name, judge.made_of)
            store.verdicts.add(name, unread)
            # verdicts on the same exchange at another point; an immediate judge reads it again, because its evidence
            # there may differ
            known = {} if is_immediate(name) else store.verdicts.by_exchange(name)
            plain = {exchange: exchange._replace(evidence=None) for exchange in places}
            store_verdicts({exchange: known[plain[exchange]] for exchange in places if plain[exchange] in known})
            fresh = [exchange for exchange in places if plain[exchange] not in known]
        else:
            fresh = list(places)
        try:
            for chunk, verdicts in _judge_chunks(judges, _chunks(fresh, name)):
                store_verdicts(dict(zip(chunk, verdicts, strict=True)))
        except RunError as error:
            if isinstance(error, UnfinishedError) and error.verdicts:
                store_verdicts(error.verdicts)
            raise RunError(
                f"{error}; {len(places) - judged} of {len(places)} different answers are not judged by {name}: "
                f"`safescape judge {store.directory} --with {name}` resumes"
            ) from error


def _judge_chunks(
    judges: Sequence[Judge], chunks: Sequence[Sequence[Exchange]]
) -> Iterator[tuple[Sequence[Exchange], Sequence[Verdict]]]:
    """Yield each chunk with its verdicts, in order; the judges, copies of one, read side by side."""
    if len(judges) == 1:
        yield from ((chunk, judges[0].judge(chunk)) for chunk in chunks)
        return
    free: SimpleQueue[Judge] = SimpleQueue()
    for judge in judges:
        free.put(judge)

    def read(chunk: Sequence[Exchange]) -> Sequence[Verdict]:
        judge = free.get()
        try:
            return judge.judge(chunk)
        finally:
            free.put(judge)

    pool = ThreadPoolExecutor(len(judges))
    try:
        yield from zip(chunks, pool.map(read, chunks), strict=True)
    finally:
        # threads that still read end when the judge is closed
        pool.shutdown(wait=False, cancel_futures=True)


def _chunks(exchanges: Sequence[Exchange], judge: str) -> list[Sequence[Exchange]]:
    size = _IMMEDIATE if is_immediate(judge) else _CHUNK
    return [exchanges[start : start + size] for start in range(0, len(exchanges), size)]


def _stopped_too_early(answer: StoredExchange, judge: Judge) -> bool:
    if answer.finish is Finish.NOISE:
        return not judge.stops_at_noise
    return answer.finish is Finish.SETTLED and not any(text in answer.exchange.response for text in judge.stop)
