"""Engines hold the live model, move it to a point, and answer prompts and score texts there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from safescape.engines.borrowed import borrow, unwrap
from safescape.engines.loading import load_model, quiet
from safescape.engines.loglikelihood import Likelihood
from safescape.engines.open import check_length, open_engine
from safescape.engines.parameters import checkpoint_name, parameters_of
from safescape.engines.speaker import Speaker
from safescape.engines.transformers import TransformersEngine
from safescape.engines.vllm.engine import VllmEngine
from safescape.engines.vllm.launch import TokenCounts, check_vllm, is_vllm_here
from safescape.engines.vllm.lora import why_merged
from safescape.survey import Point, Position, Response

__all__ = [
    "Engine",
    "Likelihood",
    "Speaker",
    "TokenCounts",
    "TransformersEngine",
    "VllmEngine",
    "Voice",
    "borrow",
    "check_length",
    "check_vllm",
    "checkpoint_name",
    "is_vllm_here",
    "load_model",
    "open_engine",
    "parameters_of",
    "quiet",
    "unwrap",
    "why_merged",
]


class Voice(Protocol):
    """Answers chats and scores texts; see `Speaker`."""

    def respond(self, chats: Sequence[str], *, max_new_tokens: int, stop: Sequence[str]) -> list[Response]:
        """Answer every chat greedily; an answer ends, settled, when it contains one of the `stop` substrings."""
        ...

    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Score the continuation of each (context, continuation)."""
        ...


class Engine(Voice, Protocol):
    """Holds the live model, moves it to a point, and answers and scores there."""

    fingerprint_at_start: str

    def move_to(self, point: Point) -> Position:
        """Move the live weights and return their position as rounded."""
        ...

    def canary(self, point: Point) -> None:
        """Check that moving to `point`, which is not the origin, and back works; raise RunError if it does not."""
        ...

    def close(self) -> str:
        """Return to the origin and return its fingerprint; raise RunError if it differs from the one at the start."""
        ...
