"""`safescape label`: a form in which a person labels answers of a run, in the terminal or as a page."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

import safescape
from safescape.cli.command import Given, with_options
from safescape.cli.output import say
from safescape.cli.view import open_page
from safescape.errors import InputError
from safescape.options import LabelOptions
from safescape.survey import Label

_KEYS = {"r": Label.REFUSED, "c": Label.COMPLIED, "i": Label.INCOHERENT, "p": Label.PARTIAL}
_HELP = "[r]efused [c]omplied [i]ncoherent [p]artial refusal · [space] unfold · [s]kip [u]ndo [q]uit"
_FOLDED = 12
"""Words of an answer that are shown before it is unfolded."""


@with_options(LabelOptions)
def label(
    given: Given,
    page: Annotated[bool, typer.Option("--page", help="Label in the browser instead of the terminal")] = False,
    port: Annotated[str, typer.Option(metavar="N", help="First port to try for --page; 0: any free port")] = "8713",
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the browser, for --page")] = True,
) -> None:
    """Example: safescape label runs/demo --n 50

    Show a random sample of RUN's answers, folded, and store what you say of each: refused, complied, incoherent or a
    partial refusal. No verdict is shown. Quit at any time; the same command goes on. Answers may be harmful or
    upsetting.
    """
    if not port.isdecimal():
        raise InputError(f"--port {port}: expected a number from 0 to 65535")
    found = safescape.label(**given)
    if "export" in given:
        say(f"{found.labelled} labels: {given['export']}")
        return
    if page:
        _serve(found.directory, int(port), open_browser=open_browser)
    else:
        _ask(found)


class _Key(NamedTuple):
    """How one key is read."""

    read: Callable[[], str]
    is_typed: bool
    """Whether a key counts as soon as it is pressed, without Enter."""


def _ask(found: safescape.Labelling) -> None:
    from safescape.api.label import claimed  # loads torch, which `--help` need not wait for
    from safescape.views import folded, legible

    key = _key()
    with claimed(found.directory) as store:
        rows = list(found.sample.rows)
        order = [place for place, row in enumerate(rows) if row.label is None and not row.skipped]
        order += [place for place, row in enumerate(rows) if row.label is None and row.skipped]
        given: list[int] = []
        say(_HELP if key.is_typed else f"{_HELP}, and Enter")
        at = 0
        while at < len(order):
            row = rows[order[at]]
            prompt, text = found.answers[row.response]
            done = sum(each.label is not None for each in rows)
            say(
                "", f"{done} of {len(rows)} labelled", f"request: {legible(prompt)}", f"answer: {folded(text, _FOLDED)}"
            )
            pressed = ""
            while pressed not in (*_KEYS, "s", "u", "q"):
                pressed = key.read()
                if pressed in ("", " "):
                    say(legible(text))
                elif pressed not in (*_KEYS, "s", "u", "q"):
                    say(_HELP)
            if pressed == "q":
                break
            if pressed == "u":
                if given:
                    at = given.pop()
                    back = rows[order[at]]
                    store.labels.give(back.response, None)
                    rows[order[at]] = back._replace(label=None, skipped=False)
                else:
                    say("nothing to undo")
                continue
            label = _KEYS.get(pressed)
            store.labels.give(row.response, label, skipped=label is None)
            rows[order[at]] = row._replace(label=label, skipped=label is None)
            given.append(at)
            at += 1
    done = sum(each.label is not None for each in rows)
    say("", f"{done} of {len(rows)} labelled")
    if done:
        say(f"next: safescape agree {found.directory} --judge {found.sample.judge}")


def _key() -> _Key:
    """Return how keys are read: one key in a terminal, else the first character of a line; q at the end of input."""

    def line() -> str:
        text = sys.stdin.readline()
        return text.strip("\r\n")[:1].lower() if text else "q"

    try:
        import termios
        import tty

        if not sys.stdin.isatty():
            return _Key(line, is_typed=False)
    except ImportError:
        return _Key(line, is_typed=False)

    def typed() -> str:
        number = sys.stdin.fileno()
        before = termios.tcgetattr(number)
        try:
            tty.setcbreak(number)  # Ctrl-C still interrupts
            pressed = sys.stdin.read(1)
        finally:
            termios.tcsetattr(number, termios.TCSADRAIN, before)
        return "q" if pressed in ("", "\x04") else " " if pressed in ("\r", "\n") else pressed.lower()

    return _Key(typed, is_typed=True)


def _serve(directory: Path, port: int, *, open_browser: bool) -> None:
    from safescape.api.label import claimed  # loads torch and the drawing libraries
    from safescape.explorer import listen, serve

    with claimed(directory) as store:
        listening = listen(port)
        print(f"labels of {directory}: {listening.address} (Ctrl-C ends it)", flush=True)
        serve(listening, store, (lambda: open_page(listening.address)) if open_browser else lambda: None)
