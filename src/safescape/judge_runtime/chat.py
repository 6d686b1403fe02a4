"""Questions to an OpenAI-compatible server: paced, counted, repeated when that may help, given up when it may not.

Knows no rubric and no verdict. The openai client's own retries are off: every request that leaves counts towards the
budget and the pace, a repeated one too, and a server that asks for patience is asked nothing at all until it is over.
"""

from __future__ import annotations

import email.utils
import json
import logging
import random
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
from pydantic import BaseModel, Field

from safescape.errors import RunError
from safescape.judges.rubrics import short

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

__all__ = ["PATIENCE", "Chat", "Limits", "Patience", "Reply"]

_log = logging.getLogger(__name__)

_MAY_PASS = (408, 409, 425, 429)
"""Statuses under 500 of requests that may succeed when they are repeated."""

_OPTIONS: Mapping[str, Any] = {"temperature": 0, "seed": 0, "max_tokens": 512}
"""What every request asks for, beside the form of the reply. What a server refuses by name is left out from then on."""

_INSTEAD: Mapping[str, Mapping[str, Any]] = {
    "max_tokens": {"max_completion_tokens": 4096},
    "json_schema": {"response_format": {"type": "json_object"}},
}
"""What is sent in the place of something refused. OpenAI's reasoning models take another word for the limit, and count
what they think in it; some servers keep to JSON, but not to a schema."""

_CALLED: Mapping[str, str] = {"response_format": "response[_ ]format|json[_ ]schema|json[_ ]object"}
"""How servers call an option, where they call it otherwise too."""

_ABOUT_THIS_TEXT = re.compile(
    r"content.?(filter|management|policy)|context.?(length|window|size)|too.?long|too many tok"
)
"""What servers say when they refuse one exchange rather than all."""


class Patience(NamedTuple):
    """How long a server is waited for."""

    timeout: float = 60.0
    """Seconds from a request to the end of its reply."""
    tries: int = 5
    first_wait: float = 2.0
    """Seconds before the second try; they double from try to try, and up to half of them is left out at random."""
    longest_wait: float = 120.0
    """Seconds: a server that asks to wait longer is given up."""


PATIENCE = Patience()


class Limits(NamedTuple):
    """What a server may be asked at most."""

    requests: int | None
    """All in all, repeated ones included."""
    requests_per_minute: int | None
    """They leave evenly spaced."""


class Reply(NamedTuple):
    """What came back for one exchange."""

    text: str
    problem: str = ""
    """Why the text is no complete reply, if it is none: cut, filtered, declined."""


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    """Of a chat completion, only what is needed: servers differ in the rest."""

    choices: list[_Choice] = Field(min_length=1)

    def reply(self) -> Reply:
        message, finish = self.choices[0].message, self.choices[0].finish_reason
        if message.refusal:
            return Reply("", f"the judge's model declined to judge: {short(message.refusal)}")
        if finish == "content_filter":
            return Reply("", "the server filtered the judge's reply")
        return Reply(message.content or "", "the judge's reply was cut at its limit" if finish == "length" else "")


