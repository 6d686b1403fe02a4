"""Tasks of the Language Model Evaluation Harness (extra `lm-eval`): any task it knows, or one from a YAML file.

The harness's request cache is never used: its keys do not include the point at which the weights are.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safescape.errors import InputError, first_line
from safescape.survey import HarnessProbe, Score

_METRICS = ("acc", "exact_match", "mc2", "f1", "bleu")
"""Metrics of one item, each from 0 to 1; the first one that a task reports is used."""


class Answering(NamedTuple):
    """What the harness needs of a model."""

    loglikelihood: Callable[[Sequence[tuple[str, str]]], Sequence[tuple[float, bool]]]
    """Takes pairs of context and continuation; returns each log-probability, and whether greedy decoding gives it."""
    generate: Callable[[str, int, Sequence[str]], str]
    """Takes a text, the largest number of new tokens and the texts at which to stop; returns the continuation."""
    most_tokens: int
    """The largest number of new tokens where a task sets none."""


def harness_probe(spec: str, source: str, limit: int | None, *, flag: str = "--also") -> HarnessProbe:
    """Return the probe `spec` of the task `source`, a name or a YAML file, after checking that the task exists.

    Raises:
        InputError: lm-eval is not installed, or knows no such task.

    """
    given = f"{flag} lm-eval:{source}"
    folder, task, digest = None, source, None
    if source.endswith((".yaml", ".yml")):
        path = Path(source)
        folder, task = str(path.parent.absolute()), _name_in(path, given)
        digest = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    manager = _manager(folder, given)
    if task not in manager.all_tasks:
        raise InputError(f"{given}: lm-eval knows no such task; `lm-eval ls tasks` lists them")
    return HarnessProbe(name=spec, source=source, task=task, folder=folder, definition=digest, limit=limit)


def harness_scores(probe: HarnessProbe, answering: Answering) -> list[Score]:
    """Ask a task's items and return one score per item, from 0 to 1, in the order of the items.

    Raises:
        InputError: the task cannot be loaded, or reports none of the known metrics per item.

    """
    with _quiet():
        try:
            manager = _manager(probe.folder, probe.name)
            import lm_eval

            results = lm_eval.simple_evaluate(
                model=_model(answering),
                tasks=[probe.task],
                limit=probe.limit,
                task_manager=manager,
                cache_requests=False,
                bootstrap_iters=0,
                log_samples=True,
                verbosity="ERROR",
            )
        except (ValueError, OSError, KeyError, ImportError) as error:
            raise InputError(f"{probe.name}: lm-eval cannot load it ({first_line(error)}); check the task") from error
    samples = [sample for task in sorted(results["samples"]) for sample in results["samples"][task]]
    metric = next((name for name in _METRICS if samples and name in samples[0]), None)
    if metric is None:
        raise InputError(f"{probe.name}: gives none of {', '.join(_METRICS)} an item; choose another task")
    return [Score(float(sample[metric]), 1) for sample in sorted(samples, key=lambda sample: sample["doc_id"])]


def _name_in(path: Path, given: str) -> str:
    import yaml

    try:
        definition = yaml.safe_load(path.read_text(encoding="utf-8"))
        return str(definition["task"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InputError(f"{given}: defines no task ({first_line(error)}); give an lm-eval YAML file") from error


def _manager(folder: str | None, given: str) -> Any:
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise InputError(f"{given}: needs lm-eval; pip install 'safescape[lm-eval]'") from error
    with _quiet():
        # a task from a file needs none of the thousands that come with lm-eval, whose index takes seconds
        return TaskManager(include_path=folder, include_defaults=folder is None)


def _model(answering: Answering) -> Any:
    from lm_eval.api.model import LM

    class EngineModel(LM):
        """The model of an engine, at the engine's current point."""

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            return list(answering.loglikelihood([request.args for request in requests]))

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            found = answering.loglikelihood([("", request.args[0]) for request in requests])
            return [log_probability for log_probability, _ in found]

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            return [self._continuation(*request.args) for request in requests]

        @staticmethod
        def _continuation(context: str, settings: dict[str, Any]) -> str:
            until = settings.get("until") or []
            stop = [until] if isinstance(until, str) else list(until)
            text = answering.generate(context, settings.get("max_gen_toks", answering.most_tokens), stop)
            return min((text.split(mark, 1)[0] for mark in stop if mark), key=len, default=text)

    return EngineModel()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the harness's progress bars and log."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
