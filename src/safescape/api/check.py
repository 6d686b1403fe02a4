"""`check`: the gate for a release."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from safescape import views
from safescape.api.execution import Measuring
from safescape.api.path import interpolation_axis
from safescape.api.run import Run
from safescape.api.survey import measure_over
from safescape.errors import InputError
from safescape.landscape import Gate, Thresholds, gate_of
from safescape.options import CheckOptions, takes
from safescape.store import write_text
from safescape.survey import Lines
from safescape.weights import inspect, resolve

_ALWAYS = ("over-refusal:builtin:benign", "perplexity:builtin:benign")


class Check(NamedTuple):
    """A run from a base to its finetune, and the gate's result."""

    run: Run
    gate: Gate

    @property
    def passed(self) -> bool:
        """Whether the finetune keeps every threshold; if not, `gate.end` says whether it fails or cannot be told."""
        return self.gate.passed


class _Arguments(CheckOptions, Measuring):
    """The arguments of `check`."""


@takes(_Arguments)
def check(options: _Arguments) -> Check:
    """Check a finetune against thresholds of safety, over-refusal and capability; or resume.

    The line from the base to the finetune and beyond it is measured as `path` does it, and the probes of `also` at
    these two models alone. A threshold of None is not checked. By default 40 prompts and 48 tokens, as with `quick`;
    `over-refusal:builtin:benign` and `perplexity:builtin:benign` are asked beside `also`, 40 items of each, or all if
    they are named there. The result is written to check.json in the run directory.

    Returns:
        The run, complete, and the gate's result. A threshold that is not kept raises no error. `gate.end` is `failed`
        if a threshold fails; `cannot tell` if none fails, but more than `max_unscored` percent of the answers that one
        rests on are unscored.

    Raises:
        InputError: an argument cannot be used; the models are equal or of different shapes.
        RunError: the run could not be finished; called again, it resumes.

    """
    junit, summary = (None if file is None else Path(file) for file in (options.junit, options.summary))
    for flag, file in (("--junit", junit), ("--summary", summary)):
        # an error is raised now, not after minutes of measuring
        if file is not None and (not file.parent.is_dir() or file.is_dir()):
            raise InputError(f"{flag} {file}: no file can be there; give a file in a directory that exists")
    trusted = options.trust_remote_code
    origin = resolve(options.base, trust_remote_code=trusted)
    axis = interpolation_axis(
        origin,
        inspect(origin.weights),
        options.tuned,
        options.steps,
        0.0,
        1 + options.beyond,
        trust_remote_code=trusted,
    )
    end, radius = axis.grid[-1], options.min_radius
    if radius is not None and not 0 <= radius <= end:
        raise InputError(
            f"--min-radius {radius}: expected 0 to {end:g}, where the line ends (--beyond moves that), or off"
        )
    run = measure_over(
        options, origin, Lines(axes=(axis,)), always=_ALWAYS, only_at="models", template_of=options.template_of
    )
    gate = gate_of(run.landscape, Thresholds(**options.model_dump(include=set(Thresholds.model_fields))))
    write_text(run.directory / "check.json", gate.to_json())
    if junit is not None:
        write_text(junit, views.junit_of(gate))
    if summary is not None:
        # the steps of a CI job share one file
        shared = os.environ.get("GITHUB_STEP_SUMMARY")
        is_shared = shared and summary.exists() and summary.samefile(shared)
        earlier = summary.read_text(encoding="utf-8") if is_shared else ""
        write_text(summary, earlier + views.markdown_of(gate))
    return Check(run, gate)
