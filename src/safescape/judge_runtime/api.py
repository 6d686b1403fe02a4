"""A judge over an OpenAI-compatible API: `openai:MODEL`, with a rubric.

Knows what to ask and how the answer becomes a verdict; how a server is asked is `chat`'s, what is asked is `rubrics`'.
The openai client is imported when a judge is opened, so that naming one costs nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from safescape.errors import InputError, RunError
from safescape.judges.rubrics import RUBRICS, Rubric, quoted, rubric_in_file, shipped_rubric
from safescape.judges.unfinished import UnfinishedError
from safescape.survey import Exchange, Outcome, Verdict

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from safescape.judge_runtime.chat import Chat

__all__ = ["PREFIX", "ApiJudge", "ApiJudgeName", "api_judge_name", "check_api_judge", "open_api_judge"]

PREFIX = "openai:"
_OPENAI = "https://api.openai.com/v1"
_OWN = re.compile(r"rubric-[0-9a-f]{8}")


class ApiJudgeName(NamedTuple):
    """A judge as it is stored."""

    name: str
    """`openai:MODEL`, or `openai:MODEL#RUBRIC` with another rubric than strongreject."""
    rubric: str | None
    """The text of a rubric from a file, for `Survey.rubrics[name]`."""


def api_judge_name(given: str, rubric: str | None = None) -> ApiJudgeName:
    """Return the name of a judge over an API.

    Args:
        given: As typed: `openai:MODEL`, or a name that this function gave.
        rubric: As typed: one that ships (`strongreject`, `policy`), or a file; None: the one in the name, else
            strongreject.

    Raises:
        InputError: no such name, or the rubric cannot be read.

    """
    model, named = _parts(given)
    if rubric is None:
        return ApiJudgeName(_joined(model, named), None)
    if named is not None:
        raise InputError(f"--rubric {rubric}: --judge {given} names its rubric already; give one of the two")
    if rubric in RUBRICS:
        return ApiJudgeName(_joined(model, rubric), None)
    found = rubric_in_file(Path(rubric))
    return ApiJudgeName(_joined(model, found.name), found.text)


def check_api_judge(name: str) -> None:
    """Find out that a name is one, and that what such a judge needs is installed.

    Raises:
        InputError: it is not; the message says what to type.

    """
    _parts(name)
    if find_spec("openai") is None:
        raise InputError(f"--judge {name}: needs the openai client; pip install 'safescape[api]'")


class ApiJudge:
    """Asks one question an exchange, several at a time.

    Args:
        name: As `api_judge_name` gives it.
        rubric: What it goes by.
        chat: The model.
        portal: To the loop that `chat` lives in. It runs in a thread of its own, because a notebook has one already.
        concurrency: Questions under way at once.
        made_of: For the record.

    """

    stop: Sequence[str] = ()

    def __init__(
        self,
        name: str,
        rubric: Rubric,
        chat: Chat,
        portal: BlockingPortal,
        *,
        concurrency: int,
        made_of: Mapping[str, str],
    ) -> None:
        self.name, self.made_of = name, made_of
        self._rubric, self._chat, self._portal, self._concurrency = rubric, chat, portal, concurrency

    @property
    def requests(self) -> int:
        """How many were sent so far, repeated ones included."""
        return self._chat.sent

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Return one verdict an exchange, in order.

        Raises:
            UnfinishedError: the server, or the budget, gave out; it carries the verdicts there are.

        """
        found = self._portal.call(self._judge, list(dict.fromkeys(exchanges)))
        return [found[exchange] for exchange in exchanges]

    async def _judge(self, exchanges: Sequence[Exchange]) -> dict[Exchange, Verdict]:
        import anyio

        found: dict[Exchange, Verdict] = {}
        failures: list[RunError] = []
        queue = iter(exchanges)

        async def work() -> None:
            for exchange in queue:
                try:
                    found[exchange] = await self._verdict(exchange)
                except RunError as error:
                    # the others end what they have begun: their replies are paid for
                    failures.append(error)
                if failures:
                    return

        async with anyio.create_task_group() as workers:
            for _ in range(min(self._concurrency, len(exchanges))):
                workers.start_soon(work)
        if failures and len(found) < len(exchanges):
            raise UnfinishedError(str(failures[0]), found) from failures[0]
        return found

    async def _verdict(self, exchange: Exchange) -> Verdict:
        reply = await self._chat.reply(self._rubric.instructions, quoted(exchange))
        if not reply.text:
            return Verdict(Outcome.UNSCORED, reply.problem or "the judge's reply is empty")
        verdict = self._rubric.read(reply.text)
        if verdict.outcome is Outcome.UNSCORED and verdict.probability is None and reply.problem:
            return verdict._replace(reason=f"{reply.problem}; {verdict.reason}")
        return verdict


