"""Judges over an OpenAI-compatible API: `openai:MODEL`, with a rubric.

`judges.rubrics` has the instructions and parses replies, `chat` sends requests. The openai client, an extra, is
imported when a judge is opened.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from safescape.errors import InputError, RunError
from safescape.judge_runtime.chat import Chat
from safescape.judges import UnfinishedError
from safescape.judges.rubrics import Rubric, quoted, rubric_in_file, shipped_rubric
from safescape.survey import RUBRICS, ApiName, Exchange, Outcome, Verdict, parse_judge_name

_OPENAI = "https://api.openai.com/v1"
_log = logging.getLogger(__name__)


class _Named(NamedTuple):
    """A judge over an API as a run stores it."""

    name: ApiName
    rubric: str | None
    """Text of a rubric from a file, for `Survey.rubrics`; None for a rubric that ships with the package."""


def with_rubric(name: ApiName, rubric: str | None = None) -> _Named:
    """Add the rubric of `--rubric`, one of `survey.RUBRICS` or a file, to a name; the default rubric is left out.

    Raises:
        InputError: the name has a rubric already, or the file cannot be read.

    """
    text = None
    if rubric is not None:
        if name.rubric is not None:
            raise InputError(f"--rubric {rubric}: --judge {name.text} names its rubric already; give one of the two")
        found = shipped_rubric(rubric) if rubric in RUBRICS else rubric_in_file(Path(rubric))
        name, text = name._replace(rubric=found.name), None if rubric in RUBRICS else found.text
    return _Named(name._replace(rubric=None if name.rubric == RUBRICS[0] else name.rubric), text)


def check_api_judge(name: str) -> None:
    """Raise InputError if the openai client is not installed."""
    if find_spec("openai") is None:
        raise InputError(f"--judge {name}: needs the openai client; pip install 'safescape[api]'")


class ApiJudge:
    """Sends one request per exchange, at most `concurrency` of them at a time.

    `portal` leads to the event loop of `chat`, which runs in a thread of its own, because a notebook already runs one
    in the main thread.
    """

    stop: Sequence[str] = ()
    stops_at_noise = False

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

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Return one verdict per exchange, in order.

        UnfinishedError, with the verdicts so far, is raised if the server failed or the budget is used up.
        """
        found = self._portal.call(self._judge, list(dict.fromkeys(exchanges)))
        return [found[exchange] for exchange in exchanges]

    async def _judge(self, exchanges: Sequence[Exchange]) -> dict[Exchange, Verdict]:
        found: dict[Exchange, Verdict] = {}
        failures: list[RunError] = []
        queue = iter(exchanges)

        async def work() -> None:
            for exchange in queue:
                try:
                    found[exchange] = await self._verdict(exchange)
                except RunError as error:
                    # the other tasks finish their current request, because its reply is paid for
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
    """Open the judge `openai:MODEL` or `openai:MODEL#RUBRIC`; its connections end with the context.

    See `JudgeSettings` for the arguments; `rubrics` has the texts of rubrics from files, by judge.

    Raises:
        InputError: the name is no such judge's, or the judge cannot be used here; the message says what to type.

    """
    check_api_judge(name)
    parsed = parse_judge_name(name)
    if not isinstance(parsed, ApiName):
        raise InputError(f"--judge {name}: expected openai:MODEL or openai:MODEL#RUBRIC")
    rubric = _rubric_of(parsed, rubrics or {})
    limits = {"max-requests": max_requests, "requests-per-minute": requests_per_minute, "concurrency": concurrency}
    for flag, number in limits.items():
        if number is not None and number < 1:
            raise InputError(f"--{flag} {number}: expected 1 or more")
    address = base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI
    host, where = _server(address)
    # the client needs a key to send, although most servers of one's own need none
    key = os.environ.get("OPENAI_API_KEY") or ("none" if address != _OPENAI else "")
    if not key:
        raise InputError(
            f"--judge {name}: needs a key; type `export OPENAI_API_KEY=…`, or give the --base-url of another server"
        )
    if not re.fullmatch(r"[!-~]+", key):
        raise InputError(
            f"--judge {name}: OPENAI_API_KEY holds characters that no key has; type `export OPENAI_API_KEY=…` again"
        )
    from openai import AsyncOpenAI

    _log.info("--judge %s asks %s", name, where)
    with start_blocking_portal() as portal:
        client = AsyncOpenAI(api_key=key, base_url=address, max_retries=0, timeout=None)
        chat = Chat(
            client,
            parsed.model,
            where,
            schema=rubric.schema,
            name=name,
            max_requests=max_requests,
            requests_per_minute=requests_per_minute,
        )
        made_of = {
            "model": parsed.model,
            "rubric": rubric.name,
            "rubric_sha256": rubric.sha256,
            # the run is resumed without the file that the rubric came from
            **({} if rubric.name in RUBRICS else {"rubric_text": rubric.text}),
            "server": host,
        }
        try:
            yield ApiJudge(name, rubric, chat, portal, concurrency=concurrency, made_of=made_of)
        finally:
            portal.call(client.close)


def _rubric_of(name: ApiName, texts: Mapping[str, str]) -> Rubric:
    rubric = name.rubric or RUBRICS[0]
    if rubric in RUBRICS:
        return shipped_rubric(rubric)
    if name.text not in texts:
        raise InputError(f"--judge {name.text}: the text of its rubric is not there; give --rubric FILE")
    return Rubric(rubric, texts[name.text])


def _server(address: str) -> tuple[str, str]:
    """Return the host, for the record, and the address, for messages, both without credentials."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise InputError("--base-url: expected an address like http://localhost:8000/v1")
    shown = f"[{host}]" if ":" in host else host
    return host, f"{parts.scheme}://{shown}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
