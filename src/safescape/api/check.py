"""`check`: the gate for a release."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, Unpack

from safescape import views
from safescape.api.options import Asking, run_over
from safescape.api.path import interpolation_axis
from safescape.api.run import Run
from safescape.errors import InputError
from safescape.landscape import Gate, Thresholds, gate_of
from safescape.store import write_text
from safescape.survey import Lines
from safescape.weights import inspect, resolve

__all__ = ["BEYOND", "STEPS", "Check", "check"]

STEPS, BEYOND = 8, 0.5
"""Few enough points for three minutes on a small model; they show an edge to an eighth of the distance, then a line
is drawn between."""
_ALWAYS = ("over-refusal:builtin:benign", "perplexity:builtin:benign")
_HELD_TO = Thresholds()


class Check(NamedTuple):
    """A run from a base to its finetune, and what the gate says of it."""

    run: Run
    gate: Gate

    @property
    def passed(self) -> bool:
        """Whether the finetune keeps every threshold."""
        return self.gate.passed


def check(
    base: str,
    tuned: str,
    *,
    max_asr: float | None = _HELD_TO.max_asr,
    max_rise: float | None = _HELD_TO.max_rise,
    min_radius: float | None = _HELD_TO.min_radius,
    max_over_refusal: float | None = _HELD_TO.max_over_refusal,
    max_loss: float | None = _HELD_TO.max_loss,
    strict: bool = False,
    steps: int = STEPS,
    beyond: float = BEYOND,
    junit: str | Path | None = None,
    summary: str | Path | None = None,
    **asking: Unpack[Asking],
) -> Check:
    """Hold a finetune against thresholds of safety, over-refusal and capability; or resume.

    The line from the base to the finetune and beyond it is measured as `path` does it, and what stands in `also` at
    these two models alone. check.json in the run directory has the result.

    Args:
        base: A Hub id, a directory, a `.gguf` file, `BASE+ADAPTER`, `demo` or `demo-base`.
        tuned: Another model of the same architecture.
        max_asr: At the finetune, percent. None, here and below: not held to it.
        max_rise: Of the ASR from the base to the finetune, percentage points.
        min_radius: How far from the base, in units of the distance to the finetune, every point must be safe.
        max_over_refusal: Harmless requests refused at the finetune, percent.
        max_loss: Of each capability, in percent of the base's: accuracy falls, or perplexity rises, by so much.
        strict: Hold the worse end of each 95 % interval against the threshold, not the measured value.
        steps: Steps from the base to the finetune; as many beyond it as fit.
        beyond: How far the line goes on behind the finetune, in units of the distance.
        junit: A file for the result as JUnit XML.
        summary: A file for the result as Markdown. The one that `GITHUB_STEP_SUMMARY` names is added to, any other
            replaced.
        asking: What is asked, and how; see `Asking`. By default 40 prompts and 48 tokens, as with `quick`.
            `over-refusal:builtin:benign` and `perplexity:builtin:benign` are asked beside `also`, 40 items of each,
            or all where they stand in `also`.

    Returns:
        The run, complete, and what the gate says of it; that a threshold is not kept is no error.

    Raises:
        InputError: something given cannot be used; the models are equal or of different shapes.
        RunError: the run could not go on; called again, it resumes.

    """
    if steps < 1:
        raise InputError(f"--steps {steps}: expected at least 1, for example {STEPS}")
    if not 0 <= beyond < float("inf"):
        raise InputError(f"--beyond {beyond}: expected 0 or more, for example {BEYOND}")
    _within("--max-asr", max_asr, 0, 100, "a percentage from 0 to 100")
    _within("--max-rise", max_rise, -100, 100, "percentage points from -100 to 100")
    _within("--max-over-refusal", max_over_refusal, 0, 100, "a percentage from 0 to 100")
    _within("--max-loss", max_loss, 0, 1e6, "a percentage from 0")
    thresholds = Thresholds(
        max_asr=max_asr,
        max_rise=max_rise,
        min_radius=min_radius,
        max_over_refusal=max_over_refusal,
        max_loss=max_loss,
        strict=strict,
    )
    files = [(Path(file), flag) for file, flag in ((junit, "--junit"), (summary, "--summary")) if file is not None]
    for file, flag in files:
        # said now, not after minutes of measuring
        if not file.parent.is_dir() or file.is_dir():
            raise InputError(f"{flag} {file}: no file can be there; give a file in a directory that exists")
    origin = resolve(base)
    axis = interpolation_axis(origin, inspect(origin.weights), tuned, steps, 0.0, 1 + beyond)
    end = axis.grid[-1]
    _within("--min-radius", min_radius, 0, end, f"0 to {end:g}, where the line ends (--beyond moves that)")
    asking = {"quick": not asking.get("paper", False), **asking}
    run = run_over(origin, Lines(axes=(axis,)), always=_ALWAYS, only_at="models", **asking)
    gate = gate_of(run.landscape, thresholds)
    write_text(run.directory / "check.json", gate.to_json())
    for file, flag in files:
        text = views.junit_of(gate) if flag == "--junit" else views.markdown_of(gate)
        write_text(file, _earlier(file) + text)
    return Check(run, gate)


def _within(flag: str, value: float | None, low: float, high: float, expected: str) -> None:
    if value is not None and not low <= value <= high:
        raise InputError(f"{flag} {value}: expected {expected}, or off")


def _earlier(file: Path) -> str:
    """What the steps of a CI job before this one have to say: that file is everybody's."""
    shared = os.environ.get("GITHUB_STEP_SUMMARY")
    if shared and file.exists() and file.samefile(shared):
        return file.read_text(encoding="utf-8")
    return ""
