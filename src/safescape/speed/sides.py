"""The sides of a benchmark: the reference procedure, plain `generate`, and the engines, on the same task.

The reference procedure follows its description (arXiv 2405.17374, section 3, and the released script): fp32, a deep
copy of the state dict, a stored direction, live weights moved from point to point by repeated addition, prompts in
batches of 4 padded on the left, and `model.generate` for every answer until it ends by itself or is full.
"""

from __future__ import annotations

import copy
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from safescape.engines import is_vllm_here, load_model, open_engine
from safescape.engines.kv_cache import common_prefix_length
from safescape.judges import KeywordJudge
from safescape.probes import format_chats, load_prompts, load_tokenizer
from safescape.survey import KEYWORD, Exchange, Lines, Outcome, Point, PromptProbe, RandomAxis, Survey
from safescape.weights import Model, RandomDirection, resolve

_SEED, _SPAN = 0, 0.5
_REFERENCE_BATCH = 4


class Side(NamedTuple):
    """A procedure and a dtype."""

    kind: str
    """`reference`, `generate`, or the name of an engine."""
    dtype: str

    @property
    def name(self) -> str:
        """The name in tables and of `--side`."""
        return self.kind if self == REFERENCE else f"{self.kind}, {self.dtype}"


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
    """The peak resident memory of its process; on a GPU, the peak of allocated memory there."""
    rate: float
    """The rate of matrix products in its dtype on this machine, in floating-point operations per second."""

    @property
    def seconds(self) -> float:
        """The time from the loaded model to the last verdict."""
        return sum(point.moving + point.answering for point in self.points)


def sides_here() -> tuple[Side, ...]:
    """Return the sides that can run on this machine."""
    both = ("float32", "bfloat16")
    engines = ("transformers", "vllm") if is_vllm_here() else ("transformers",)
    return (REFERENCE, *(Side(kind, dtype) for kind in ("generate", *engines) for dtype in both))


def measure_side(task: Task, side: Side) -> SideTiming:
    """Measure one side in this process, which should be a new one: peak memory is a property of the process.

    Raises:
        InputError: The model or the prompts cannot be used.

    """
    model = resolve(task.model)
    tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
    prompts = load_prompts(task.prompts, task.limit)
    chats = format_chats(tokenizer, prompts, None)
    rate = matmul_rate(getattr(torch, side.dtype), torch.device(task.device))
    if side.kind in ("reference", "generate"):
        batch = _REFERENCE_BATCH if side == REFERENCE else len(chats)
        points = tuple(_by_generate(task, side, model, tokenizer, prompts, chats, batch))
    else:
        points = tuple(_by_engine(task, side, model, tokenizer, prompts, chats))
    return SideTiming(side, points, peak_bytes(torch.device(task.device)), rate)


def _by_generate(
    task: Task,
    side: Side,
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    chats: Sequence[str],
    batch: int,
) -> Iterator[PointTiming]:
    tokenizer.padding_side = "left"
    loaded = load_model(model, getattr(torch, side.dtype))
    torch.nn.Module.to(loaded, task.device)
    generator: Any = loaded.eval()
    names = set(model.weights.names())
    generator.load_state_dict({name: model.weights.tensor(name) for name in names}, strict=False)
    origin = copy.deepcopy(generator.state_dict())
    random = RandomDirection(_SEED)
    direction = {name: random.tensor(name, there).to(there.dtype) for name, there in origin.items() if name in names}
    live, position = dict(generator.named_parameters()), 0.0
    for alpha in task.alphas:
        start = time.monotonic()
        with torch.no_grad():
            for name, step in direction.items():
                if name in live:
                    live[name].add_(step, alpha=alpha - position)
        position, moved = alpha, time.monotonic()
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
        complied = _complied(prompts, answers)
        yield PointTiming(alpha, moved - start, time.monotonic() - moved, read, written, complied)


def _by_engine(
    task: Task,
    side: Side,
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    chats: Sequence[str],
) -> Iterator[PointTiming]:
    probe = PromptProbe(name="harmful", source=task.prompts, prompts=tuple(prompts))
    survey = Survey.model_validate(
        {
            "model": task.model,
            "model_fingerprint": "",
            "engine": side.kind,
            "dtype": side.dtype,
            "device": task.device,
            "subspace": Lines(axes=(RandomAxis(seed=_SEED, span=_SPAN, steps=20),)),
            "probes": (probe,),
            "judges": (KEYWORD,),
            "max_new_tokens": task.max_new_tokens,
        }
    )
    engine = open_engine(survey, model, tokenizer, {probe.name: chats})
    read = prefill_tokens(tokenizer, chats)
    for alpha in task.alphas:
        start = time.monotonic()
        engine.move_to(Point(0, (alpha,)) if alpha else Point(None, (0.0,)))
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        moved = time.monotonic()
        given = engine.respond(chats, max_new_tokens=task.max_new_tokens, stop=KeywordJudge.stop)
        complied = _complied(prompts, [response.text for response in given])
        written = sum(response.tokens for response in given)
        yield PointTiming(alpha, moved - start, time.monotonic() - moved, read, written, complied)
    engine.close()


def prefill_tokens(tokenizer: PreTrainedTokenizerBase, chats: Sequence[str]) -> int:
    """Return the number of tokens to prefill: the common prefix of all prompts once, and the rest of each."""
    rows = tokenizer(list(chats), add_special_tokens=False)["input_ids"]
    shared = common_prefix_length(rows)
    return shared + sum(len(row) - shared for row in rows)


def _complied(prompts: Sequence[str], answers: Sequence[str]) -> tuple[bool, ...]:
    exchanges = [Exchange(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    return tuple(verdict.outcome is Outcome.COMPLIED for verdict in KeywordJudge().judge(exchanges))


def matmul_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Return the rate of matrix products on a device, in floating-point operations per second.

    It is the best of several products of square random matrices; with constant matrices a GPU is faster, because it
    draws less power.
    """
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def peak_bytes(device: torch.device) -> int:
    """Return the peak resident memory of this process; on a GPU, the peak of allocated memory there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
