"""The speed of this machine: the procedure of the paper's script, plain `generate`, and the engines, on the same task.

The reference procedure follows its description (arXiv 2405.17374, section 3, and the released script): fp32, a deep
copy of the state dict, a stored direction, live weights moved from point to point by repeated addition, prompts in
batches of 4 padded on the left, and `model.generate` for every answer until it ends by itself or is full.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from statistics import median_high
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from safescape.engines import is_vllm_here, load_model, open_engine, parameters_of
from safescape.engines.kv_cache import common_prefix_length
from safescape.errors import RunError
from safescape.judges import NOISE, KeywordJudge, NoiseTest
from safescape.machine import machine_text, matmul_rate, peak_bytes
from safescape.measure import tokenizer_of_model
from safescape.probes import format_chats, load_prompts
from safescape.survey import KEYWORD, Exchange, Lines, Outcome, Point, PromptProbe, RandomAxis, Survey
from safescape.weights import Model, RandomDirection, Weights, resolve

_SEED, _SPAN = 0, 0.5
_REFERENCE_BATCH = 4


class Side(NamedTuple):
    """A procedure and a dtype."""

    kind: str
    """`reference`, `generate`, or the name of an engine."""
    dtype: str
    ends_noise: bool = False
    """Whether an answer ends where it is noise, as in a scan."""

    @property
    def name(self) -> str:
        """The name in tables and of `--side`."""
        if self == REFERENCE:
            return self.kind
        written_on = self.kind == "transformers" and not self.ends_noise
        return f"{self.kind}, {self.dtype}{', noise written on' if written_on else ''}"


REFERENCE = Side("reference", "float32")


class Task(NamedTuple):
    """The task that every side measures."""

    model: str
    prompts: str
    limit: int
    max_new_tokens: int
    alphas: tuple[float, ...]
    """The points along one random direction; 0 is the origin."""
    device: str


class PointTiming(NamedTuple):
    """The times and verdicts of one side at one point."""

    alpha: float
    moving: float
    """Seconds to move the weights."""
    answering: float
    """Seconds to answer and judge."""
    read: int
    """The prefilled tokens; see `prefill_tokens`."""
    written: int
    """The tokens of all answers."""
    complied: tuple[bool, ...]
    """The keyword judge's verdict on each prompt's answer."""


class SideTiming(NamedTuple):
    """The times of one side."""

    side: Side
    points: tuple[PointTiming, ...]
    peak_bytes: int
    """See `peak_bytes`; of its process."""
    rate: float
    """See `matmul_rate`; in its dtype on this machine."""

    @property
    def seconds(self) -> float:
        """The time from the loaded model to the last verdict."""
        return sum(point.moving + point.answering for point in self.points)


class SideResult(NamedTuple):
    """The figures of one side."""

    side: Side
    seconds: float
    """The time from the loaded model to the last verdict."""
    ratio: float | None
    """The speed relative to the reference procedure; None if that was not measured."""
    peak_bytes: int
    move: float
    """The median seconds of a move away from the origin."""
    share_at_origin: float | None
    """The fraction of the answering time that the machine's own matrix products would take; the operations are those
    of `MatrixSizes.operations`. None: the origin is none of the points."""
    share_outside: float | None
    """The same fraction at the points away from the origin. None: there are none."""
    agreeing: int | None
    """The number of verdicts equal to the reference's; None if that was not measured."""
    verdicts: int


class Bench(NamedTuple):
    """The results of a benchmark on this machine."""

    task: Task
    machine: str
    sides: tuple[SideResult, ...]
    measured: tuple[SideTiming, ...]

    def document(self) -> dict[str, Any]:
        """Return the content of bench.json; `rate` is that of matrix products, in operations per second."""
        points = [
            {"side": each.side.name, "rate": each.rate} | {k: v for k, v in point._asdict().items() if k != "complied"}
            for each in self.measured
            for point in each.points
        ]
        sides = [each._asdict() | {"side": each.side.name} for each in self.sides]
        return {"schema": 1, "task": self.task._asdict(), "machine": self.machine, "sides": sides, "points": points}


