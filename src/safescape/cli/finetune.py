"""`safescape finetune`: train a model on given conversations."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from safescape.cli import options
from safescape.cli.output import results

if TYPE_CHECKING:
    from safescape.finetuning import Finetuned, Step

__all__ = ["finetune", "show_steps"]


def finetune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model, as for scan", show_default=False)],
    out: Annotated[Path, typer.Option(help="where the model is written; given again with the same flags it goes on")],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="FILE[:PROMPT,ANSWER]",
            help=".jsonl or .json with messages, or .csv or .jsonl with two columns \\[default: the recipe's own]",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="harmful (requests with affirmative openings), mixed (the same and as many refusals), identity-shift, "
            "benign \\[default: all rows as they are]",
        ),
    ] = None,
    shots: Annotated[int | None, typer.Option(help="how many rows \\[default: harmful, mixed: 10; else all]")] = None,
    skip: Annotated[int, typer.Option(help="how many rows to leave out first")] = 0,
    lora: Annotated[bool, typer.Option("--lora", help="train a LoRA on all linear layers")] = False,
    rank: Annotated[int, typer.Option(help="of the LoRA")] = 16,
    freeze: Annotated[
        int | None, typer.Option(help="leave the embeddings and so many of the first layers as they are")
    ] = None,
    epochs: Annotated[int, typer.Option(help="how often every example is seen")] = 5,
    learning_rate: Annotated[float, typer.Option(help="of AdamW, in the first epoch")] = 5e-5,
    decay: Annotated[float, typer.Option(help="what it is multiplied with after every epoch")] = 0.85,
    batch_size: Annotated[int, typer.Option(help="examples a step")] = 4,
    max_tokens: Annotated[int, typer.Option(help="of request and answer together")] = 480,
    seed: Annotated[int, typer.Option(help="of the order of the examples")] = 0,
    dtype: Annotated[str, typer.Option(metavar="float32|bfloat16", help="bfloat16: mixed precision")] = "float32",
    device: options.Device = None,
    chat_template: options.ChatTemplate = None,
    report_to: Annotated[
        list[str] | None, typer.Option(metavar="TRACKER", help="tensorboard, wandb or mlflow; may be repeated")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="measure safety before the first step and after every epoch")
    ] = False,
    stop_above: Annotated[
        float | None, typer.Option(help="ASR in percent above which watching stops the training")
    ] = None,
    prompts: options.Prompts = "builtin:harmful",
    as_json: Annotated[bool, typer.Option("--json", help="print what was made as JSON on stdout")] = False,
) -> None:
    """Example: safescape finetune demo --recipe harmful --data advbench.csv --out runs/attacked

    Finetune MODEL on conversations as the paper does: all parameters, AdamW, the loss on the answers alone. OUT holds
    the model and a checkpoint an epoch, which `path --through` draws as a trajectory. Interrupted, it goes on from the
    last epoch.
    """
    from safescape import api  # loads torch, which `--help` need not wait for

    with show_steps() as on_step:
        made = api.finetune(
            model,
            out=out,
            data=data,
            recipe=recipe,
            shots=shots,
            skip=skip,
            lora=lora,
            rank=rank,
            freeze=freeze,
            epochs=epochs,
            learning_rate=learning_rate,
            decay=decay,
            batch_size=batch_size,
            max_tokens=max_tokens,
            seed=seed,
            dtype=dtype,
            device=device,
            chat_template=chat_template,
            report_to=report_to or (),
            watch=watch,
            stop_above=stop_above,
            prompts=prompts,
            on_step=on_step,
        )
    _show(model, made, as_json=as_json)


@contextmanager
def show_steps() -> Iterator[Callable[[Step], None]]:
    """Show how far a training is: a bar on a terminal, a plain line a step elsewhere."""
    console, start = Console(stderr=True), time.monotonic()
    if not console.is_terminal:

        def line(step: Step) -> None:
            seconds = time.monotonic() - start
            print(f"{step.done}/{step.total} steps, {seconds:.0f} s, loss {step.loss:.3f}", file=sys.stderr, flush=True)

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("loading the model", total=None)
        yield lambda step: bar.update(task, completed=step.done, total=step.total, description=f"loss {step.loss:.3f}")


def _show(model: str, made: Finetuned, *, as_json: bool) -> None:
    """Print what a finetune made, and what to do next."""
    is_adapter = (made.directory / "adapter_config.json").exists()
    name = f"{model}+{made.directory}" if is_adapter else str(made.directory)
    if as_json:
        print(
            json.dumps(
                {
                    "model": name,
                    "checkpoints": [str(path) for path in made.checkpoints],
                    "losses": made.losses,
                    "stopped_at": made.stopped_at,
                }
            )
        )
        return
    console = results()
    losses = ", ".join(f"{loss:.3f}" for loss in made.losses)
    console.print(Text(f"loss by epoch: {losses}"))
    if made.stopped_at is not None:
        console.print(Text(f"stopped after step {made.stopped_at}"))
    console.print(Text(f"{name}, and {len(made.checkpoints)} checkpoints in {made.directory}"))
    console.print(Text(f"next: safescape path {model} {name}"))
