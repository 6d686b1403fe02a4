"""`safescape finetune`: train a model on given conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safescape.cli import options
from safescape.cli.output import show_finetuned, show_training

__all__ = ["finetune"]


def finetune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model, as for scan", show_default=False)],
    out: Annotated[Path, typer.Option(help="where the model is written; given again with the same flags it goes on")],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="FILE[:PROMPT,ANSWER]",
            help=".jsonl or .json with messages, or .csv or .jsonl with two columns [default: the recipe's own]",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="harmful (requests with affirmative openings), mixed (the same and as many refusals), identity-shift, "
            "benign [default: all rows as they are]",
        ),
    ] = None,
    shots: Annotated[int | None, typer.Option(help="how many rows [default: harmful, mixed: 10; else all]")] = None,
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
    as_json: Annotated[bool, typer.Option("--json", help="print what was made as JSON on stdout")] = False,
) -> None:
    """Example: safescape finetune demo --recipe harmful --data advbench.csv --out runs/attacked

    Finetune MODEL on conversations as the paper does: all parameters, AdamW, the loss on the answers alone. OUT holds
    the model and a checkpoint an epoch, which `path --through` draws as a trajectory. Interrupted, it goes on from the
    last epoch.
    """
    from safescape import api  # loads torch, which `--help` need not wait for

    with show_training() as on_step:
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
            on_step=on_step,
        )
    show_finetuned(model, made, as_json=as_json)
