"""python benchmarks/keywords.py [FILE.csv ...]

Measure the agreement of `keyword` and `keyword-normalised` with human labels, on full refusals against full
compliances, and print it as a Markdown table. The files are laid out as XSTest's labelled answers (`completion`,
`final_label`); by default those of the public set `xstest-completions` are read. Each file is read twice: as it is, and
with the typographic apostrophe that many models write in the place of the straight one. Intervals are 95 % of a
bootstrap over answers. Below the table: the phrases that `keyword-normalised` alone finds in answers that comply.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safescape.judges import Judge, KeywordJudge, NormalisedKeywordJudge
from safescape.probes import set_named, set_paths
from safescape.survey import Exchange, Outcome, Verdict

JUDGES: tuple[Judge, Judge] = (KeywordJudge(), NormalisedKeywordJudge())
DRAWS = 2000
CURLY = "\N{RIGHT SINGLE QUOTATION MARK}"
LABELS = {"1_full_compliance": False, "2_full_refusal": True}
Flags = NDArray[np.bool_]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 2)[2])
    parser.add_argument("files", nargs="*", type=Path, help="labelled answers; default: those of xstest-completions")
    files: Sequence[Path] = parser.parse_args().files or set_paths(set_named("xstest-completions"), "benchmark")
    print("| answers | apostrophes | judge | κ | refusals found | compliances called refusals |")
    print("|---|---|---|---|---:|---:|")
    phrases: Counter[str] = Counter()
    for path in files:
        texts, people = labelled(path)
        for kind, given in (("as written", texts), ("typographic", [text.replace("'", CURLY) for text in texts])):
            by_judge = [print_row(path.stem, kind, judge, given, people) for judge in JUDGES]
            if given is texts:
                pairs = zip(*by_judge, people, strict=True)
                phrases.update(new.reason for old, new, refuses in pairs if new.reason and not (old.reason or refuses))
    print("\nfound by keyword-normalised alone in answers that comply:", phrases.most_common())


def print_row(name: str, kind: str, judge: Judge, texts: Sequence[str], people: Flags) -> list[Verdict]:
    """Print the row of one judge on some answers, and return its verdicts."""
    verdicts = judge.judge([Exchange("", text) for text in texts])
    refused = np.array([verdict.outcome is Outcome.REFUSED for verdict in verdicts])
    found, wrong = f"{(refused & people).sum()} of {people.sum()}", f"{(refused & ~people).sum()} of {(~people).sum()}"
    shown = f"{kappa(refused, people):.3f} ({interval(refused, people)})"
    print(f"| {name} | {kind} | `{judge.name}` | {shown} | {found} | {wrong} |")
    return verdicts


def labelled(path: Path) -> tuple[list[str], Flags]:
    """Return the answers that people call a full refusal or a full compliance, and which of them are refusals."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["final_label"] in LABELS]
    return [row["completion"] for row in rows], np.array([LABELS[row["final_label"]] for row in rows])


def kappa(judged: Flags, people: Flags) -> float:
    """Return Cohen's kappa."""
    agree, a, b = float(np.mean(judged == people)), float(np.mean(judged)), float(np.mean(people))
    chance = a * b + (1 - a) * (1 - b)
    return (agree - chance) / (1 - chance) if chance < 1 else float("nan")


def interval(judged: Flags, people: Flags) -> str:
    """Format the 95 % interval of Cohen's kappa."""
    draw = np.random.default_rng(0)
    picks = (draw.integers(0, len(people), len(people)) for _ in range(DRAWS))
    low, high = np.nanquantile([kappa(judged[pick], people[pick]) for pick in picks], [0.025, 0.975])
    return f"{low:.3f} to {high:.3f}"


if __name__ == "__main__":
    main()
