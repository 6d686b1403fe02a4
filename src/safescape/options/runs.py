"""The options of the commands that work on stored runs: `judge`, `report`, `compare` and `export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from safescape.landscape import MAX_UNSCORED, SAFE_BELOW
from safescape.options import shared
from safescape.options.option import Option, Options
from safescape.survey import REFUSAL


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

    directory: shared.RunDirectory = Field(kw_only=False)
    judges: Annotated[
        str | Sequence[str],
        Field(description=f"{shared.JUDGES}; may be repeated."),
        Option(metavar="NAME", flags=("--with", "--judge")),
    ] = Field(default=(), kw_only=False)
    panel: Literal["majority", "all"] | None = None
    """Also combine the verdicts into one: by majority, or only where all judges agree."""
    text_only: bool = False
    """refusal: tell noise by the text alone, without loading RUN's model to score the answers."""
    again: bool = False
    """Judge all answers again, also those that these judges have read."""
    safe_below: shared.SafeBelow = SAFE_BELOW
    max_unscored: shared.MaxUnscored = MAX_UNSCORED


class AgreeOptions(JudgeOptions):
    """The options of `agree`."""

    source: Annotated[str | Path, Option(metavar="LABELS|RUN")] = Field(kw_only=False)
    """Answers with people's labels, a .csv or .jsonl file with the columns prompt, response and label (refused,
    complied, incoherent or partial) or XSTest's; or a run directory whose answers were labelled."""
    judge: Annotated[str, Field(description=f"{shared.JUDGES}."), Option(metavar="NAME")] = REFUSAL
    out: Annotated[str | Path | None, Option(metavar="FILE", default="agreement-NAME.json, in RUN if it is one")] = None
    """Agreement file to write, for --agreement."""


class LabelOptions(Options):
    """The options of `label`."""

    directory: shared.RunDirectory = Field(kw_only=False)
    n: Annotated[int, Field(ge=1)] = 50
    """Number of answers to label; a larger number than before continues the sample."""
    judge: Annotated[str | None, Option(metavar="NAME", default="refusal, if it has read the answers")] = None
    """Judge by whose outcomes the sample is stratified; its verdicts are not shown."""
    seed: Annotated[int | None, Field(ge=0), Option(default="0")] = None
    """Seed of the random sample."""
    export: Annotated[str | Path | None, Option(metavar="FILE")] = None
    """Write the labels so far to a .csv or .jsonl file instead of asking for more."""


class ReportOptions(Options):
    """The options of `report`."""

    directory: shared.RunDirectory = Field(kw_only=False)
    agreements: shared.Agreements = ()
    figures: Annotated[str | Path | Sequence[str | Path], Option(metavar="FILE", flags=("--figure",))] = ()
    """File for a figure of the landscape in a paper: .pdf, .svg or .png; may be repeated."""
    columns: Annotated[int, Option(metavar="1|2")] = 1
    """Width of those figures: 1 column (3.3 inches) or 2 (6.9 inches)."""
    safe_below: shared.SafeBelow = SAFE_BELOW
    max_unscored: shared.MaxUnscored = MAX_UNSCORED


class CompareOptions(Options):
    """The options of `compare`."""

    runs: Annotated[Sequence[str | Path], Option(metavar="RUN...")] = Field(kw_only=False)
    """At least two run directories, finished or not."""
    out: str | Path | None = None
    """Directory of comparison.json, comparison.png and comparison.html; nothing is written without it."""
    safe_below: shared.SafeBelow = SAFE_BELOW
    max_unscored: shared.MaxUnscored = MAX_UNSCORED


class DirectionsOptions(Options):
    """The options of `directions`."""

    runs: Annotated[Sequence[str | Path], Option(metavar="RUN...")] = Field(kw_only=False)
    """At least two run directories of one model, finished or not."""
    out: str | Path | None = None
    """Directory of directions.json and directions.png; nothing is written without it."""
    safe_below: shared.SafeBelow = SAFE_BELOW
    max_unscored: shared.MaxUnscored = MAX_UNSCORED


class ExportOptions(Options):
    """The options of `export`."""

    directory: shared.RunDirectory = Field(kw_only=False)
    to: Annotated[str | Path | Sequence[str | Path], Option(metavar="FILE", flags=("--to",))] = Field(
        default=(), kw_only=False
    )
    """File to write: a table (.csv, .parquet), a section of a model card (.md) or an Inspect log (.eval); may be
    repeated."""
    what: Annotated[str | None, Option(metavar="points|responses|verdicts", default="points")] = None
    """Table to write."""
    at: Annotated[float | Sequence[float] | None, Option(metavar="ALPHA[,BETA]", default="the origin")] = None
    """Point of the log, for .eval."""
    line: Annotated[int | None, Option(metavar="N", default="0")] = None
    """Line of that point, from 0."""
    waypoint: Annotated[int | None, Option(metavar="W")] = None
    """Number of a checkpoint, from 0, instead of a point."""
    probe: Annotated[str | None, Option(metavar="NAME", default="the first probe")] = None
    """Probe of prompts of the log."""
    safe_below: shared.SafeBelow = SAFE_BELOW
    max_unscored: shared.MaxUnscored = MAX_UNSCORED
