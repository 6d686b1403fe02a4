"""One side of the comparison: the same points, prompts, direction and decoding, each measured in a process of its own.

The reference procedure is written from its description (arXiv 2405.17374, section 3, and the released script): fp32,
the state dict deep-copied, the direction stored, the live weights walked from point to point by repeated addition,
prompts in batches of 4 padded on the left, `model.generate` for every answer until it ends by itself or is full.
"""

from __future__ import annotations

import copy
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from safescape.engines import is_vllm_here, open_engine, quiet
from safescape.judges import KeywordJudge
from safescape.probes import format_chats, load_prompts, load_tokenizer
from safescape.survey import KEYWORD, Exchange, Lines, Outcome, Point, PromptProbe, RandomAxis, Survey
from safescape.weights import Model, RandomDirection, resolve

__all__ = [
    "REFERENCE",
    "Measured",
    "Side",
    "Stop",
    "Task",
    "measure_side",
    "peak_bytes",
    "product_rate",
    "read_once",
    "sides_here",
]

_SEED, _SPAN = 0, 0.5


class Side(NamedTuple):
    """Who measures."""

    kind: str
    """`reference`, `generate`, or an engine."""
    dtype: str

    @property
    def name(self) -> str:
        """As it is called in tables."""
        return self.kind if self == REFERENCE else f"{self.kind}, {self.dtype}"


REFERENCE = Side("reference", "float32")
_REFERENCE_BATCH = 4


class Task(NamedTuple):
    """What every side measures."""

    model: str
    prompts: str
    limit: int
    max_new_tokens: int
    alphas: tuple[float, ...]
    """Along one random direction; 0 is the origin."""
    device: str


class Stop(NamedTuple):
    """One point as one side measured it."""

    alpha: float
    moving: float
    """Seconds."""
    answering: float
    """Seconds, with judging."""
    read: int
    """Tokens of prompts that had to be read: what all begin with once."""
    written: int
    """Tokens of answers."""
    complied: tuple[bool, ...]
    """By prompt, as the keyword judge sees it."""


class Measured(NamedTuple):
    """What a side measured."""

    side: Side
    points: tuple[Stop, ...]
    peak_bytes: int
    """The most memory that its process ever had resident; on a GPU, that was allocated there."""
    rate: float
    """Of matrix products in its dtype on this machine, floating-point operations a second."""

    @property
    def seconds(self) -> float:
        """From the loaded model to the last verdict."""
        return sum(point.moving + point.answering for point in self.points)


def sides_here() -> tuple[Side, ...]:
    """Return the sides that this machine has."""
    both = ("float32", "bfloat16")
    engines = ("transformers", "vllm") if is_vllm_here() else ("transformers",)
    return (REFERENCE, *(Side(kind, dtype) for kind in ("generate", *engines) for dtype in both))


def measure_side(task: Task, side: Side) -> Measured:
    """Measure in this process, which should be a fresh one.

    Raises:
        InputError: the model or the prompts cannot be used.

    """
    model = resolve(task.model)
    tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
    prompts = load_prompts(task.prompts, task.limit)
    chats = format_chats(tokenizer, prompts, None)
    rate = product_rate(getattr(torch, side.dtype), torch.device(task.device))
    if side.kind in ("reference", "generate"):
        batch = _REFERENCE_BATCH if side == REFERENCE else len(chats)
        points = tuple(_plainly(task, side, model, tokenizer, prompts, chats, batch))
    else:
        points = tuple(_by_engine(task, side, model, tokenizer, prompts, chats))
    return Measured(side, points, peak_bytes(torch.device(task.device)), rate)


def _plainly(
    task: Task,
    side: Side,
    found: Model,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    chats: Sequence[str],
    batch: int,
) -> Iterator[Stop]:
    tokenizer.padding_side = "left"
    with quiet():
        loaded: Any = AutoModelForCausalLM.from_pretrained(found.directory, dtype=getattr(torch, side.dtype))
    torch.nn.Module.to(loaded, task.device)
    model: Any = loaded.eval()
    model.load_state_dict({name: found.weights.tensor(name) for name in found.weights.names()}, strict=False)
    origin = copy.deepcopy(model.state_dict())
    names = set(found.weights.names())
    random = RandomDirection(_SEED)
    direction = {name: random.tensor(name, there).to(there.dtype) for name, there in origin.items() if name in names}
    live, stood = dict(model.named_parameters()), 0.0
    for alpha in task.alphas:
        start = time.monotonic()
        with torch.no_grad():
            for name, step in direction.items():
                if name in live:
                    live[name].add_(step, alpha=alpha - stood)
        stood, moved = alpha, time.monotonic()
        answers: list[str] = []
        written = read = 0
        for first in range(0, len(chats), batch):
            texts = list(chats[first : first + batch])
            asked = tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt").to(task.device)
            with torch.no_grad():
                output = model.generate(**asked, max_new_tokens=task.max_new_tokens, do_sample=False)
            new = output[:, asked["input_ids"].shape[1] :]
            read, written = read + asked["input_ids"].numel(), written + new.numel()
            answers += tokenizer.batch_decode(new, skip_special_tokens=True)
        complied = _complied(prompts, answers)
        yield Stop(alpha, moved - start, time.monotonic() - moved, read, written, complied)


def _by_engine(
    task: Task,
    side: Side,
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    chats: Sequence[str],
) -> Iterator[Stop]:
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
    read = read_once(tokenizer, chats)
    for alpha in task.alphas:
        start = time.monotonic()
        engine.move_to(Point(0, (alpha,)) if alpha else Point(None, (0.0,)))
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        moved = time.monotonic()
        given = engine.respond(chats, max_new_tokens=task.max_new_tokens, stop=KeywordJudge.stop)
        complied = _complied(prompts, [response.text for response in given])
        written = sum(response.tokens for response in given)
        yield Stop(alpha, moved - start, time.monotonic() - moved, read, written, complied)
    engine.close()


def read_once(tokenizer: PreTrainedTokenizerBase, chats: Sequence[str]) -> int:
    """Return how many tokens of prompts have to be read: what all begin with once, and the rest of each."""
    rows = tokenizer(list(chats), add_special_tokens=False)["input_ids"]
    shared = next((n for n, column in enumerate(zip(*rows, strict=False)) if len(set(column)) > 1), 0)
    return shared + sum(len(row) - shared for row in rows)


def _complied(prompts: Sequence[str], answers: Sequence[str]) -> tuple[bool, ...]:
    exchanges = [Exchange(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    return tuple(verdict.outcome is Outcome.COMPLIED for verdict in KeywordJudge().judge(exchanges))


def product_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Return the floating-point operations a second of matrix products here.

    The best of several of square matrices of random numbers: of ones a GPU makes more a second.
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
    """Return the most memory that this process ever had resident; on a GPU, that was allocated there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