class Chat:
    """One model behind one server.

    Args:
        client: Of that server; it belongs to the loop that `reply` runs in.
        model: As the server calls it.
        schema: JSON schema of a reply. Many servers can hold a model to it; the system message says it too.
        where: The server's address, for messages; without credentials.
        name: Of the judge, for messages.
        limits: What it may be asked.
        patience: How long it is waited for.

    """

    def __init__(
        self,
        client: AsyncOpenAI,
        model: str,
        where: str,
        *,
        schema: Mapping[str, Any],
        name: str,
        limits: Limits,
        patience: Patience,
    ) -> None:
        self._client, self._model, self._where, self._name = client, model, where, name
        self._limits, self._patience = limits, patience
        form = {"name": "verdict", "strict": True, "schema": schema}
        self._options = {**_OPTIONS, "response_format": {"type": "json_schema", "json_schema": form}}
        self._failure: RunError | None = None
        self._next = self._held_until = time.monotonic()
        self.sent = 0
        """Requests so far."""

    async def reply(self, system: str, user: str) -> Reply:
        """Ask one question.

        Raises:
            RunError: the server cannot be used, or not now; from then on every call raises it at its next request.

        """
        try:
            return await self._persistent(system, user)
        except RunError as error:
            self._failure = self._failure or error
            raise

    async def _persistent(self, system: str, user: str) -> Reply:
        import openai

        tries = 0
        while True:
            await self._turn()
            options, asked_to_wait = dict(self._options), None
            try:
                with anyio.fail_after(self._patience.timeout):
                    return await self._once(system, user, options)
            except TimeoutError:
                problem = f"did not answer within {self._patience.timeout:g} s"
            except openai.APIConnectionError as error:
                problem = f"cannot be reached ({self._clean(str(error.__cause__ or error))})"
            except openai.APIStatusError as error:
                said = _said(error)
                if error.status_code in (400, 422) and self._leave_out(options, said):
                    continue
                if _ABOUT_THIS_TEXT.search(said.lower()) and error.status_code in (400, 413, 422):
                    return Reply("", f"the server refused this exchange ({error.status_code}: {self._clean(said)})")
                problem = f"answered {error.status_code} ({self._clean(said)})"
                self._give_up_if_hopeless(error, said, problem)
                asked_to_wait = _asked_to_wait(error.response.headers)
            except ValueError:  # pydantic's and json's errors are of this kind
                problem = "answered with something that is no chat completion"
            tries += 1
            if tries >= self._patience.tries:
                raise RunError(f"--judge {self._name}: {self._where} {problem}, {tries} times in a row")
            await self._wait(tries, problem, asked_to_wait)

    async def _once(self, system: str, user: str, options: Mapping[str, Any]) -> Reply:
        raw = await self._client.chat.completions.with_raw_response.create(
            model=self._model,
            messages=[{"role": "system", "content": system}, {"role": "user", "content": user}],
            **options,
        )
        # the client would make a completion of whatever came
        return _Completion.model_validate_json(raw.http_response.text).reply()

    async def _turn(self) -> None:
        """Wait for the next request's place, and count it."""
        if self._failure is not None:
            raise self._failure
        if self._limits.requests is not None and self.sent >= self._limits.requests:
            raise RunError(f"--judge {self._name}: the {self._limits.requests} requests of --max-requests are used up")
        self.sent += 1
        if self._limits.requests_per_minute is not None:
            place = max(time.monotonic(), self._next)
            self._next = place + 60 / self._limits.requests_per_minute
            await anyio.sleep(max(0.0, place - time.monotonic()))
        while (held := self._held_until - time.monotonic()) > 0:
            await anyio.sleep(held)

    async def _wait(self, tries: int, problem: str, asked_to_wait: float | None) -> None:
        if asked_to_wait is None:
            # at random, so that requests that failed together do not come back together
            await anyio.sleep(self._patience.first_wait * 2 ** (tries - 1) * random.uniform(0.5, 1))
        elif asked_to_wait > self._patience.longest_wait:
            raise RunError(f"--judge {self._name}: {self._where} {problem}, and asks to wait {asked_to_wait:.0f} s")
        else:
            self._held_until = max(self._held_until, time.monotonic() + asked_to_wait)

    def _leave_out(self, options: Mapping[str, Any], said: str) -> bool:
        """Return whether the refusal names an option of that request, which is then not sent again."""
        if "context" in said.lower():  # "…, reduce max_tokens": the exchange is too long, not the option unknown
            return False
        named = [option for option in options if re.search(rf"\b({_CALLED.get(option, option)})\b", said.lower())]
        for option in named:
            if self._options.get(option) != options[option]:
                continue  # another request's refusal came first
            refused = self._options.pop(option)
            kind = refused["type"] if isinstance(refused, dict) else option
            self._options.update(_INSTEAD.get(kind, {}))
            _log.warning("--judge %s: the server takes no %s; judging goes on without it", self._name, kind)
        return bool(named)

    def _give_up_if_hopeless(self, error: APIStatusError, said: str, problem: str) -> None:
        status, begin = error.status_code, f"--judge {self._name}: {self._where}"
        if status in (401, 403):
            raise RunError(f"{begin} refused the key ({status}); type `export OPENAI_API_KEY=…` with one that it takes")
        if status == 404:
            raise RunError(
                f"{begin} {problem}: no model {self._model} there, or no such address; "
                "give openai:MODEL as the server calls it, and a base URL that ends as its manual says, mostly in /v1"
            )
        if status == 429 and "insufficient_quota" in said:
            raise RunError(f"{begin} {problem}: the account has nothing left")
        if status < 500 and status not in _MAY_PASS:
            raise RunError(f"{begin} {problem}")

    def _clean(self, text: str) -> str:
        """What a server said, without the key, should it repeat it."""
        return short(text.replace(self._client.api_key, "[key]") if self._client.api_key else text)


def _said(error: APIStatusError) -> str:
    """Return what a server gives as its reason. Not the whole body: it may repeat the exchange."""
    try:
        body = json.loads(error.response.text)
    except (ValueError, RecursionError):
        return error.response.text
    found = body.get("error", body.get("detail", body.get("message", body))) if isinstance(body, dict) else body
    parts = found if isinstance(found, list) else [found]
    return "; ".join(_reason(part) if isinstance(part, dict) else str(part) for part in parts)


def _reason(part: Mapping[str, Any]) -> str:
    """FastAPI names a field in `loc`, OpenAI in `param`."""
    return " ".join(str(part[key]) for key in ("loc", "msg", "message", "param", "code") if part.get(key))


def _asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header, which is a number or a date; None if there is none."""
    given = headers.get("retry-after", "")
    try:
        return max(0.0, float(headers["retry-after-ms"]) / 1000 if "retry-after-ms" in headers else float(given))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(given).timestamp() - time.time())
    except ValueError:
        return None
