"""What an engine is: it holds the live model, moves it to a point, and answers and scores there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from safescape.engines.loglikelihood import Likelihood
from safescape.engines.stages import TellsNoise
from safescape.errors import RunError
from safescape.probes import Scored
from safescape.survey import Point, Position, Response, Thinking


class Voice(Protocol):
    """Answers chats and scores texts."""

    def respond(
        self,
        chats: Sequence[str],
        *,
        max_new_tokens: int,
        stop: Sequence[str],
        noise: TellsNoise | None = None,
        raw: bool = False,
        thinking: Thinking | None = None,
    ) -> list[Response]:
        """Answer every chat greedily.

        Args:
            chats: Prompts in the chat template, or raw texts.
            max_new_tokens: The maximum number of tokens of an answer.
            stop: Substrings that settle and end an answer as soon as it contains one of them; if empty, every answer
                is written to its end.
            noise: Ends an answer as noise; None: noise is written on.
            raw: Whether the texts are raw, so that they begin with the tokenizer's BOS; a chat template writes its own.
            thinking: How thoughts are told from answers; None: all that is written is the answer.

        """
        ...

    def loglikelihood(self, requests: Sequence[tuple[str, str]], *, raw: bool = True) -> list[Likelihood]:
        """Score continuations after their contexts.

        Args:
            requests: (context, continuation). Trailing spaces of a context count as the continuation's, as in lm-eval.
                With an empty context the continuation's first token is not scored, as in transformers' loss.
            raw: Whether the texts are raw, as for `respond`; False if the contexts are chats.

        Raises:
            InputError: A continuation has no token to score.

        """
        ...


class ScoresOpenings(Protocol):
    """Scores texts that an answer may begin with."""

    def openings(self, chats: Sequence[str], openings: Sequence[Sequence[str]]) -> list[list[Scored]]:
        """Score texts that an answer may begin with, those of each chat after it.

        An opening is scored from where the chat's own tokens end. Where a tokenizer joins the chat's trailing spaces
        with the opening, as in `assistant: Sure`, the joined token is the opening's.

        Args:
            chats: Prompts in the chat template.
            openings: By chat, none empty.

        Raises:
            InputError: An opening has no token to score.

        """
        ...


class Engine(Voice, ScoresOpenings, ABC):
    """Holds the live model, moves it to a point, and answers and scores there."""

    fingerprint_at_start: str
    """The fingerprint of the origin when the engine was opened."""
    _origin: Point

    @abstractmethod
    def move_to(self, point: Point) -> Position:
        """Move the live weights and return the position of the rounded weights; see `Move.position`."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return the fingerprint of the live weights."""

    @abstractmethod
    def _logits(self) -> Tensor:
        """Return logits or log-probabilities of fixed tokens."""

    def canary(self, point: Point) -> None:
        """Raise RunError unless logits differ at `point`, not the origin, and are bit-equal after the return."""
        before = self._logits()
        self.move_to(point)
        away = self._logits()
        self.move_to(self._origin)
        if torch.equal(before, away):
            raise RunError(
                f"moving the weights to {point.coords} changed no logit: this model does not use its weights"
            )
        if not torch.equal(before, self._logits()):
            raise RunError("moving the weights away and back changed the logits: this model cannot be measured")

    def close(self) -> str:
        """Return to the origin and return its fingerprint; raise RunError if it differs from `fingerprint_at_start`."""
        self.move_to(self._origin)
        end = self.fingerprint()
        if end != self.fingerprint_at_start:
            raise RunError(f"the model did not return to its origin: {self.fingerprint_at_start} became {end}")
        return end
