"""`safescape scan`: a model's random safety landscape."""

from __future__ import annotations

from typing import Annotated

import typer

from safescape.cli import options
from safescape.cli.output import numbers, show_progress, show_run
from safescape.survey import DEFAULT

__all__ = ["scan"]


def scan(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Hub id, directory, .gguf file, BASE+ADAPTER (PEFT), demo, or demo-base",
            show_default=False,
        ),
    ],
    out: options.Out = None,
    dim: Annotated[int, typer.Option(help="1: lines; 2: a plane over two directions")] = 1,
    prompts: options.Prompts = "builtin:harmful",
    limit: options.Limit = None,
    system_prompt: options.SystemPrompt = None,
    also: options.Also = None,
    also_limit: options.AlsoLimit = None,
    directions: Annotated[
        int | None, typer.Option(help=f"how many random directions \\[default: {DEFAULT.directions}]")
    ] = None,
    span: Annotated[
        str,
        typer.Option(
            metavar="A[,B]",
            help="the landscape runs from -span to span, in units of each tensor's norm; two for a plane",
        ),
    ] = "0.5",
    steps: Annotated[
        str | None,
        typer.Option(metavar="N[,M]", help=f"steps along an axis, even; two for a plane \\[default: {DEFAULT.steps}]"),
    ] = None,
    seed: options.Seed = 0,
    adaptive: options.Adaptive = False,
    edge_tolerance: options.EdgeTolerance = None,
    interval: options.Interval = None,
    engine: options.Engine = "transformers",
    tensor_parallel: options.TensorParallel = 1,
    dtype: options.Dtype = "float32",
    device: options.Device = None,
    workers: options.Workers = None,
    ray: options.Ray = None,
    gpus_per_worker: options.GpusPerWorker = None,
    judge: options.Judge = None,
    labels: options.Labels = None,
    rubric: options.Rubric = None,
    max_requests: options.MaxRequests = None,
    max_new_tokens: options.MaxNewTokens = None,
    whole_answers: options.WholeAnswers = False,
    batch_size: options.BatchSize = 128,
    chat_template: options.ChatTemplate = None,
    trust_remote_code: options.TrustRemoteCode = False,
    safe_below: options.SafeBelow = options.SAFE_BELOW,
    quick: options.Quick = False,
    paper: options.Paper = False,
    as_json: options.AsJson = False,
) -> None:
    """Example: safescape scan demo --quick --out runs/demo

    Move MODEL's weights along random directions, ask it harmful requests at every point, and report where its
    safety basin ends. Writes landscape.json, landscape.png and report.html into the run directory.
    """
    from safescape import api  # loads torch, which `--help` need not wait for

    with show_progress() as on_progress:
        run = api.scan(
            model,
            dim=dim,
            directions=directions,
            span=numbers(float, span, "--span"),
            steps=None if steps is None else numbers(int, steps, "--steps"),
            seed=seed,
            adaptive=adaptive,
            edge_tolerance=edge_tolerance,
            interval=interval,
            out=out,
            prompts=prompts,
            limit=limit,
            system_prompt=system_prompt or "default",
            also=also or (),
            also_limit=also_limit,
            engine=engine,
            tensor_parallel=tensor_parallel,
            dtype=dtype,
            device=device,
            workers=workers,
            ray=ray,
            gpus_per_worker=gpus_per_worker,
            judges=judge or (),
            labels=labels,
            rubric=rubric,
            max_requests=max_requests,
            max_new_tokens=max_new_tokens,
            whole_answers=whole_answers,
            batch_size=batch_size,
            chat_template=chat_template,
            trust_remote_code=trust_remote_code,
            safe_below=safe_below,
            quick=quick,
            paper=paper,
            on_progress=on_progress,
        )
    show_run(run, as_json=as_json)