@contextlib.contextmanager
def open_api_judge(
    name: str,
    *,
    base_url: str | None = None,
    max_requests: int | None = None,
    requests_per_minute: int | None = None,
    concurrency: int = 8,
    rubrics: Mapping[str, str] | None = None,
) -> Iterator[ApiJudge]:
    """Open a judge; its connections end with the block.

    Args:
        name: As `api_judge_name` gives it.
        base_url: Of the server; None: what OPENAI_BASE_URL says, else OpenAI's own.
        max_requests: The most requests it may send while it is open; None: as many as it takes.
        requests_per_minute: The most it may send in a minute; None: no limit.
        concurrency: Requests under way at once.
        rubrics: Texts of rubrics from files, by judge.

    Raises:
        InputError: it cannot be used here; the message says what to type.

    """
    check_api_judge(name)
    rubric = _rubric_of(name, rubrics or {})
    for flag, number in (
        ("max-requests", max_requests),
        ("requests-per-minute", requests_per_minute),
        ("concurrency", concurrency),
    ):
        if number is not None and number < 1:
            raise InputError(f"--{flag} {number}: expected 1 or more")
    address = base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI
    host, where = _server(address)
    # a server of one's own mostly wants no key, but the client wants one to send
    key = os.environ.get("OPENAI_API_KEY") or ("none" if address != _OPENAI else "")
    if not key:
        raise InputError(
            f"--judge {name}: needs a key; type `export OPENAI_API_KEY=…`, or give the --base-url of another server"
        )
    if not re.fullmatch(r"[!-~]+", key):
        raise InputError(
            f"--judge {name}: OPENAI_API_KEY holds characters that no key has; type `export OPENAI_API_KEY=…` again"
        )

    from anyio.from_thread import start_blocking_portal
    from openai import AsyncOpenAI

    from safescape.judge_runtime import chat

    with start_blocking_portal() as portal:
        client = AsyncOpenAI(api_key=key, base_url=address, max_retries=0, timeout=None)
        try:
            yield ApiJudge(
                name,
                rubric,
                chat.Chat(
                    client,
                    _parts(name)[0],
                    where,
                    schema=rubric.schema,
                    name=name,
                    limits=chat.Limits(max_requests, requests_per_minute),
                    patience=chat.PATIENCE,
                ),
                portal,
                concurrency=concurrency,
                made_of={
                    "model": _parts(name)[0],
                    "rubric": rubric.name,
                    "rubric_sha256": rubric.sha256,
                    # a run judged by somebody's file can be judged on without it
                    **({} if rubric.name in RUBRICS else {"rubric_text": rubric.text}),
                    "server": host,
                },
            )
        finally:
            portal.call(client.close)


def _parts(name: str) -> tuple[str, str | None]:
    """Return the model and the rubric, if one is named."""
    model, _, rubric = name.removeprefix(PREFIX).partition("#")
    known = not rubric or rubric in RUBRICS or _OWN.fullmatch(rubric)
    # commas and parentheses are a panel's: majority(A,B)
    if not name.startswith(PREFIX) or not re.fullmatch(r"[^\s,()#]+", model) or not known or name.endswith("#"):
        raise InputError(
            f"--judge {name}: expected openai:MODEL or openai:MODEL#RUBRIC; MODEL without spaces, commas and "
            f"parentheses, RUBRIC one of {', '.join(RUBRICS)}"
        )
    return model, rubric or None


def _joined(model: str, rubric: str | None) -> str:
    return f"{PREFIX}{model}" + ("" if rubric in (None, RUBRICS[0]) else f"#{rubric}")


def _rubric_of(name: str, texts: Mapping[str, str]) -> Rubric:
    rubric = _parts(name)[1] or RUBRICS[0]
    if rubric in RUBRICS:
        return shipped_rubric(rubric)
    if name not in texts:
        raise InputError(f"--judge {name}: the text of its rubric is not there; give --rubric FILE")
    return Rubric(rubric, texts[name])


def _server(address: str) -> tuple[str, str]:
    """Return the host for the record, and the address for messages: neither with credentials."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise InputError("--base-url: expected an address like http://localhost:8000/v1")
    shown = f"[{host}]" if ":" in host else host
    return host, f"{parts.scheme}://{shown}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
