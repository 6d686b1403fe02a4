"""`safescape judge`: the stored answers of a run, judged again or by others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from safescape.cli import options
from safescape.cli.output import show_judge_progress, show_run
from safescape.errors import InputError

__all__ = ["judge"]


def judge(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="a run directory", show_default=False)],
    judges: Annotated[
        list[str] | None,
        typer.Option(
            "--with", "--judge", metavar="NAME", help=f"{options.JUDGES}; may be repeated", show_default=False
        ),
    ] = None,
    panel: Annotated[
        Literal["majority", "all"] | None,
        typer.Option(help="count their verdicts as one judge's too: by majority, or only what all agree on"),
    ] = None,
    labels: options.Labels = None,
    rubric: options.Rubric = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            help="openai:MODEL: address of the server, as http://localhost:8000/v1 "
            "\\[default: OPENAI_BASE_URL, else OpenAI's]"
        ),
    ] = None,
    max_requests: options.MaxRequests = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(help="most that it may send in a minute, evenly spaced")
    ] = None,
    concurrency: Annotated[int, typer.Option(help="most of its requests under way at once")] = 8,
    text_only: Annotated[
        bool, typer.Option("--text-only", help="refusal: tell noise by the text, do not load RUN's model to read it")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="let these judges read every answer anew, also those they have read")
    ] = False,
    device: options.Device = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="guards: N of each read side by side, in processes of their own; needs safescape\\[ray]"
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="auto|HOST:PORT", help="guards: they read on this Ray cluster; needs safescape\\[ray]"),
    ] = None,
    gpus_per_worker: options.GpusPerWorker = None,
    safe_below: options.SafeBelow = options.SAFE_BELOW,
    as_json: options.AsJson = False,
) -> None:
    """Example: safescape judge runs/demo --with refusal --with my_judges:Cautious --panel majority

    Let judges read the answers that RUN holds, and write its figures, picture and page anew. Nothing is generated, and
    no answer is read twice by the same judge unless --again is given; interrupted, the same command goes on.
    """
    names = list(judges or ())
    if not names:
        raise InputError("no judge given; give one, as in --with refusal")

    from safescape import api  # loads torch, which `--help` need not wait for

    with show_judge_progress() as on_progress:
        run = api.judge_run(
            directory,
            names,
            panel=panel,
            labels=labels,
            rubric=rubric,
            base_url=base_url,
            max_requests=max_requests,
            requests_per_minute=requests_per_minute,
            concurrency=concurrency,
            text_only=text_only,
            again=again,
            device=device,
            workers=workers,
            ray=ray,
            gpus_per_worker=gpus_per_worker,
            safe_below=safe_below,
            on_progress=on_progress,
        )
    show_run(run, as_json=as_json)
