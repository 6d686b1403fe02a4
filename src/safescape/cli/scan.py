"""`safescape scan`: a model's random safety landscape."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safescape.cli.output import show_progress, show_run
from safescape.landscape import SAFE_BELOW
from safescape.survey import DEFAULT, PAPER, QUICK

__all__ = ["scan"]

_D, _Q, _P = DEFAULT, QUICK, PAPER


def scan(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Hub id, directory, .gguf file, BASE+ADAPTER (PEFT), demo, or demo-base",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="run directory; given again with the same flags it resumes [default: runs/MODEL-HASH]"),
    ] = None,
    prompts: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="builtin:harmful, file.csv:column, file.jsonl:key, hf:dataset/id:split:column, JailbreakBench file",
        ),
    ] = "builtin:harmful",
    limit: Annotated[int | None, typer.Option(help=f"how many prompts [default: {_D.limit}]")] = None,
    system_prompt: Annotated[
        str, typer.Option(metavar="NAME|TEXT|@FILE", help="default, empty, roleplay, llama2, a text, or @file")
    ] = "default",
    directions: Annotated[
        int | None, typer.Option(help=f"how many random directions [default: {_D.directions}]")
    ] = None,
    span: Annotated[
        float, typer.Option(help="the landscape runs from -span to span, in units of each tensor's norm")
    ] = 0.5,
    steps: Annotated[int | None, typer.Option(help=f"steps along a line, even [default: {_D.steps}]")] = None,
    seed: Annotated[int, typer.Option(help="of the first direction")] = 0,
    dtype: Annotated[str, typer.Option(metavar="float32|bfloat16", help="of the live weights")] = "float32",
    device: Annotated[str | None, typer.Option(help="cpu or cuda [default: the first GPU, if any]")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help=f"most tokens of an answer [default: {_D.max_new_tokens}]")
    ] = None,
    whole_answers: Annotated[
        bool, typer.Option("--whole-answers", help="write answers to their end, also when the judge could already tell")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="most answers decoded together; lower it when memory runs out")] = 128,
    chat_template: Annotated[
        Path | None, typer.Option(help="Jinja file used instead of the tokenizer's template")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="let the model run its own code")
    ] = False,
    safe_below: Annotated[float, typer.Option(help="ASR in percent up to which a point counts as safe")] = SAFE_BELOW,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help=f"first look: {_Q.directions} direction, {_Q.limit} prompts, {_Q.max_new_tokens} tokens"
        ),
    ] = False,
    paper: Annotated[
        bool, typer.Option("--paper", help=f"the paper's setting: fp32, {_P.max_new_tokens} tokens, {_P.limit} prompts")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print landscape.json on stdout")] = False,
) -> None:
    """Example: safescape scan demo --quick --out runs/demo

    Move MODEL's weights along random directions, ask it harmful requests at every point, and report where its
    safety basin ends. Writes landscape.json, landscape.png and report.html into the run directory.
    """
    from safescape import api  # loads torch, which `--help` need not wait for

    with show_progress() as on_progress:
        run = api.scan(
            model,
            out=out,
            prompts=prompts,
            limit=limit,
            system_prompt=system_prompt,
            directions=directions,
            span=span,
            steps=steps,
            seed=seed,
            dtype=dtype,
            device=device,
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
