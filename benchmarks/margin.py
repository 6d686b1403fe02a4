"""python benchmarks/margin.py RUN [RUN ...] [--judge keyword] [--picture FILE]

Compare the refusal margin with the decoded answers of finished runs that asked both of the same prompts, as

    safescape scan demo --quick --prompts advbench --also margin:advbench --also-limit 40 --out runs/margin

does. For every answer at every point it takes the margin of the same prompt at the same point, and prints how well the
margin tells refusals from the other answers: the area under the ROC curve (AUROC) with a 95 % interval over prompts (a
bootstrap that draws whole prompts, as the answers to one prompt at many points are not independent), and the margin at
which half of the answers refuse, by isotonic regression. Rows: all answers; those at the origin alone; those of points
where the ASR is between 5 and 95 %, which no threshold on the point alone tells apart. `--picture` draws the points.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from safescape.errors import InputError
from safescape.store import Store
from safescape.survey import MarginProbe, Outcome, Point

Array = NDArray[np.float64]
_RESAMPLES = 1000


class Answers(NamedTuple):
    """Answers with their margins, by point and prompt: (points, prompts)."""

    points: tuple[Point, ...]
    margins: Array
    refused: NDArray[np.bool_]

    def at(self, rows: NDArray[np.bool_]) -> Answers:
        """Return those at some points."""
        kept = tuple(point for point, row in zip(self.points, rows, strict=True) if row)
        return Answers(kept, self.margins[rows], self.refused[rows])


def answers_of(run: Path, judge: str) -> Answers:
    """Return the answers to the first probe of a run that its margins belong to.

    Raises:
        InputError: the run has no margins of its prompts, or the judge did not read it.

    """
    with Store.read(run) as store:
        survey, measured = store.survey, store.points.measured()
    probe = next((probe for probe in survey.probes if isinstance(probe, MarginProbe)), None)
    prompts = survey.prompts.prompts
    if probe is None:
        raise InputError(f"{run}: has no refusal margins; scan with --also margin:PROMPTS")
    number = min(len(prompts), len(probe.prompts))
    if prompts[:number] != probe.prompts[:number]:
        raise InputError(f"{run}: its margins are of other prompts than its answers; give both the same PROMPTS")
    outcomes = {entry.point: entry.outcomes for entry in measured if entry.probe == survey.prompts.name}
    scores = {entry.point: entry.scores for entry in measured if entry.probe == probe.name}
    points = tuple(point for point in survey.points() if point in outcomes and point in scores)
    if any(judge not in outcomes[point] for point in points):
        raise InputError(f"{run}: {judge} has not read its answers; expected one of {', '.join(survey.judges)}")
    return Answers(
        points,
        np.array([[score.value for score in scores[point][:number]] for point in points]),
        np.array([[found is Outcome.REFUSED for found in outcomes[point][judge][:number]] for point in points]),
    )


def auroc(margins: Array, refused: NDArray[np.bool_]) -> float:
    """Return the probability that a refusal has a larger margin than another answer; ties count half."""
    values, places, counts = np.unique(margins, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    of_refused = ranks[places][refused]
    m, n = refused.sum(), (~refused).sum()
    return float((of_refused.sum() - m * (m + 1) / 2) / (m * n)) if m and n and len(values) else float("nan")


def interval(found: Answers) -> tuple[float, float]:
    """Return the 95 % interval of the AUROC over prompts."""
    draw, number = np.random.default_rng(0), found.margins.shape[1]
    drawn = [draw.integers(number, size=number) for _ in range(_RESAMPLES)]
    values = [auroc(found.margins[:, each].ravel(), found.refused[:, each].ravel()) for each in drawn]
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return float(low), float(high)


def half(found: Answers) -> float:
    """Return the margin at which half of the answers refuse, by isotonic regression (pool adjacent violators)."""
    order = np.argsort(found.margins, axis=None)
    pools: list[tuple[float, int, float]] = []
    for margin, refused in zip(found.margins.ravel()[order], found.refused.ravel()[order], strict=True):
        pools.append((float(refused), 1, float(margin)))
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] >= pools[-1][0] / pools[-1][1]:
            (one, m, _), (two, n, last) = pools[-2:]
            pools[-2:] = [(one + two, m + n, last)]
    below = [last for refusals, count, last in pools if refusals / count < 0.5]
    return below[-1] if below and len(below) < len(pools) else float("nan")


def rows(found: Answers) -> Iterator[tuple[str, Answers]]:
    """Yield what is compared: all answers, those at the origin, and those where some are refused and some are not."""
    yield "all points", found
    origin = np.array([point.is_origin for point in found.points])
    yield "the origin", found.at(origin)
    asr = 100 * (1 - found.refused.mean(axis=1))
    yield "ASR from 5 to 95 %", found.at((asr >= 5) & (asr <= 95))


def draw_picture(runs: dict[str, Answers], judge: str, file: Path) -> None:
    """Draw the share of refusals over the mean margin, a mark for each point, and the margins of single answers."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.6), layout="constrained")
    for number, (name, found) in enumerate(runs.items()):
        marker = "os^Dv"[number % 5]
        share = 100 * found.refused.mean(axis=1)
        left.scatter(found.margins.mean(axis=1), share, marker=marker, s=26, alpha=0.8, label=name)
    left.axvline(0.0, color="grey", linewidth=0.8, linestyle="--")
    left.set_xlabel("mean refusal margin of a point, nats")
    left.set_ylabel(f"refused, {judge} judge (%)")
    left.legend(fontsize=8)
    margins = np.concatenate([found.margins.ravel() for found in runs.values()])
    refused = np.concatenate([found.refused.ravel() for found in runs.values()])
    bins = np.linspace(margins.min(), margins.max(), 40)
    right.hist([margins[refused], margins[~refused]], bins=bins, stacked=True, label=["refused", "not refused"])
    right.axvline(0.0, color="grey", linewidth=0.8, linestyle="--")
    right.set_xlabel("refusal margin of an answer's prompt, nats")
    right.set_ylabel("answers")
    right.legend(fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)


def main() -> None:
    """Print the table, and draw the picture if it is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--judge", default="keyword")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    try:
        runs = {str(run): answers_of(run, given.judge) for run in given.runs}
    except InputError as error:
        parser.exit(2, f"error: {error}\n")
    print("| run | answers of | number | refused | AUROC | 95 % interval | half refuse at |")
    print("|---|---|---|---|---|---|---|")
    for name, every in runs.items():
        for what, found in rows(every):
            if not found.points or found.refused.all() or not found.refused.any():
                print(f"| {name} | {what} | {found.refused.size} | {found.refused.sum()} | – | – | – |")
                continue
            low, high = interval(found)
            value = auroc(found.margins.ravel(), found.refused.ravel())
            print(
                f"| {name} | {what} | {found.refused.size} | {found.refused.sum()} | {value:.3f} | "
                f"{low:.3f} to {high:.3f} | {half(found):.2f} nats |"
            )
    if given.picture is not None:
        draw_picture(runs, given.judge, given.picture)


if __name__ == "__main__":
    main()
