"""Stand at a point and speak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from safescape.engines.borrowed import bare, visiting
from safescape.engines.loading import load_model, quiet
from safescape.engines.loglikelihood import Likelihood
from safescape.engines.open import check_length, open_engine
from safescape.engines.parameters import named_as_in, stored_name
from safescape.engines.speaker import Speaker
from safescape.engines.transformers import TransformersEngine
from safescape.engines.vllm.engine import VllmEngine
from safescape.engines.vllm.launch import Room, check_vllm, is_vllm_here
from safescape.engines.vllm.lora import why_merged
from safescape.survey import Point, Position, Response

__all__ = [
    "Engine",
    "Likelihood",
    "Room",
    "Speaker",
    "TransformersEngine",
    "VllmEngine",
    "Voice",
    "bare",
    "check_length",
    "check_vllm",
    "is_vllm_here",
    "load_model",
    "named_as_in",
    "open_engine",
    "quiet",
    "stored_name",
    "visiting",
    "why_merged",
]


class Voice(Protocol):
    """Answers chats and scores texts."""

    def respond(self, chats: Sequence[str], *, max_new_tokens: int, stop: Sequence[str]) -> list[Response]:
        """Answer every chat greedily; an answer in which a `stop` text appears is settled and ends there."""
        ...

    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Score each continuation after its context."""
        ...


class Engine(Voice, Protocol):
    """Holds the live model, moves it to a point, answers prompts there."""

    fingerprint_at_start: str

    def move_to(self, point: Point) -> Position:
        """Move the live weights and return where they stand, as rounded."""
        ...

    def canary(self, point: Point) -> None:
        """Prove on a point away from the origin that moving works; raise RunError if it does not."""
        ...

    def close(self) -> str:
        """Go back to the origin and return its fingerprint; raise RunError if it is not the one at the start."""
        ...
