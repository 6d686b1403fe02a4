"""`safescape study`: the paper's studies as one command each."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.markdown import Markdown
from rich.text import Text

import safescape
from safescape.cli.command import Given, with_options, with_verbose
from safescape.cli.output import results
from safescape.cli.progress import show_progress, show_steps
from safescape.options import StudyOptions

study = typer.Typer(name="study", help="The paper's studies, each as one command.")

_PYTHON_ONLY = {
    *("system_prompt", "engine", "tensor_parallel", "adapter", "dtype", "whole_answers", "chat_template"),
    *("chat_template_name", "template_vars"),
    *("trust_remote_code", "paper"),
}


@study.callback(invoke_without_command=True)
def _studies(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@study.command()
@with_verbose
@with_options(StudyOptions, without=_PYTHON_ONLY)
def finetuning(
    given: Given,
    more: Annotated[list[str] | None, typer.Argument(metavar="[SHOTS]...", hidden=True)] = None,
) -> None:
    """Example: safescape study finetuning demo --data advbench --shots 10 50 100 --mixed --out runs/study

    Measure MODEL's random landscape, finetune it on each number of harmful examples, and measure the line to every
    finetune. Prints a table, and writes it with its pictures into OUT.
    """
    # `--shots 10 50 100` is parsed as one number and two arguments
    if more:
        given["shots"] = [*given.get("shots", ()), *more]
    with show_progress() as on_progress, show_steps() as on_step:
        made = safescape.study_finetuning(
            **given,
            on_stage=lambda stage: print(f"{stage}:", file=sys.stderr, flush=True),
            on_step=on_step,
            on_progress=on_progress,
        )
    console, table = results(), (made.directory / "study.md").read_text(encoding="utf-8")
    console.print(Markdown(table) if console.is_terminal else Text(table))
    print(made.directory / "study.md")
