"""A small part of the simulation in benchmarks/intervals.py: how often intervals hold the truth."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from safescape.landscape.intervals import paired_difference, paired_ratio

RUNS = 150


@pytest.mark.parametrize(
    ("shape", "directions", "prompts"),
    [("steep", 1, 40), ("step", 1, 20), ("gradual", 3, 40), ("floor 4 %", 5, 20), ("leak 1 %", 3, 80)],
)
def test_intervals_hold_the_truth(intervals: ModuleType, shape: str, directions: int, prompts: int) -> None:
    held = intervals.coverage(shape, directions, prompts, RUNS)
    # of 150 intervals that hold the truth with a probability of 93 %, fewer than 87 % do once in 300 times
    assert all(share >= 87.0 for share in held.covered.values()), held.covered


def test_a_percentile_bootstrap_over_three_directions_does_not(intervals: ModuleType) -> None:
    held = intervals.coverage("steep", 3, 40, RUNS, intervals.by_bootstrap)
    assert held.covered["safety_auc"] < 87.0
    assert held.covered["basin_radius"] < 87.0


def test_the_rates_of_the_simulation_are_those_of_many_prompts(intervals: ModuleType) -> None:
    for name in intervals.SHAPES:
        world, draw = intervals.World(name, 20), np.random.default_rng(0)
        edges = world.directions(draw, 2)
        seen = 100.0 * world.prompts(draw, edges, 20_000).mean(axis=2)
        assert np.abs(seen - world.rates(edges)).max() < 2.0, name


@pytest.mark.parametrize(("one", "both"), [(0.0, 0.05), (0.1, 0.1), (0.3, 0.2)])
def test_paired_rates_hold_their_difference_and_ratio(one: float, both: float) -> None:
    """Items are a hit in both with probability `both`, in the first alone with `one`, in the second alone with 0.05."""
    draw, n, held, ratios = np.random.default_rng(0), 40, 0, 0
    for _ in range(1000):
        chance = draw.random(n)
        hits, others = chance < both + one, (chance < both) | (chance > 0.95)
        low, high = paired_difference(hits, others)
        held += low <= 100.0 * (one - 0.05) <= high
        low, high = paired_ratio(hits, others)
        ratios += low <= (both + one) / (both + 0.05) <= high
    assert 930 <= held <= 1000
    assert 930 <= ratios <= 1000


def test_no_hit_in_either_leaves_a_difference_open_in_both_directions() -> None:
    nothing = np.zeros(40, dtype=bool)
    low, high = paired_difference(nothing, nothing)
    assert (low, high) == pytest.approx((-8.76, 8.76), abs=0.01)
    assert paired_ratio(nothing, nothing) == (0.0, np.inf)