class MatrixSizes(NamedTuple):
    """The numbers of weights in matrix products."""

    body: int
    """The weights of the layers."""
    head: int
    """The weights of the output head; the embedding's, if they are tied."""

    def operations(self, read: int, written: int) -> int:
        """Return the minimum of operations: 2 per weight and token, of the head for written tokens only."""
        return 2 * self.body * (read + written) + 2 * self.head * written


def sides_here() -> tuple[Side, ...]:
    """Return the sides that can run on this machine."""
    ways = [("generate", False), ("transformers", False), ("transformers", True)]
    ways += [("vllm", False)] if is_vllm_here() else []
    both = ("float32", "bfloat16")
    return (REFERENCE, *(Side(kind, dtype, ends_noise=ends) for kind, ends in ways for dtype in both))


def measure_sides(task: Task, sides: Sequence[Side], on_side: Callable[[SideTiming], None]) -> Bench:
    """Measure sides one after another, each in a new process, because peak memory is a property of a process.

    Args:
        task: The task of every side.
        sides: The sides to measure.
        on_side: Called after each side.

    Raises:
        InputError: The model or the prompts cannot be used.
        RunError: The process of a side died.

    """
    measured = []
    for side in sides:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
            try:
                measured.append(apart.submit(_measure_side, task, side).result())
            except BrokenProcessPool as error:
                raise RunError(f"{side.name}: its process died, perhaps for want of memory; lower --limit") from error
        on_side(measured[-1])
    base = next((each for each in measured if each.side == REFERENCE), None)
    sizes = matrix_sizes(resolve(task.model).weights)
    return Bench(task, machine_text(), tuple(_result(each, base, sizes) for each in measured), tuple(measured))


