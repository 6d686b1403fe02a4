"""The options of judging: of `judge` and `judge_run`, and of the command `judge`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from safescape.landscape import SAFE_BELOW
from safescape.options import shared
from safescape.options.option import Option, Options

__all__ = ["JudgeOptions", "JudgeRunOptions"]


class JudgeOptions(Options):
    """How judges read answers, and where."""

    labels: shared.Labels = None
    rubric: shared.Rubric = None
    base_url: Annotated[str | None, Option(default="OPENAI_BASE_URL, else OpenAI's")] = None
    """Address of the server of openai:MODEL, as http://localhost:8000/v1."""
    max_requests: shared.MaxRequests = None
    requests_per_minute: int | None = None
    """Maximum number of requests to openai:MODEL per minute, evenly spaced."""
    concurrency: int = 8
    """Maximum number of concurrent requests to openai:MODEL."""
    device: shared.Device = None
    workers: Annotated[int | None, Option(metavar="N")] = None
    """Number of processes of each guard model, which read side by side; needs safescape[ray]."""
    ray: Annotated[str | None, Option(metavar="auto|HOST:PORT")] = None
    """Address of an existing Ray cluster for guard models; needs safescape[ray]."""
    gpus_per_worker: shared.GpusPerWorker = None


class JudgeRunOptions(JudgeOptions):
    """The options of the command `judge`."""

    directory: Annotated[str | Path, Option(metavar="RUN")] = Field(kw_only=False)
    """A run directory."""
    judges: Annotated[
        str | Sequence[str],
        Field(description=f"{shared.JUDGES}; may be repeated."),
        Option(metavar="NAME", flags=("--with", "--judge")),
    ] = Field(default=(), kw_only=False)
    panel: Literal["majority", "all"] | None = None
    """Count the verdicts as one judge's too: by majority, or only what all agree on."""
    text_only: bool = False
    """refusal: tell noise by the text alone, without loading RUN's model to score the answers."""
    again: bool = False
    """Let these judges read every answer anew, also those that they have read."""
    safe_below: shared.SafeBelow = SAFE_BELOW
