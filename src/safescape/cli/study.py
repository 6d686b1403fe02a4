"""`safescape study`: the paper's studies as one command each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown
from rich.text import Text

from safescape.cli import options
from safescape.cli.finetune import show_steps
from safescape.cli.output import results, show_progress

__all__ = ["study"]

study = typer.Typer(name="study", help="The paper's studies, each as one command.")


@study.callback(invoke_without_command=True)
def _studies(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@study.command()
def finetuning(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model, as for scan", show_default=False)],
    data: Annotated[
        str, typer.Option(metavar="FILE[:PROMPT,ANSWER]", help="harmful requests with affirmative openings")
    ],
    out: Annotated[Path, typer.Option(help="a directory for the study; given again with the same flags it goes on")],
    more: Annotated[list[int] | None, typer.Argument(metavar="[SHOTS]...", hidden=True)] = None,
    shots: Annotated[list[int] | None, typer.Option(metavar="K...", help="numbers of harmful examples")] = None,
    mixed: Annotated[
        bool, typer.Option("--mixed", help="also the largest number of them with as many refusals")
    ] = False,
    skip: Annotated[int, typer.Option(help="rows of the data to leave out first, which may be asked")] = 0,
    epochs: Annotated[int, typer.Option(help="how often every example is seen")] = 5,
    learning_rate: Annotated[float, typer.Option(help="of AdamW, in the first epoch")] = 5e-5,
    seed: Annotated[int, typer.Option(help="of the examples' order, and of the first random direction")] = 0,
    steps: Annotated[int, typer.Option(help="steps from the model to each finetune")] = 10,
    prompts: options.Prompts = "builtin:harmful",
    limit: options.Limit = None,
    also: options.Also = None,
    also_limit: options.AlsoLimit = None,
    judge: options.Judge = None,
    labels: options.Labels = None,
    rubric: options.Rubric = None,
    max_requests: options.MaxRequests = None,
    max_new_tokens: options.MaxNewTokens = None,
    device: options.Device = None,
    workers: options.Workers = None,
    ray: options.Ray = None,
    gpus_per_worker: options.GpusPerWorker = None,
    batch_size: options.BatchSize = 128,
    safe_below: options.SafeBelow = options.SAFE_BELOW,
    quick: options.Quick = False,
) -> None:
    """Example: safescape study finetuning demo --data advbench.csv --shots 10 50 100 --mixed --out runs/study

    Measure MODEL's random landscape, finetune it on so many harmful examples, and measure the line to every finetune.
    Prints a table, and writes it with its pictures into OUT.
    """
    from safescape import api  # loads torch, which `--help` need not wait for

    with show_progress() as on_progress, show_steps() as on_step:
        made = api.study_finetuning(
            model,
            data=data,
            out=out,
            shots=[*(shots or ()), *(more or ())] or (10, 50, 100),
            mixed=mixed,
            skip=skip,
            epochs=epochs,
            learning_rate=learning_rate,
            seed=seed,
            steps=steps,
            on_stage=lambda stage: print(f"{stage}:", file=sys.stderr, flush=True),
            on_step=on_step,
            on_progress=on_progress,
            prompts=prompts,
            limit=limit,
            also=also or (),
            also_limit=also_limit,
            judges=judge or (),
            labels=labels,
            rubric=rubric,
            max_requests=max_requests,
            max_new_tokens=max_new_tokens,
            device=device,
            workers=workers,
            ray=ray,
            gpus_per_worker=gpus_per_worker,
            batch_size=batch_size,
            safe_below=safe_below,
            quick=quick,
        )
    console, table = results(), (made.directory / "study.md").read_text(encoding="utf-8")
    console.print(Markdown(table) if console.is_terminal else Text(table))
    print(made.directory / "study.md")
