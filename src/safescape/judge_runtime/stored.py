"""Stored answers, judged chunk by chunk.

A judge reads every exchange once, however many points repeat it, and what it said is stored as soon as it is there:
whatever stops it, the next call goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import NamedTuple

from safescape.errors import InputError, RunError
from safescape.judge_runtime.open import Judging, opened
from safescape.judges import Judge, UnfinishedError, is_immediate, members_of, panel_named
from safescape.store import Store, StoredExchange
from safescape.survey import Exchange, Finish, Verdict

__all__ = ["JudgingProgress", "count_panels", "judge_exchanges", "judge_stored"]

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
    chunks = _chunks(list(dict.fromkeys(exchanges)), name)
    found: dict[Exchange, Verdict] = {}
    with opened(name, settings, rubrics, most=len(chunks)) as judges:
        try:
            for chunk, verdicts in _read(judges, chunks):
                found.update(zip(chunk, verdicts, strict=True))
        except UnfinishedError as error:
            raise UnfinishedError(str(error), {**found, **error.verdicts}) from error
    return [found[exchange] for exchange in exchanges]


def judge_stored(
    store: Store,
    names: Sequence[str],
    settings: Judging,
    *,
    again: bool = False,
    on_progress: Callable[[JudgingProgress], None] = lambda _: None,
    rubrics: Mapping[str, str],
) -> None:
    """Let judges read every stored answer that they have not read yet.

    Args:
        store: A claimed run directory.
        names: Of judges; of panels the members are meant.
        settings: How they work.
        again: Let them read all answers anew. What they said before is kept until they have said something else.
        on_progress: Told after every chunk.
        rubrics: Texts of rubrics from files, by judge.

    Raises:
        InputError: there is no such judge, it cannot be used here, or these answers were cut too early for it.
        RunError: it could not go on; what it had judged is stored.

    """
    for judge in dict.fromkeys(member for name in names for member in members_of(name)):
        _judge(store, judge, settings, rubrics, again, on_progress)


def count_panels(store: Store, names: Sequence[str]) -> None:
    """Store what follows from the members' verdicts, for these panels and those that the run has already.

    Args:
        store: A claimed run directory, whose answers the members have read.
        names: Of judges and panels; the judges are passed over.

    Raises:
        RunError: it could not be stored.

    """
    for name in dict.fromkeys([*names, *store.verdicts.judges()]):
        panel = panel_named(name)
        if panel is None:
            continue
        said = [store.verdicts.by_response(member) for member in panel.members]
        read = set.intersection(*(set(verdicts) for verdicts in said))
        store.verdicts.register(name, {"members": ", ".join(panel.members)})
        store.verdicts.add(name, {row: panel.verdict([verdicts[row] for verdicts in said]) for row in sorted(read)})


def _judge(
    store: Store,
    name: str,
    settings: Judging,
    rubrics: Mapping[str, str],
    again: bool,
    on_progress: Callable[[JudgingProgress], None],
) -> None:
    todo = store.verdicts.exchanges() if again else store.verdicts.missing(name)
    if not todo:
        return
    places: dict[Exchange, list[int]] = {}
    for answer in todo:
        places.setdefault(answer.exchange, []).append(answer.response)
    judged = 0

    def keep(verdicts: Mapping[Exchange, Verdict]) -> None:
        nonlocal judged
        rows = {row: verdict for exchange, verdict in verdicts.items() for row in places[exchange]}
        if again and not judged:
            store.verdicts.replace(name, judge.made_of, rows)
        else:
            store.verdicts.add(name, rows)
        judged += len(verdicts)
        on_progress(JudgingProgress(name, judged, len(places)))

    with opened(name, settings, rubrics, most=-(-len(places) // _CHUNK)) as judges:
        judge = judges[0]
        if any(_cut_too_early(answer, judge) for answer in todo):
            raise InputError(
                f"{store.directory}: its answers end where the judges of its scan could already tell, too early for "
                f"--judge {name}; measure again with --whole-answers"
            )
        if not again:
            store.verdicts.register(name, judge.made_of)
            # said of the same exchange at another point; cheap judges say it again, and may have other evidence there
            known = {} if is_immediate(name) else store.verdicts.by_exchange(name)
            keep({exchange: known[plain] for exchange in places if (plain := _plain(exchange)) in known})
            fresh = [exchange for exchange in places if _plain(exchange) not in known]
        else:
            fresh = list(places)
        try:
            for chunk, verdicts in _read(judges, _chunks(fresh, name)):
                keep(dict(zip(chunk, verdicts, strict=True)))
        except RunError as error:
            if isinstance(error, UnfinishedError) and error.verdicts:
                keep(error.verdicts)
            raise RunError(
                f"{error}; {len(places) - judged} of {len(places)} different answers are not judged by {name}: "
                f"`safescape judge {store.directory} --with {name}` goes on"
            ) from error


def _read(
    judges: Sequence[Judge], chunks: Sequence[Sequence[Exchange]]
) -> Iterator[tuple[Sequence[Exchange], Sequence[Verdict]]]:
    """Each chunk and what is said of it, in their order; as many at once as there are judges, who all say the same."""
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
        # what still reads is ended with its judge
        pool.shutdown(wait=False, cancel_futures=True)


def _plain(exchange: Exchange) -> Exchange:
    return exchange._replace(evidence=None)


def _chunks(exchanges: Sequence[Exchange], judge: str) -> list[Sequence[Exchange]]:
    size = _IMMEDIATE if is_immediate(judge) else _CHUNK
    return [exchanges[start : start + size] for start in range(0, len(exchanges), size)]


def _cut_too_early(answer: StoredExchange, judge: Judge) -> bool:
    return answer.finish is Finish.SETTLED and not any(text in answer.exchange.response for text in judge.stop)
