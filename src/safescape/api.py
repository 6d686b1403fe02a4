"""The commands as Python functions: same words, same defaults; they print nothing and return values."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from safescape import views
from safescape.errors import InputError, RunError
from safescape.landscape import SAFE_BELOW, Landscape, PointFigures, landscape_of
from safescape.measure import Progress, measure
from safescape.probes import load_prompts
from safescape.probes import system_prompt as system_prompt_text
from safescape.store import Store, StoredAnswer, write_text
from safescape.survey import DEFAULT, PAPER, QUICK, Axis, Point, Probe, Survey
from safescape.weights import Model, inspect, resolve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Run", "load_run", "report", "run_survey", "scan"]


class Run:
    """A run directory that holds one survey's results."""

    def __init__(self, directory: Path, survey: Survey, landscape: Landscape) -> None:
        self.directory = directory
        self.survey = survey
        self.landscape = landscape

    @property
    def points(self) -> tuple[PointFigures, ...]:
        """The figures of every measured point."""
        return self.landscape.points

    @cached_property
    def _store(self) -> Store:
        return Store.read(self.directory)

    def answers(self, coordinate: float = 0.0, line: int = 0) -> list[StoredAnswer]:
        """Return what the model said at a point, in the order of the prompts; empty where nothing was measured."""
        point = Point(line, (coordinate,)) if coordinate else Point(None, (0.0,))
        return self._store.answers(point, self.survey.probes[0].name)

    def figure(self) -> Figure:
        """Draw the landscape."""
        return views.draw(self.landscape)

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r}, model={self.survey.model!r}, points={len(self.points)})"


