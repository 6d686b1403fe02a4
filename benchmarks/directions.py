"""python benchmarks/directions.py [--model demo] [--prompts advbench] [--limit 40] [--max-new-tokens 64]

Measure what a computed direction costs: the gradient, the removal of the refusal direction and the worst move in 10
steps, each from 32 prompts;
and what the refusal margin of some prompts costs at one point, beside decoding the answers to them, at the origin and
away from it along a random direction. Prints Markdown. Run it with nothing else to do: torch uses every core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from transformers import PreTrainedTokenizerBase

from safescape.engines import TransformersEngine, margin_gradient, refusal_ablation, worst_move
from safescape.judges import KeywordJudge
from safescape.measure import ask, margins, shipped_requests, tokenizer_of_model
from safescape.probes import format_chats, margin_probe
from safescape.survey import Lines, MarginProbe, Point, RandomAxis
from safescape.weights import Model, Subspace, resolve

_PROMPTS, _STEPS = 32, 10
_LINE = Lines(axes=(RandomAxis(seed=0, span=0.5, steps=20),))
_POINTS = {"the origin": Point(None, (0.0,)), "α = 0.2": Point(0, (0.2,))}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--prompts", default="advbench")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    given = parser.parse_args()
    model = resolve(given.model)
    tokenizer = tokenizer_of_model(model)
    probe = margin_probe(f"margin:{given.prompts}", given.limit, None)
    costs_of_directions(model, tokenizer, margin_probe(f"margin:{given.prompts}", _PROMPTS, None))
    costs_of_margins(model, tokenizer, probe, given.max_new_tokens)


def costs_of_directions(model: Model, tokenizer: PreTrainedTokenizerBase, probe: MarginProbe) -> None:
    """Print the seconds that each direction takes, with the loading of the model."""
    harmful = format_chats(tokenizer, probe.prompts, None)
    harmless = format_chats(tokenizer, shipped_requests(), None)
    print("| direction | s |\n|---|---|")
    gradient = seconds_of(lambda: margin_gradient(model, tokenizer, harmful, probe.openings))
    print(f"| gradient, {len(harmful)} prompts | {gradient:.1f} |", flush=True)
    removal = seconds_of(lambda: refusal_ablation(model, tokenizer, harmful, probe.openings, harmless))
    print(f"| refusal, {len(harmful)} prompts | {removal:.1f} |", flush=True)
    asked = model, tokenizer, harmful, probe.openings, harmless
    worst = seconds_of(lambda: worst_move(*asked, radius=0.0001, steps=_STEPS, max_change=0.1))
    print(f"| worst, {len(harmful)} prompts, {_STEPS} steps | {worst:.1f} |\n", flush=True)


def costs_of_margins(model: Model, tokenizer: PreTrainedTokenizerBase, probe: MarginProbe, tokens: int) -> None:
    """Print the seconds that margins and answers take at each point, and their ratio."""
    chats = format_chats(tokenizer, probe.prompts, None)
    engine = TransformersEngine(model, tokenizer, Subspace(_LINE, model.weights))
    judge = KeywordJudge()
    print("| at | margins, s | answers, s | margins / answers |\n|---|---|---|---|")
    for name, point in _POINTS.items():
        engine.move_to(point)
        scored = seconds_of(lambda: margins(engine, probe, chats))
        decoded = seconds_of(lambda: ask(engine, chats, probe.prompts, {judge.name: judge}, max_new_tokens=tokens))
        print(f"| {name} | {scored:.2f} | {decoded:.2f} | {scored / decoded:.2f} |", flush=True)


def seconds_of(compute: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.monotonic()
    compute()
    return time.monotonic() - start


if __name__ == "__main__":
    main()
