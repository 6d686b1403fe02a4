"""`safescape path`: the landscape from a base to its finetune."""

from __future__ import annotations

from typing import Annotated

import typer

from safescape.cli import options
from safescape.cli.output import show_progress, show_run
from safescape.survey import DEFAULT

__all__ = ["path"]


def path(
    base: Annotated[str, typer.Argument(metavar="BASE", help="a model, as for scan", show_default=False)],
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help="its finetune, as for scan", show_default=False)],
    third: Annotated[
        str | None, typer.Argument(metavar="[THIRD]", help="a third model: the plane through all three")
    ] = None,
    out: options.Out = None,
    across: Annotated[
        str | None, typer.Option(metavar="random", help="the plane over the line and a random direction")
    ] = None,
    beyond: Annotated[
        float, typer.Option(help="how far to go on before BASE and behind TUNED, in units of their distance")
    ] = 0.25,
    through: Annotated[
        list[str] | None,
        typer.Option(metavar="CKPT", help="a checkpoint of the finetune, measured and drawn too; may be repeated"),
    ] = None,
    steps: Annotated[int | None, typer.Option(help=f"steps from BASE to TUNED \\[default: {DEFAULT.steps}]")] = None,
    span: Annotated[float, typer.Option(help="of the random direction of --across")] = 0.5,
    seed: options.Seed = 0,
    prompts: options.Prompts = "builtin:harmful",
    limit: options.Limit = None,
    system_prompt: options.SystemPrompt = None,
    also: options.Also = None,
    also_limit: options.AlsoLimit = None,
    engine: options.Engine = "transformers",
    tensor_parallel: options.TensorParallel = 1,
    adapter: options.Adapter = "auto",
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
    """Example: safescape path demo ./my-finetune --beyond 0.25 --out runs/path

    Interpolate from BASE (α = 0) to TUNED (α = 1) and beyond both, ask harmful requests at every point, and report
    where safety is lost on the way. With a THIRD model or --across random, a plane.
    """
    from safescape import api  # loads torch, which `--help` need not wait for

    with show_progress() as on_progress:
        run = api.path(
            base,
            tuned,
            third,
            across=across,
            beyond=beyond,
            through=through or (),
            span=span,
            steps=steps,
            seed=seed,
            out=out,
            prompts=prompts,
            limit=limit,
            system_prompt=system_prompt or "default",
            also=also or (),
            also_limit=also_limit,
            engine=engine,
            tensor_parallel=tensor_parallel,
            adapter=adapter,
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
