"""python benchmarks/judge_error.py [--repetitions N] [--seed N]

Simulate how often the 95 % intervals of `safescape agree` and of the corrected rates hold the truth: judges of known
sensitivity and specificity, measured on 50 to 800 labels, half of them compliances, and rates of 0 to 95 % on 80
prompts. Wanted is 93 to 97 %; near a rate of 0 the interval is conservative, since neither its lower end nor the truth
can be less. The last table is of labels that are a stratified sample of a run, as `safescape label` draws it. Takes
about ten minutes on one core; 2000 repetitions have a standard error of 0.5 points.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence

import numpy as np

from safescape.landscape import (
    JudgeError,
    Origin,
    ScoredCounts,
    corrected_rate,
    draw_sample,
    judge_error_of,
    sampled_strata,
)
from safescape.survey import Label, LabelledAnswer, Outcome, Stratum

JUDGES = ((0.99, 0.99), (0.95, 0.90), (0.80, 0.98), (0.98, 0.75))
"""Sensitivity and specificity."""
LABELS = (50, 100, 200, 400, 800)
RATES = (0.0, 0.02, 0.1, 0.5, 0.95)
PROMPTS = 80


def error_of(labelled: Sequence[LabelledAnswer], strata: Sequence[Stratum] = ()) -> JudgeError:
    """Return a judge's measured error."""
    return judge_error_of("simulated", {}, labelled, origin=Origin.RUN, about="", given="", strata=strata)


def plain_labels(draw: np.random.Generator, n: int, sensitivity: float, specificity: float) -> list[LabelledAnswer]:
    """Return `n` labels, half of them compliances, with the judge's outcomes."""
    found = []
    for label, count, right in (
        (Label.COMPLIED, n // 2, sensitivity),
        (Label.REFUSED, n - n // 2, 1 - specificity),
    ):
        called = int(draw.binomial(count, right))
        found += [LabelledAnswer(label, Outcome.COMPLIED)] * called
        found += [LabelledAnswer(label, Outcome.REFUSED)] * (count - called)
    return found


def run_labels(
    draw: np.random.Generator, n: int, sensitivity: float, specificity: float, rates: tuple[float, float]
) -> tuple[list[LabelledAnswer], tuple[Stratum, ...], tuple[float, ...]]:
    """Return the labels of a stratified sample of a run with 1600 answers, near (the first rate) and far.

    And the judge's sensitivity and specificity on all of its answers.
    """
    strata: dict[int, str] = {}
    truth: dict[int, bool] = {}
    says: dict[int, bool] = {}
    for half, rate in zip(("near", "far"), rates, strict=True):
        for _ in range(800):
            row = len(truth)
            truth[row] = bool(draw.random() < rate)
            says[row] = bool(draw.random() < (sensitivity if truth[row] else 1 - specificity))
            strata[row] = f"{half}, {'complied' if says[row] else 'refused'}"
    sample = [row._replace(label=Label.REFUSED) for row in draw_sample(strata, n, int(draw.integers(2**31)))]
    labelled = [
        LabelledAnswer(
            Label.COMPLIED if truth[row.response] else Label.REFUSED,
            Outcome.COMPLIED if says[row.response] else Outcome.REFUSED,
            row.stratum,
        )
        for row in sample
    ]
    realised = tuple(
        float(np.mean([says[row] == complied for row in truth if truth[row] is complied])) for complied in (True, False)
    )
    return labelled, sampled_strata(sample, says_known=True), realised


def holds(error: JudgeError, sensitivity: float, specificity: float) -> list[bool]:
    """Return whether the intervals of sensitivity and specificity hold the truth."""
    return [
        figure.low is not None and figure.high is not None and figure.low <= 100 * truth <= figure.high
        for figure, truth in ((error.sensitivity, sensitivity), (error.specificity, specificity))
    ]


def corrected_holds(draw: np.random.Generator, error: JudgeError, sensitivity: float, specificity: float,
                    rate: float) -> bool:  # fmt: skip
    """Return whether the interval of one corrected rate holds the truth."""
    complied = int(draw.binomial(PROMPTS, rate * sensitivity + (1 - rate) * (1 - specificity)))
    found = corrected_rate(ScoredCounts(complied, PROMPTS, 0), error)
    return found.low is not None and found.high is not None and found.low <= 100 * rate <= found.high


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw = np.random.default_rng(given.seed)
    print(f"share of {given.repetitions} intervals that hold the truth, %\n")
    heading = "".join(f"{f'{100 * rate:g} %':>8}" for rate in RATES)
    print(f"{'sensitivity':>11}{'specificity':>12}{'labels':>8}{'sens.':>8}{'spec.':>8}   corrected rate of{heading}")
    for sensitivity, specificity in JUDGES:
        for n in LABELS:
            counts: Counter[object] = Counter()
            for _ in range(given.repetitions):
                error = error_of(plain_labels(draw, n, sensitivity, specificity))
                counts.update(zip(("sens", "spec"), holds(error, sensitivity, specificity), strict=True))
                for rate in RATES:
                    counts[rate, corrected_holds(draw, error, sensitivity, specificity, rate)] += 1
            keys = [("sens", True), ("spec", True), *((rate, True) for rate in RATES)]
            first, second, *rest = (100 * counts[key] / given.repetitions for key in keys)
            print(f"{sensitivity:>11.2f}{specificity:>12.2f}{n:>8}{first:>8.1f}{second:>8.1f}{'':>20}"
                  + "".join(f"{share:>8.1f}" for share in rest), flush=True)  # fmt: skip
    print("\na stratified sample of a run of 1600 answers, of which 2 % comply near the origin and 60 % far from it;")
    print("the truth is the judge's error on all of them\n")
    print(f"{'sensitivity':>11}{'specificity':>12}{'labels':>8}{'sens.':>8}{'spec.':>8}{'width of sens.':>16}")
    for sensitivity, specificity in JUDGES:
        for n in LABELS[:3]:
            counts, widths, measured = Counter(), [], 0
            for _ in range(given.repetitions // 4):
                labelled, strata, realised = run_labels(draw, n, sensitivity, specificity, (0.02, 0.6))
                error = error_of(labelled, strata)
                measured += 1
                counts.update(zip(("sens", "spec"), holds(error, *realised), strict=True))
                widths.append((error.sensitivity.high or 0.0) - (error.sensitivity.low or 0.0))
            first, second = (100 * counts[name, True] / measured for name in ("sens", "spec"))
            print(f"{sensitivity:>11.2f}{specificity:>12.2f}{n:>8}{first:>8.1f}{second:>8.1f}{np.mean(widths):>16.1f}",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
