"""python benchmarks/adapters.py

Measure the cost of an answer in vLLM with an unmerged adapter (`--adapter unmerged`) and with moved weights: the line
from demo-base to demo, float32, whole answers, each configuration once after a warm-up.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch

from safescape.engines import TokenCounts, VllmEngine
from safescape.engines.vllm.lora import LoadedAdapters
from safescape.probes import format_chats, load_prompts, load_tokenizer
from safescape.survey import InterpolationAxis, Lines, Point, Response
from safescape.weights import Subspace, resolve

POINTS = tuple(Point(0, (alpha,)) for alpha in (0.25, 0.5, 0.75, 1.0))
TOKENS = 24


class Side(NamedTuple):
    """The times and the answers of one configuration."""

    moving: float
    """Seconds."""
    answering: float
    """Seconds."""
    answers: list[Response]


def opened(prompts: int, *, unmerged: bool) -> tuple[VllmEngine, list[str]]:
    """Return vLLM at demo-base, and the rendered prompts."""
    model = resolve("demo-base")
    tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
    axis = InterpolationAxis(toward="demo", fingerprint="", steps=4, low=0.0, high=1.0)
    adapters = LoadedAdapters(axis, len(POINTS), torch.float32) if unmerged else None
    most = prompts * len(POINTS)
    engine = VllmEngine(
        model,
        tokenizer,
        Subspace(Lines(axes=(axis,)), model.weights),
        batch_size=most,
        counts=TokenCounts(256, 256, most * 256),
        adapters=adapters,
    )
    return engine, format_chats(tokenizer, load_prompts("builtin:harmful", prompts), None)


def one_by_one(engine: VllmEngine, chats: Sequence[str]) -> Side:
    """Answer at one point after another."""
    moving = answering = 0.0
    answers: list[Response] = []
    for point in POINTS:
        start = time.perf_counter()
        engine.move_to(point)
        there = time.perf_counter()
        answers += engine.respond(chats, max_new_tokens=TOKENS, stop=())
        moving, answering = moving + there - start, answering + time.perf_counter() - there
    return Side(moving, answering, answers)


def together(engine: VllmEngine, chats: Sequence[str]) -> Side:
    """Answer at all points in one batch."""
    start = time.perf_counter()
    engine.stand_at(POINTS)
    there = time.perf_counter()
    answers = engine.respond(list(chats) * len(POINTS), max_new_tokens=TOKENS, stop=())
    return Side(there - start, time.perf_counter() - there, answers)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=8)
    prompts: int = parser.parse_args().prompts
    sides: dict[str, Side] = {}
    for unmerged in (False, True):
        engine, chats = opened(prompts, unmerged=unmerged)
        one_by_one(engine, chats[:1])  # warm-up
        sides["unmerged, one point at a time" if unmerged else "merged"] = one_by_one(engine, chats)
        if unmerged:
            engine.move_to(Point(None, (0.0,)))
            sides[f"unmerged, {len(POINTS)} points per batch"] = together(engine, chats)
        engine.close()
    merged = sides["merged"]
    print(f"{len(POINTS)} points, {prompts} prompts, {TOKENS} tokens, float32, {torch.get_num_threads()} threads\n")
    print("| configuration | s per move | ms per answer | relative to merged | identical answers |")
    print("|---|---|---|---|---|")
    for name, side in sides.items():
        alike = sum(a == b for a, b in zip(side.answers, merged.answers, strict=True))
        print(
            f"| {name} | {side.moving / len(POINTS):.2f} | {1000 * side.answering / len(side.answers):.0f} "
            f"| {side.answering / merged.answering:.1f} | {alike} of {len(side.answers)} |"
        )


if __name__ == "__main__":
    main()
