"""Chat completions of an OpenAI-compatible server, with a budget, a rate limit and retries.

The retries of the openai client are switched off: every request counts towards the budget and the rate limit, including
repeated ones, and after `Retry-After` no request is sent until the time is over.
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

_log = logging.getLogger(__name__)

_RETRIED = (408, 409, 425, 429)
"""HTTP statuses below 500 with which a request is repeated."""

_OPTIONS: Mapping[str, Any] = {"temperature": 0, "seed": 0, "max_tokens": 512}
"""Options of every request, beside the form of the reply. An option that the server rejects by name is left out from
then on."""

_REPLACEMENTS: Mapping[str, Mapping[str, Any]] = {
    "max_tokens": {"max_completion_tokens": 4096},
    "json_schema": {"response_format": {"type": "json_object"}},
}
"""Options that replace a rejected one. OpenAI's reasoning models have another name for the limit of tokens, which
includes their reasoning; some servers support JSON objects, but no schema."""

_OTHER_NAMES: Mapping[str, str] = {"response_format": "response[_ ]format|json[_ ]schema|json[_ ]object"}
"""Regular expressions for options that servers also call by other names."""

_ONE_EXCHANGE = re.compile(r"content.?(filter|management|policy)|context.?(length|window|size)|too.?long|too many tok")
"""Messages with which servers reject one exchange, not all requests."""


class Patience(NamedTuple):
    """Time-outs and retries. The defaults were chosen by hand."""

    timeout: float = 60.0
    """Seconds from a request to the end of its reply."""
    tries: int = 5
    """The most requests for one exchange."""
    first_wait: float = 2.0
    """Seconds before the second try. They double with every try, and are shortened by up to half at random."""
    longest_wait: float = 120.0
    """Seconds. A server that asks to wait longer is given up."""


PATIENCE = Patience()


class Reply(NamedTuple):
    """The server's reply for one exchange."""

    text: str
    problem: str = ""
    """Why the text is not a complete reply: truncated, filtered or declined. Empty for a complete one."""


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None

    def reply(self) -> Reply:
        if self.message.refusal:
            return Reply("", f"the judge's model declined to judge: {short(self.message.refusal)}")
        if self.finish_reason == "content_filter":
            return Reply("", "the server filtered the judge's reply")
        is_cut = self.finish_reason == "length"
        return Reply(self.message.content or "", "the judge's reply was cut at its limit" if is_cut else "")


class _Completion(BaseModel):
    """The fields of a chat completion that are used; servers differ in the others."""

    choices: list[_Choice] = Field(min_length=1)


