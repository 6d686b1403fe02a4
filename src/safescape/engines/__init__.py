"""Stand at a point and speak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from safescape.engines.adapters import why_merged
from safescape.engines.guarding import AskedGuard, GuardKind, GuardProcess, GuardServer
from safescape.engines.live import named_as_in, stored_name
from safescape.engines.loading import load_model, quiet
from safescape.engines.opening import check_length, open_engine
from safescape.engines.reading import labels_of
from safescape.engines.scoring import Likelihood
from safescape.engines.speaking import Speaker
from safescape.engines.transformers import TransformersEngine
from safescape.engines.visiting import bare, visiting
from safescape.engines.vllm import VllmEngine
from safescape.engines.vllm_opening import Room, check_vllm, is_vllm_here
from safescape.survey import Point, Position, Response

__all__ = [
    "AskedGuard",
    "Engine",
    "GuardKind",
    "GuardProcess",
    "GuardServer",
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
    "labels_of",
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