def scan(
    model: str,
    *,
    out: str | Path | None = None,
    prompts: str = "builtin:harmful",
    limit: int | None = None,
    system_prompt: str = "default",
    directions: int | None = None,
    span: float = 0.5,
    steps: int | None = None,
    seed: int = 0,
    dtype: str = "float32",
    device: str | None = None,
    max_new_tokens: int | None = None,
    whole_answers: bool = False,
    batch_size: int = 128,
    chat_template: str | Path | None = None,
    trust_remote_code: bool = False,
    safe_below: float = SAFE_BELOW,
    quick: bool = False,
    paper: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Measure a model's random safety landscape, or resume the measurement.

    Args:
        model: A Hub id, a directory, a `.gguf` file, `BASE+ADAPTER`, `demo` or `demo-base`.
        out: The run directory; by default `runs/MODEL-HASH`, the hash being the survey's.
        prompts: `builtin:harmful`, `file.csv:column`, `file.jsonl:key`, `hf:dataset/id:split:column`, or a
            JailbreakBench artifact file.
        limit: How many of the prompts, from the first; 80 by default.
        system_prompt: `default` (the chat template's own), `empty`, `roleplay`, `llama2`, `@file`, or a text.
        directions: How many random directions; 3 by default.
        span: The landscape runs from -span to span; 0.5 moves every tensor by half its own norm.
        steps: Steps along a line, an even number; 20 by default, which makes 21 points.
        seed: Of the first direction; the others count up from it.
        dtype: `float32` or `bfloat16`, of the live weights.
        device: `cpu`, `cuda`, `cuda:1`; by default the first GPU if there is one.
        max_new_tokens: The most tokens of an answer; 128 by default.
        whole_answers: Write every answer to its end, also when the judge could already tell.
        batch_size: The most answers decoded together.
        chat_template: A file with a Jinja chat template, used instead of the tokenizer's.
        trust_remote_code: Let the model bring its own code.
        safe_below: The ASR, in percent, up to which a point counts as safe.
        quick: Defaults for a first look: 1 direction, 40 prompts, 48 tokens.
        paper: The paper's exact setting: fp32, 512 tokens, 80 prompts, 3 directions.
        on_progress: Told after every point.

    Returns:
        The run, complete.

    Raises:
        InputError: something given cannot be used.
        RunError: the run could not go on; called again, it resumes.

    """
    if quick and paper:
        raise InputError("--quick and --paper exclude each other; give one of them")
    preset = QUICK if quick else PAPER if paper else DEFAULT
    found = resolve(model)
    lines = _random_lines(
        preset.directions if directions is None else directions, seed, span, preset.steps if steps is None else steps
    )
    tokens = preset.max_new_tokens if max_new_tokens is None else max_new_tokens
    _require(tokens >= 1, f"--max-new-tokens {tokens}: expected at least 1")
    _require(batch_size >= 1, f"--batch-size {batch_size}: expected at least 1")
    _require(dtype in ("float32", "bfloat16"), f"--dtype {dtype}: expected float32 or bfloat16")
    probe = Probe(
        name="harmful",
        source=prompts,
        system_prompt=system_prompt_text(system_prompt),
        prompts=load_prompts(prompts, preset.limit if limit is None else limit),
    )
    survey = Survey.model_validate(
        {
            "model": model,
            "model_fingerprint": inspect(found.weights),
            "trust_remote_code": trust_remote_code,
            "chat_template": None if chat_template is None else _read(Path(chat_template), "--chat-template"),
            "dtype": dtype,
            "device": _device(device),
            "lines": lines,
            "probes": (probe,),
            "max_new_tokens": tokens,
            "whole_answers": whole_answers,
            "batch_size": batch_size,
        }
    )
    return _run(survey, found, out, safe_below, on_progress)


def run_survey(
    survey: Survey,
    *,
    out: str | Path | None = None,
    safe_below: float = SAFE_BELOW,
    on_progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Measure what a survey says, or resume; `Survey.load` reads the survey.json of an earlier run.

    Raises:
        InputError: the model it names is not the one it was written for, or cannot be used.
        RunError: the run could not go on; called again, it resumes.

    """
    model = resolve(survey.model)
    fingerprint = inspect(model.weights)
    if fingerprint != survey.model_fingerprint:
        raise InputError(
            f"{survey.model}: has fingerprint {fingerprint[:19]}…, the survey was written for "
            f"{survey.model_fingerprint[:19]}…; give that model, or scan anew"
        )
    return _run(survey, model, out, safe_below, on_progress)


def _run(
    survey: Survey,
    model: Model,
    out: str | Path | None,
    safe_below: float,
    on_progress: Callable[[Progress], None] | None,
) -> Run:
    _require(0 <= safe_below < 100, f"--safe-below {safe_below}: expected a percentage from 0 to below 100")
    directory = Path(out) if out is not None else Path("runs") / _name(survey)
    with Store.claim(directory, survey) as store:
        measure(survey, model, store, on_progress or (lambda _: None))
        return _report(store, safe_below)


def report(directory: str | Path, *, safe_below: float = SAFE_BELOW) -> Run:
    """Compute a run's figures again from what is stored and write landscape.json, landscape.png and report.html.

    Raises:
        InputError: it is not a run directory, or nothing was measured in it yet.
        RunError: the directory cannot be written.

    """
    with Store.read(Path(directory)) as store:
        return _report(store, safe_below)


def load_run(directory: str | Path, *, safe_below: float = SAFE_BELOW) -> Run:
    """Read a run directory, finished or not; nothing is written.

    Raises:
        InputError: it is not a run directory, or nothing was measured in it yet.

    """
    with Store.read(Path(directory)) as store:
        return _load(store, safe_below)


def _load(store: Store, safe_below: float) -> Run:
    measured = list(store.measured())
    if not measured:
        raise InputError(f"{store.directory}: no point was measured in it yet; repeat the command that began it")
    return Run(store.directory, store.survey, landscape_of(store.survey, measured, safe_below=safe_below))


def _report(store: Store, safe_below: float) -> Run:
    run = _load(store, safe_below)
    write_text(run.directory / "landscape.json", run.landscape.to_json())
    write_text(run.directory / "report.html", views.render_page(store, run.landscape))
    picture = run.directory / "landscape.png"
    try:
        views.save_figure(run.landscape, picture)
    except OSError as error:
        raise RunError(f"{picture}: cannot be written ({error.strerror}); free space and repeat") from error
    return run


def _random_lines(directions: int, seed: int, span: float, steps: int) -> tuple[Axis, ...]:
    _require(directions >= 1, f"--directions {directions}: expected at least 1")
    _require(seed >= 0, f"--seed {seed}: expected 0 or more")
    _require(0 < span < float("inf"), f"--span {span}: expected a number above 0, for example 0.5")
    _require(steps >= 2 and steps % 2 == 0, f"--steps {steps}: expected an even number of at least 2, for example 20")
    return tuple(Axis(seed=seed + number, span=span, steps=steps) for number in range(directions))


def _device(given: str | None) -> str:
    if given is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if re.fullmatch(r"cpu|cuda(:\d+)?", given) is None:
        raise InputError(f"--device {given}: expected cpu, cuda or cuda:NUMBER")
    if given != "cpu" and (torch.device(given).index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {given}: torch sees {torch.cuda.device_count()} GPUs here; give cpu or another one")
    return given


def _read(path: Path, flag: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{flag} {path}: cannot be read ({error}); give a UTF-8 text file") from error


def _name(survey: Survey) -> str:
    model = re.sub(r"[^\w.-]+", "-", survey.model).strip("-.")[-60:] or "model"
    return f"{model}-{hashlib.sha256(survey.model_dump_json().encode()).hexdigest()[:8]}"


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise InputError(otherwise)
