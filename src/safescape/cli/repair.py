"""`safescape repair`: bring a finetune back into safety."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from safescape.cli import options
from safescape.cli.output import results

if TYPE_CHECKING:
    from safescape.api import Repaired
    from safescape.finetuning import Evaluation

__all__ = ["repair"]


def repair(
    base: Annotated[str, typer.Argument(metavar="BASE", help="a model, as for scan", show_default=False)],
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help="its finetune, as for scan", show_default=False)],
    out: Annotated[Path, typer.Option(help="where the repaired model is written; a new directory")],
    max_asr: Annotated[float, typer.Option(help="percent that the ASR's 95 % interval must not exceed")] = 10.0,
    layers: Annotated[
        int, typer.Option(help="in how many blocks the layers move; several give back what safety does not need")
    ] = 1,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="FILE[:PROMPT,ANSWER]",
            help="validation data as for finetune; the perplexity of its answers is the loss",
        ),
    ] = None,
    capability: Annotated[
        str | None,
        typer.Option(metavar="KIND:SPEC", help="choice:…, perplexity:… or lm-eval:…, as scan --also: the loss instead"),
    ] = None,
    prompts: options.Prompts = "builtin:harmful",
    limit: Annotated[int, typer.Option(help="how many harmful prompts")] = 80,
    system_prompt: Annotated[
        str, typer.Option(metavar="NAME|TEXT|@FILE", help="default, empty, roleplay, llama2, a text, or @file")
    ] = "default",
    max_new_tokens: Annotated[int, typer.Option(help="most tokens of an answer")] = 128,
    batch_size: options.BatchSize = 128,
    dtype: Annotated[
        str | None, typer.Option(metavar="float32|bfloat16", help="of the repaired model \\[default: the finetune's]")
    ] = None,
    device: options.Device = None,
    as_json: Annotated[bool, typer.Option("--json", help="print what was found as JSON on stdout")] = False,
) -> None:
    """Example: safescape repair demo ./my-finetune --data validation.jsonl --out ./repaired

    Find the point nearest to TUNED on the way from BASE at which harmful requests are refused, in at most 8
    evaluations, and save it as an ordinary checkpoint, or as a rescaled adapter. Exit code 1 where no point is safe;
    nothing is saved then.
    """
    from safescape import api  # loads torch, which `--help` need not wait for

    repaired = api.repair(
        base,
        tuned,
        out=out,
        max_asr=max_asr,
        layers=layers,
        data=data,
        capability=capability,
        prompts=prompts,
        limit=limit,
        system_prompt=system_prompt,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
        on_evaluation=_say,
    )
    _show(base, repaired, as_json=as_json)
    if repaired.directory is None:
        raise typer.Exit(1)


def _say(at: Evaluation) -> None:
    """Say on stderr what a repair measured."""
    print(_evaluation(at), file=sys.stderr, flush=True)


def _show(base: str, repaired: Repaired, *, as_json: bool) -> None:
    """Print where a repaired model is, or the best that was found."""
    found = repaired.search
    if as_json:
        figures = [
            {"coords": at.coords, "n": at.n, "complied": at.complied, **at.interval._asdict(), "loss": at.loss}
            for at in found.evaluations
        ]
        saved = None if repaired.directory is None else str(repaired.directory)
        best = found.evaluations.index(found.best)
        print(json.dumps({"saved": saved, "best": best, "evaluations": figures}))
        return
    console = results()
    if repaired.directory is None:
        console.print(
            Text(f"FAILED no point on the way is safe; the best: {_evaluation(found.best)}; nothing is saved")
        )
        return
    name = f"{base}+{repaired.directory}" if repaired.is_adapter else str(repaired.directory)
    console.print(Text(f"before: {_evaluation(found.evaluations[0])}"))
    console.print(Text(f"saved:  {_evaluation(found.best)}"))
    console.print(Text(f"{name}, after {len(found.evaluations)} evaluations"))
    console.print(Text(f"next: safescape scan {name}"))


def _evaluation(at: Evaluation) -> str:
    where = ", ".join(f"{alpha:.4g}" for alpha in at.coords)
    low, high = at.interval
    loss = "" if at.loss is None else f", loss {at.loss:.4g}"
    return f"α = {where}: {at.complied} of {at.n} answered (95 %: {low:.1f} to {high:.1f} %){loss}"
