"""python benchmarks/judges.py

Measure the agreement of the judges with human labels on the answers of held-out models. Each model of XSTest's labelled
answers is held out in turn: the refusal classifier is trained on the other model and on the examples of
examples/refusal_judge, and judges the held-out one; the row "prompts too" also holds out the other model's answers to
the same prompts. kappa is computed on full refusals and full compliances, once with an unscored answer as an error and
once on scored answers only; intervals are 95 % of a bootstrap over answers. Partial refusals are reported separately.
Also measured: answers cut to about 128 tokens, the settling phrases, the agreement of the two annotators, the
hand-written examples (held out fold by fold), two public sets without refusals, parts/unseen.txt, random words, and the
speed on one core. Takes one to several minutes; needs scikit-learn, the demo model, and the public sets
`xstest-completions`, `advbench` and `self-instruct`.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # set before numpy is loaded: the speed is measured on one core

import numpy as np
from numpy.typing import NDArray

from safescape.judges import KeywordJudge
from safescape.judges.refusal import COMPLIED_BELOW, REFUSED_ABOVE
from safescape.judges.refusal_classifier import RefusalClassifier, settles
from safescape.probes import set_named, set_paths
from safescape.survey import Exchange, Outcome

ROOT = Path(__file__).parents[1]
DRAWS = 2000
CUT = 600
"""Number of characters in about 128 tokens of English."""
Judged = NDArray[np.int8]
"""Codes: 1 refused, 0 complied, -1 unscored."""


def training() -> ModuleType:
    """Import the example's training script, which is not a package."""
    spec = importlib.util.spec_from_file_location("refusal_training", ROOT / "examples" / "refusal_judge" / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Print the tables."""
    train = training()
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(f"{'left out':<11}{'judge':<22}{'kappa':<19}{'kappa, scored':<19}{'precision':<19}{'recall':<19}"
          f"{'unscored':>9}{'partial':>9}{'n':>5}")  # fmt: skip
    for model in train.MODELS:
        rows = train.of_model(model)
        short = [row._replace(exchange=row.exchange._replace(response=row.exchange.response[:CUT])) for row in rows]
        others = [row for other in train.MODELS if other != model for row in train.full(train.of_model(other))]
        classifier = RefusalClassifier(train.fit(train.own() + others))
        print_row(model, "keyword", by_keyword(rows), rows)
        print_row(model, "refusal", by_classifier(classifier, rows), rows)
        print_row(model, "refusal, prompts too", outcomes(train.unseen(model, prompts_too=True)), rows)
        print_row(model, "refusal, 600 letters", by_classifier(classifier, short), rows)
        print_row(model, "settling phrases", np.array([settles(r.exchange.response) for r in rows], np.int8), rows)
        print_people(train, model)
    print("\npartial: the share of partial refusals that are called refused\n")
    print_by_hand(train)
    print_without_refusals()
    print_speed([row.exchange for model in train.MODELS for row in train.of_model(model)])


def outcomes(probabilities: NDArray[np.float64]) -> Judged:
    """Return the outcomes by the two thresholds."""
    unsure = (probabilities < REFUSED_ABOVE) & (probabilities > COMPLIED_BELOW)
    return np.where(unsure, -1, probabilities >= REFUSED_ABOVE).astype(np.int8)


def by_classifier(classifier: RefusalClassifier, rows: list[Any]) -> Judged:
    """Return the classifier's verdicts."""
    return outcomes(classifier.probabilities([row.exchange for row in rows]))


def by_keyword(rows: list[Any]) -> Judged:
    """Return the verdicts of the keyword judge, which leaves nothing unscored."""
    verdicts = KeywordJudge().judge([row.exchange for row in rows])
    return np.array([verdict.outcome is Outcome.REFUSED for verdict in verdicts], np.int8)


def kappa(judged: Judged, people: Judged) -> float:
    """Return Cohen's kappa with unscored answers as errors."""
    said = np.where(judged < 0, 1 - people, judged)
    agree, a, b = np.mean(said == people), np.mean(said), np.mean(people)
    chance = a * b + (1 - a) * (1 - b)
    return float((agree - chance) / (1 - chance)) if chance < 1 else float("nan")


def scored_kappa(judged: Judged, people: Judged) -> float:
    """Return Cohen's kappa on the scored answers."""
    return kappa(judged[judged >= 0], people[judged >= 0])


def precision(judged: Judged, people: Judged) -> float:
    """Return the precision of refusals."""
    return float(people[judged == 1].mean()) if (judged == 1).any() else float("nan")


def recall(judged: Judged, people: Judged) -> float:
    """Return the recall of refusals; an unscored one counts as missed."""
    return float((judged[people == 1] == 1).mean())


def interval(measure: Callable[[Judged, Judged], float], judged: Judged, people: Judged) -> str:
    """Format a value with its 95 % interval."""
    draw = np.random.default_rng(0)
    picks = (draw.integers(0, len(people), len(people)) for _ in range(DRAWS))
    low, high = np.nanquantile([measure(judged[pick], people[pick]) for pick in picks], [0.025, 0.975])
    return f"{measure(judged, people):.3f} {low:.3f}-{high:.3f}"


def print_row(model: str, judge: str, judged: Judged, rows: list[Any]) -> None:
    """Print the row of one judge on one model's answers."""
    whole = np.array([row.label != "partial" for row in rows])
    people = np.array([row.refused for row in rows], np.int8)[whole]
    shown = [f"{interval(m, judged[whole], people):<19}" for m in (kappa, scored_kappa, precision, recall)]
    print(f"{model:<11}{judge:<22}{''.join(shown)}{np.mean(judged[whole] < 0):>9.1%}"
          f"{np.mean(judged[~whole] == 1):>9.0%}{len(people):>5}", flush=True)  # fmt: skip


def print_people(train: ModuleType, model: str) -> None:
    """Print the agreement of the two annotators, where both saw a full refusal or a full compliance."""
    with train.completions(model).open(encoding="utf-8", newline="") as file:
        pairs = [(row["annotation_1"], row["annotation_2"]) for row in csv.DictReader(file)]
    both = np.array([[label[0] == "2" for label in pair] for pair in pairs if all(x[0] in "12" for x in pair)], np.int8)
    print(f"{model:<11}{'the other person':<22}{interval(kappa, both[:, 0], both[:, 1])}{'n':>70} = {len(both)}")


def print_by_hand(train: ModuleType) -> None:
    """Print the outcomes on hand-written refusals and answers, held out fold by fold."""
    labelled = [row for model in train.MODELS for row in train.full(train.of_model(model))]
    written = train.own()
    manners = np.array(train.manners())
    whole = np.isin(manners, ("argument", "answer", "argued", "plain"))
    folds = np.where(whole, np.random.default_rng(0).integers(0, train.FOLDS, len(written)), -1)
    judged = np.zeros(len(written), np.int8)
    for fold in range(train.FOLDS):
        kept = [row for row, its in zip(written, folds, strict=True) if its != fold]
        left = np.flatnonzero(folds == fold)
        judged[left] = by_classifier(RefusalClassifier(train.fit(kept + labelled)), [written[i] for i in left])
    for name, manner in (
        ("refusals written out whole, left out", "argument"),
        ("answers written out whole, left out", "answer"),
        ("refusals that speak of the request, left out", "argued"),
        ("answers that speak of the request, left out", "plain"),
    ):
        print_shares(name, judged[manners == manner])
    never = train.never_trained_on()
    verdicts = by_classifier(RefusalClassifier(train.fit(written + labelled)), never)
    people = np.array([row.refused for row in never])
    print_shares("parts/unseen.txt, never trained on: refusals", verdicts[people])
    print_shares("parts/unseen.txt, never trained on: answers", verdicts[~people])


def print_shares(name: str, judged: Judged) -> None:
    """Print the shares that are refused and unscored."""
    print(f"{name}: {np.mean(judged == 1):.1%} refused, {np.mean(judged < 0):.1%} unscored, n = {len(judged)}")


def print_without_refusals() -> None:
    """Print the false positive rate of the shipped judge on sets without refusals."""
    (advbench,), (seeds,) = (set_paths(set_named(name), name) for name in ("advbench", "self-instruct"))
    with advbench.open(encoding="utf-8", newline="") as file:
        openings = [Exchange(row["goal"], row["target"]) for row in csv.DictReader(file)]
    tasks = [json.loads(line) for line in seeds.read_text("utf-8").splitlines()]
    outputs = [Exchange(f"{t['instruction']} {t['instances'][0]['input']}", t["instances"][0]["output"]) for t in tasks]
    draw = random.Random(0)
    words = [word for given in openings for word in f"{given.prompt} {given.response}".split()]
    salad = [
        Exchange(given.prompt, " ".join(draw.choice(words) for _ in range(draw.randint(5, 90)))) for given in openings
    ]
    for name, given in (
        ("AdvBench's affirmative openings", openings),
        ("AdvBench's words, at random", salad),
        ("Self-Instruct's outputs", outputs),
    ):
        print_shares(name, outcomes(RefusalClassifier().probabilities(given)))


def print_speed(given: list[Exchange]) -> None:
    """Print responses of about 128 tokens per second of processor time; the best of five passes."""
    long = [exchange._replace(response=exchange.response[:CUT]) for exchange in given if len(exchange.response) >= CUT]
    classifier = RefusalClassifier()
    classifier.probabilities(long[:1])
    seconds = []
    for _ in range(5):
        start = time.process_time()
        classifier.probabilities(long)
        seconds.append(time.process_time() - start)
    print(f"speed: {len(long) / min(seconds):.0f} responses of {CUT} characters a second on one core, n = {len(long)}")


if __name__ == "__main__":
    main()
