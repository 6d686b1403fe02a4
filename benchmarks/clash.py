"""python benchmarks/clash.py [--runs 20000]

Simulate how often the keyword judge and the refusal judge are said to clash. By chance: an answer is a refusal or not,
and each judge mistakes it with the same probability, independently of the other, up to one half, where both toss a
coin; no clash should be found. By a contradiction: the keyword judge moreover misses a share of the refusals of a model
that refuses everything, as with a typographic apostrophe; a clash should be found. Prints both tables as Markdown.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from safescape.landscape.clash import LEVEL, Crossed

ANSWERS = (4, 5, 8, 20, 40, 80, 400)
ANSWERED = (0.0, 0.05, 0.2, 0.5, 0.8, 1.0)
"""Shares of requests that the model answers."""
MISTAKEN = (0.01, 0.05, 0.1, 0.2, 0.35, 0.5)
"""Probabilities that a judge is mistaken about an answer."""
MISSED = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares of refusals that the keyword judge moreover misses."""
_USUAL = 0.02


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 2)[2])
    parser.add_argument("--runs", type=int, default=20_000, help="simulated models for each cell")
    runs = parser.parse_args().runs
    print(f"| answers | clashes by chance, at most (aim: {LEVEL:.0%}) | answered | mistaken |\n|---:|---:|---:|---:|")
    for n in ANSWERS:
        found = [(clashing(runs, n, share, wrong), share, wrong) for share in ANSWERED for wrong in MISTAKEN]
        most, share, wrong = max(found)
        print(f"| {n} | {most:.2%} | {share:.0%} | {wrong:.0%} |", flush=True)
    print(f"\n| answers | {' | '.join(f'{share:.0%} missed' for share in MISSED)} |\n|---:|{'---:|' * len(MISSED)}")
    for n in ANSWERS:
        rates = (clashing(runs, n, 0.0, _USUAL, missed=share) for share in MISSED)
        print(f"| {n} | {' | '.join(f'{rate:.0%}' for rate in rates)} |", flush=True)


def clashing(runs: int, n: int, answered: float, wrong: float, missed: float = 0.0) -> float:
    """Return the share of simulated models about whose answers the judges are said to clash."""
    draw = np.random.default_rng([n, round(1000 * answered), round(1000 * wrong), round(1000 * missed)])

    def chance(probability: float) -> NDArray[np.bool_]:
        return draw.random((runs, n)) < probability

    answers = chance(answered)
    keyword, refusal = answers ^ chance(wrong), answers ^ chance(wrong)
    keyword |= chance(missed) & ~answers
    said = (keyword & refusal, keyword & ~refusal, ~keyword & refusal, ~keyword & ~refusal)
    tables, times = np.unique(np.stack([cell.sum(axis=1) for cell in said], axis=1), axis=0, return_counts=True)
    clashes = [Crossed(*map(int, table)).is_clash() for table in tables]
    return float(times[clashes].sum() / runs)


if __name__ == "__main__":
    main()
