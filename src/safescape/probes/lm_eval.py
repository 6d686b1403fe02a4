"""Tasks of the Language Model Evaluation Harness (extra `lm-eval`): any task it knows, or one from a YAML file.

Its own request cache is never used: it does not know where the weights stand.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safescape.errors import InputError
from safescape.survey import HarnessProbe, Score

__all__ = ["Answering", "harness_probe", "harness_scores"]

_METRICS = ("acc", "exact_match", "mc2", "f1", "bleu")
"""Looked for in this order in what a task gives for an item; each from 0 to 1."""


class Answering(NamedTuple):
    """What the harness asks of a model."""

    loglikelihood: Callable[[Sequence[tuple[str, str]]], Sequence[tuple[float, bool]]]
    """(context, continuation) to its log-probability, and whether it is the greedy one."""
    generate: Callable[[str, int, Sequence[str]], str]
    """A text, the most new tokens and where to stop, to what the model writes."""
    most_tokens: int
    """The most new tokens where a task sets no limit."""


def harness_probe(spec: str, source: str, limit: int | None) -> HarnessProbe:
    """Return the probe of a task, having found it.

    Args:
        spec: What the probe is called.
        source: A task's name, or a YAML file that defines one.
        limit: How many items, from the first; None for all.

    Raises:
        InputError: lm-eval is not installed, or knows no such task.

    """
    folder, task, digest = None, source, None
    if source.endswith((".yaml", ".yml")):
        path = Path(source)
        folder, task = str(path.parent.absolute()), _name_in(path)
        digest = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    manager = _manager(folder)
    if task not in manager.all_tasks:
        raise InputError(f"--also lm-eval:{source}: lm-eval knows no such task; `lm-eval ls tasks` lists them")
    return HarnessProbe(name=spec, source=source, task=task, folder=folder, definition=digest, limit=limit)


def harness_scores(probe: HarnessProbe, answering: Answering) -> list[Score]:
    """Ask a task's items and return one score an item, from 0 to 1.

    Raises:
        InputError: the task cannot be loaded, or gives none of the known metrics.

    """
    import lm_eval

    with _quiet():
        try:
            results = lm_eval.simple_evaluate(
                model=_model(answering),
                tasks=[probe.task],
                limit=probe.limit,
                task_manager=_manager(probe.folder),
                cache_requests=False,
                bootstrap_iters=0,
                log_samples=True,
                verbosity="ERROR",
            )
        except (ValueError, OSError, KeyError, ImportError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"--also {probe.name}: lm-eval cannot load it ({reason}); check the task") from error
    samples = [sample for task in sorted(results["samples"]) for sample in results["samples"][task]]
    metric = next((name for name in _METRICS if samples and name in samples[0]), None)
    if metric is None:
        raise InputError(f"--also {probe.name}: gives none of {', '.join(_METRICS)} an item; choose another task")
    return [Score(float(sample[metric]), 1) for sample in sorted(samples, key=lambda sample: sample["doc_id"])]


def _name_in(path: Path) -> str:
    import yaml

    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
        return str(given["task"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InputError(f"--also lm-eval:{path}: defines no task ({error}); give a lm-eval YAML file") from error


def _manager(folder: str | None) -> Any:
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise InputError("--also lm-eval:TASK needs lm-eval; pip install 'safescape[lm-eval]'") from error
    with _quiet():
        # a task from a file needs none of the thousands that come with lm-eval, whose index takes seconds
        return TaskManager(include_path=folder, include_defaults=folder is None)


def _model(answering: Answering) -> Any:
    from lm_eval.api.model import LM

    class Standing(LM):
        """The model as it stands at a point."""

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            return list(answering.loglikelihood([request.args for request in requests]))

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            found = answering.loglikelihood([("", request.args[0]) for request in requests])
            return [log_probability for log_probability, _ in found]

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            return [self._written(*request.args) for request in requests]

        @staticmethod
        def _written(context: str, settings: dict[str, Any]) -> str:
            until = settings.get("until") or []
            stop = [until] if isinstance(until, str) else list(until)
            text = answering.generate(context, settings.get("max_gen_toks", answering.most_tokens), stop)
            return min((text.split(mark, 1)[0] for mark in stop if mark), key=len, default=text)

    return Standing()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the harness's progress bars and log out of the user's terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
