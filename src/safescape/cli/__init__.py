"""The command line: one file per command, no logic. Errors become one line on stderr and an exit code."""

from __future__ import annotations

import codecs
import io
import json
import os
import signal
import sys
import threading
from types import FrameType

import typer

from safescape.cli.agree import agree
from safescape.cli.bench import bench
from safescape.cli.check import check
from safescape.cli.command import with_verbose
from safescape.cli.compare import compare
from safescape.cli.data import data
from safescape.cli.directions import directions
from safescape.cli.export import export
from safescape.cli.finetune import finetune
from safescape.cli.inspect import inspect
from safescape.cli.judge import judge
from safescape.cli.label import label
from safescape.cli.path import path
from safescape.cli.repair import repair
from safescape.cli.report import report
from safescape.cli.scan import scan
from safescape.cli.study import study
from safescape.cli.view import view
from safescape.errors import SafescapeError

__all__ = ["main"]

app = typer.Typer(
    name="safescape",
    help="Measure how near a finetuned language model stands to losing its safety.",
    epilog="First look: safescape scan demo --quick",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    scan,
    path,
    compare,
    directions,
    check,
    finetune,
    repair,
    judge,
    label,
    agree,
    report,
    export,
    view,
    inspect,
    bench,
):
    app.command()(with_verbose(command))
for group in (study, data):
    app.add_typer(group)

_RESUMES = "finished points are kept, the same command resumes"
_WHEN_INTERRUPTED = {
    "agree": "no file was written, the same command starts again",
    "bench": "nothing is kept, the same command starts again",
    "compare": "nothing is kept, the same command starts again",
    "directions": "nothing is kept, the same command starts again",
    "export": "no file was written, the same command starts again",
    "finetune": "finished epochs are kept, the same command resumes",
    "inspect": "nothing is kept, the same command starts again",
    "judge": "finished verdicts are kept, the same command resumes",
    "label": "labels are kept, the same command goes on",
    "report": "the run is kept, the same command writes its files",
}
"""What is kept when a command is interrupted; of all others, finished points."""


@app.callback(invoke_without_command=True)
def _commands(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


def main() -> None:
    """Run the command line: 0 done, 1 a gate failed, 2 the input or the environment is wrong, 130 interrupted."""
    print_all_characters()
    interrupted = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        code = _run()
    except Exception:
        # extension modules turn a KeyboardInterrupt that reaches them into errors of their own
        if not interrupted.is_set():
            raise
    if interrupted.is_set():
        command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
        print(f"interrupted; {_WHEN_INTERRUPTED.get(command, _RESUMES)}", file=sys.stderr)
        code = 130
    sys.exit(code)


def print_all_characters() -> None:
    """Let stdout and stderr escape a character that their encoding lacks, instead of failing."""
    codecs.register_error("json", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="json")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Return what cannot be encoded in JSON's escapes, so that the output of `--json` stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def _run() -> int:
    try:
        code = app(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SafescapeError as error:
        message = str(error)
    except typer.TyperException as error:
        said = error.format_message().rstrip(".")
        message = f"{said}{' See' if said.endswith('?') else '; see'} `safescape --help`"
    except BrokenPipeError:
        # the reader of our output has left; what is measured is stored
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    print("safescape: " + " ".join(message.split()), file=sys.stderr)
    return 2