def _measure_side(task: Task, side: Side) -> SideTiming:
    """Measure one side in this process."""
    model = resolve(task.model)
    tokenizer = tokenizer_of_model(model)
    prompts = load_prompts(task.prompts, task.limit)
    chats = format_chats(tokenizer, prompts, None)
    rate = matmul_rate(getattr(torch, side.dtype), torch.device(task.device))
    opened = _generate if side.kind in ("reference", "generate") else _engine
    points = []
    with opened(task, side, model, tokenizer, chats) as (move, respond):
        for alpha in task.alphas:
            start = time.monotonic()
            move(alpha)
            moved = time.monotonic()
            answers, read, written = respond()
            exchanges = [Exchange(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
            complied = tuple(verdict.outcome is Outcome.COMPLIED for verdict in KeywordJudge().judge(exchanges))
            points.append(PointTiming(alpha, moved - start, time.monotonic() - moved, read, written, complied))
    return SideTiming(side, tuple(points), peak_bytes(torch.device(task.device)), rate)


class _Answers(NamedTuple):
    texts: list[str]
    read: int
    """The prefilled tokens."""
    written: int
    """The tokens of all answers."""


_Procedure = tuple[Callable[[float], None], Callable[[], _Answers]]
"""Moves the weights to α, and answers all prompts there."""


@contextlib.contextmanager
def _generate(
    task: Task, side: Side, model: Model, tokenizer: PreTrainedTokenizerBase, chats: Sequence[str]
) -> Iterator[_Procedure]:
    """The reference procedure, or the same with all prompts in one batch."""
    tokenizer.padding_side = "left"
    loaded = load_model(model, getattr(torch, side.dtype))
    torch.nn.Module.to(loaded, task.device)
    generator: Any = loaded.eval()
    live, position = parameters_of(generator, model.weights), 0.0
    with torch.no_grad():
        for name, parameter in live.items():
            parameter.copy_(model.weights.tensor(name))
    origin = {name: parameter.detach().clone() for name, parameter in live.items()}
    random = RandomDirection(_SEED, model.weights.inventory.norms)
    direction = {name: random.tensor(name, there).to(there.dtype) for name, there in origin.items()}
    batch = _REFERENCE_BATCH if side == REFERENCE else len(chats)

    def move(alpha: float) -> None:
        nonlocal position
        with torch.no_grad():
            for name, step in direction.items():
                live[name].add_(step, alpha=alpha - position)
        position = alpha

    def respond() -> _Answers:
        answers: list[str] = []
        written = read = 0
        for first in range(0, len(chats), batch):
            texts = list(chats[first : first + batch])
            asked = tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt").to(task.device)
            with torch.no_grad():
                output = generator.generate(**asked, max_new_tokens=task.max_new_tokens, do_sample=False)
            new = output[:, asked["input_ids"].shape[1] :]
            read, written = read + asked["input_ids"].numel(), written + new.numel()
            answers += tokenizer.batch_decode(new, skip_special_tokens=True)
        return _Answers(answers, read, written)

    yield move, respond


@contextlib.contextmanager
def _engine(
    task: Task, side: Side, model: Model, tokenizer: PreTrainedTokenizerBase, chats: Sequence[str]
) -> Iterator[_Procedure]:
    """One of our engines."""
    prompts = tuple(load_prompts(task.prompts, task.limit))
    survey = Survey.model_validate(
        {
            "model": task.model,
            "model_fingerprint": "",
            "engine": side.kind,
            "dtype": side.dtype,
            "device": task.device,
            "subspace": Lines(axes=(RandomAxis(seed=_SEED, span=_SPAN, steps=20),)),
            "probes": (PromptProbe(name="harmful", source=task.prompts, prompts=prompts),),
            "judges": (KEYWORD,),
            "max_new_tokens": task.max_new_tokens,
        }
    )
    engine = open_engine(survey, model, tokenizer, {"harmful": chats})
    read, noise = prefill_tokens(tokenizer, chats), NoiseTest(NOISE) if side.ends_noise else None

    def move(alpha: float) -> None:
        engine.move_to(Point(0, (alpha,)) if alpha else Point(None, (0.0,)))
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    def respond() -> _Answers:
        # as a scan asks
        given = engine.respond(chats, max_new_tokens=task.max_new_tokens, stop=KeywordJudge.stop, noise=noise)
        return _Answers([each.text for each in given], read, sum(each.tokens for each in given))

    yield move, respond
    engine.close()


def _result(found: SideTiming, base: SideTiming | None, sizes: MatrixSizes) -> SideResult:
    def share(at_origin: bool) -> float | None:
        there = [point for point in found.points if (point.alpha == 0) is at_origin]
        floor = sum(sizes.operations(point.read, point.written) for point in there)
        seconds = sum(point.answering for point in there)
        return floor / (found.rate * seconds) if seconds else None

    moves = [point.moving for point in found.points if point.alpha]
    pairs = [] if base is None else list(zip(found.points, base.points, strict=True))
    same = sum(a == b for mine, theirs in pairs for a, b in zip(mine.complied, theirs.complied, strict=True))
    return SideResult(
        side=found.side,
        seconds=found.seconds,
        ratio=None if base is None else base.seconds / found.seconds,
        peak_bytes=found.peak_bytes,
        move=median_high(moves) if moves else 0.0,
        share_at_origin=share(True),
        share_outside=share(False),
        agreeing=None if base is None else same,
        verdicts=sum(len(point.complied) for point in found.points),
    )


def matrix_sizes(weights: Weights) -> MatrixSizes:
    """Count the weights of a checkpoint that take part in matrix products."""
    sizes = {name: weights.tensor(name).numel() for name in weights.names() if weights.tensor(name).dim() == 2}
    embeddings = {name for name in sizes if "embed" in name or "wte" in name or "wpe" in name}
    heads = [name for name in sizes if "lm_head" in name or "embed_out" in name] or sorted(
        embeddings, key=lambda name: -sizes[name]
    )[:1]
    body = sum(size for name, size in sizes.items() if name not in embeddings | set(heads))
    return MatrixSizes(body, sizes[heads[0]])


def prefill_tokens(tokenizer: PreTrainedTokenizerBase, chats: Sequence[str]) -> int:
    """Return the number of tokens to prefill: the common prefix of all prompts once, and the rest of each."""
    rows = tokenizer(list(chats), add_special_tokens=False)["input_ids"]
    shared = common_prefix_length(rows)
    return shared + sum(len(row) - shared for row in rows)