class Chat:
    """One model behind one server.

    Args:
        where: Address of the server without credentials, for messages.
        schema: JSON schema of a reply, for servers that constrain the model to it. The system message describes it too.
        name: Name of the judge, for messages.
        max_requests: The most requests in total, including repeated ones. None: no limit.
        requests_per_minute: The most requests per minute, which are sent at even intervals. None: no limit.

    """

    def __init__(
        self,
        client: AsyncOpenAI,
        model: str,
        where: str,
        *,
        schema: Mapping[str, Any],
        name: str,
        max_requests: int | None,
        requests_per_minute: int | None,
    ) -> None:
        self._client, self._model, self._where, self._name = client, model, where, name
        self._max_requests, self._requests_per_minute = max_requests, requests_per_minute
        self._patience = PATIENCE
        form = {"name": "verdict", "strict": True, "schema": schema}
        self._options = {**_OPTIONS, "response_format": {"type": "json_schema", "json_schema": form}}
        self._failure: RunError | None = None
        self._next = self._held_until = time.monotonic()
        self._sent = 0

    async def reply(self, system: str, user: str) -> Reply:
        """Send one exchange and return the model's reply.

        RunError is raised if the server cannot be used, or not now; all other calls raise it at their next request.
        """
        try:
            return await self._reply_with_retries(system, user)
        except RunError as error:
            self._failure = self._failure or error
            raise

    async def _reply_with_retries(self, system: str, user: str) -> Reply:
        import openai

        tries = 0
        while True:
            await self._wait_for_turn()
            options, asked_to_wait = dict(self._options), None
            try:
                with anyio.fail_after(self._patience.timeout):
                    return await self._request(system, user, options)
            except TimeoutError:
                problem = f"did not answer within {self._patience.timeout:g} s"
            except openai.APIConnectionError as error:
                problem = f"cannot be reached ({self._clean(str(error.__cause__ or error))})"
            except openai.APIStatusError as error:
                message = _error_message(error)
                if error.status_code in (400, 422) and self._drop_rejected_options(options, message):
                    continue
                if _ONE_EXCHANGE.search(message.lower()) and error.status_code in (400, 413, 422):
                    return Reply("", f"the server refused this exchange ({error.status_code}: {self._clean(message)})")
                problem = f"answered {error.status_code} ({self._clean(message)})"
                self._raise_if_permanent(error, message, problem)
                asked_to_wait = _retry_after(error.response.headers)
            except ValueError:  # the base of the errors of pydantic and json
                problem = "answered with something that is no chat completion"
            tries += 1
            if tries >= self._patience.tries:
                raise RunError(f"--judge {self._name}: {self._where} {problem}, {tries} times in a row")
            await self._wait_before_retry(tries, problem, asked_to_wait)

    async def _request(self, system: str, user: str, options: Mapping[str, Any]) -> Reply:
        raw = await self._client.chat.completions.with_raw_response.create(
            model=self._model,
            messages=[{"role": "system", "content": system}, {"role": "user", "content": user}],
            **options,
        )
        # the client itself would accept any JSON as a completion
        return _Completion.model_validate_json(raw.http_response.text).choices[0].reply()

    async def _wait_for_turn(self) -> None:
        """Count the next request, and wait until it may be sent."""
        if self._failure is not None:
            raise self._failure
        if self._max_requests is not None and self._sent >= self._max_requests:
            raise RunError(f"--judge {self._name}: the {self._max_requests} requests of --max-requests are used up")
        self._sent += 1
        if self._requests_per_minute is not None:
            place = max(time.monotonic(), self._next)
            self._next = place + 60 / self._requests_per_minute
            await anyio.sleep(max(0.0, place - time.monotonic()))
        while (held := self._held_until - time.monotonic()) > 0:
            await anyio.sleep(held)

    async def _wait_before_retry(self, tries: int, problem: str, asked_to_wait: float | None) -> None:
        if asked_to_wait is None:
            # random, so that requests that failed together are not repeated together
            await anyio.sleep(self._patience.first_wait * 2 ** (tries - 1) * random.uniform(0.5, 1))
        elif asked_to_wait > self._patience.longest_wait:
            raise RunError(f"--judge {self._name}: {self._where} {problem}, and asks to wait {asked_to_wait:.0f} s")
        else:
            self._held_until = max(self._held_until, time.monotonic() + asked_to_wait)

    def _drop_rejected_options(self, options: Mapping[str, Any], message: str) -> bool:
        """Stop sending the options that an error message names; return whether it names any option of that request."""
        if "context" in message.lower():  # as in "reduce max_tokens": the exchange is too long, the option is known
            return False
        named = [name for name in options if re.search(rf"\b({_OTHER_NAMES.get(name, name)})\b", message.lower())]
        for option in named:
            if self._options.get(option) != options[option]:
                continue  # it was left out since this request was sent
            refused = self._options.pop(option)
            kind = refused["type"] if isinstance(refused, dict) else option
            self._options.update(_REPLACEMENTS.get(kind, {}))
            _log.warning("--judge %s: the server takes no %s; judging continues without it", self._name, kind)
        return bool(named)

    def _raise_if_permanent(self, error: APIStatusError, message: str, problem: str) -> None:
        status, begin = error.status_code, f"--judge {self._name}: {self._where}"
        if status in (401, 403):
            raise RunError(f"{begin} refused the key ({status}); type `export OPENAI_API_KEY=…` with one that it takes")
        if status == 404:
            raise RunError(
                f"{begin} {problem}: no model {self._model} there, or no such address; "
                "give openai:MODEL as the server calls it, and a base URL that ends as its manual says, mostly in /v1"
            )
        if status == 429 and "insufficient_quota" in message:
            raise RunError(f"{begin} {problem}: the account has nothing left")
        if status < 500 and status not in _RETRIED:
            raise RunError(f"{begin} {problem}")

    def _clean(self, text: str) -> str:
        """Return a server's message without the key, in case the server repeats it."""
        return short(text.replace(self._client.api_key, "[key]") if self._client.api_key else text)


def _error_message(error: APIStatusError) -> str:
    """Return the error message of a response, not the whole body, which may repeat the exchange."""
    try:
        body = json.loads(error.response.text)
    except (ValueError, RecursionError):
        return error.response.text
    found = body.get("error", body.get("detail", body.get("message", body))) if isinstance(body, dict) else body
    parts = found if isinstance(found, list) else [found]
    return "; ".join(_reason(part) if isinstance(part, dict) else str(part) for part in parts)


def _reason(part: Mapping[str, Any]) -> str:
    """Return the text of one error object; FastAPI names the field in `loc`, OpenAI in `param`."""
    return " ".join(str(part[key]) for key in ("loc", "msg", "message", "param", "code") if part.get(key))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a `Retry-After` header, which is a number or a date; None if there is none."""
    given = headers.get("retry-after", "")
    try:
        return max(0.0, float(headers["retry-after-ms"]) / 1000 if "retry-after-ms" in headers else float(given))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(given).timestamp() - time.time())
    except ValueError:
        return None
