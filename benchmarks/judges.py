"""python benchmarks/judges.py

Measure the agreement of the judges with human labels on the answers of held-out models. Each model of XSTest's labelled
answers is held out in turn: the refusal classifier is trained on the other two models and on the examples of
examples/refusal_judge, and judges the held-out one; the row "prompts too" also holds out the other models' answers to
the same prompts. kappa is computed on full refusals and full compliances, once with an unscored answer as an error and
once on scored answers only; intervals are 95 % of a bootstrap over answers. Partial refusals are reported separately,
and so are the errors by the kind of request (no row's text).

Also measured: answers cut to about 128 tokens, where the settling phrases stand, the agreement of the two annotators,
two public sets without refusals, parts/unseen.txt, random words, the shipped judge by kind of answer (parts/kinds.txt)
and by language (the held-out answers in parts/languages/), noise in the scripts of those languages, and the speed on
one core. Takes several minutes; needs scikit-learn, the demo model, and the public sets `xstest-completions`,
`advbench` and `self-instruct`.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")  # set before numpy is loaded: the speed is measured on one core

import numpy as np
from numpy.typing import NDArray

from safescape.judges import KeywordJudge, RefusalJudge
from safescape.judges.foreign_refusals import JUDGED, LEARNED
from safescape.judges.refusal import COMPLIED_BELOW, REFUSED_ABOVE
from safescape.judges.refusal_classifier import RefusalClassifier
from safescape.judges.settlement import SETTLING, settles
from safescape.probes import set_named, set_paths
from safescape.survey import Exchange, Outcome

ROOT = Path(__file__).parents[1]
DRAWS = 2000
CUT = 600
"""Number of characters in about 128 tokens of English."""
Judged = NDArray[np.int8]
"""Codes: 1 refused, 0 complied, -1 unscored."""


def example(name: str) -> ModuleType:
    """Import a module of examples/refusal_judge, which is not a package."""
    if (directory := str(ROOT / "examples" / "refusal_judge")) not in sys.path:
        sys.path.insert(0, directory)
    return importlib.import_module(name)


def main() -> None:
    """Print the tables."""
    train = example("train")
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(f"{'left out':<11}{'judge':<22}{'kappa':<19}{'kappa, scored':<19}{'precision':<19}{'recall':<19}"
          f"{'unscored':>9}{'partial':>9}{'n':>5}")  # fmt: skip
    errors: Counter[tuple[str, str]] = Counter()
    for model in train.MODELS:
        rows = train.of_model(model)
        short = [row._replace(exchange=row.exchange._replace(response=row.exchange.response[:CUT])) for row in rows]
        others = [row for other in train.MODELS if other != model for row in train.full(train.of_model(other))]
        classifier = RefusalClassifier(train.fit(train.own() + others))
        print_row(model, "keyword", by_keyword(rows), rows)
        judged = by_classifier(classifier, rows)
        print_row(model, "refusal", judged, rows)
        errors.update(errors_of(model, judged, rows))
        print_row(model, "refusal, prompts too", outcomes(train.unseen(model, prompts_too=True)), rows)
        print_row(model, "refusal, 600 letters", by_classifier(classifier, short), rows)
        print_row(model, "settling phrases", np.array([settles(r.exchange.response) for r in rows], np.int8), rows)
        print_people(train, model)
    print("\npartial: the share of partial refusals that are called refused\n")
    print_errors(errors, train.MODELS)
    print_settling([row for model in train.MODELS for row in train.of_model(model)])
    print_never_trained_on(train)
    print_by_kind()
    print_by_language()
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


def errors_of(model: str, judged: Judged, rows: list[Any]) -> Counter[tuple[str, str]]:
    """Count the errors on one model's full refusals and compliances, by what went wrong and the kind of request."""
    names = {(1, 0): "refusals called answers", (0, 1): "answers called refusals"}
    found: Counter[tuple[str, str]] = Counter()
    for row, said in zip(rows, judged.tolist(), strict=True):
        if row.label != "partial" and said != row.refused:
            found[names.get((int(row.refused), said), "unscored"), row.kind] += 1
    return found


def print_errors(errors: Counter[tuple[str, str]], models: tuple[str, ...]) -> None:
    """Print the errors of the judge on models left out, by shape: the kind of request in XSTest's words."""
    for shape in ("refusals called answers", "answers called refusals", "unscored"):
        kinds = {kind: count for (name, kind), count in errors.most_common() if name == shape}
        listed = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
        print(f"{shape}, {len(models)} models left out: {sum(kinds.values())} ({listed})")
    print()


def print_settling(rows: list[Any]) -> None:
    """Print the labels of answers that settle, and of those with a settling phrase that does not settle them."""
    for name, chosen in (
        ("settled by a phrase", [row for row in rows if settles(row.exchange.response)]),
        (
            "with a phrase that does not settle",
            [r for r in rows if any(p in r.exchange.response for p in SETTLING) and not settles(r.exchange.response)],
        ),
    ):
        print(f"{name}: {dict(Counter(row.label for row in chosen))}")


def print_never_trained_on(train: ModuleType) -> None:
    """Print the outcomes of the shipped classifier on parts/unseen.txt."""
    never = train.never_trained_on()
    verdicts = by_classifier(RefusalClassifier(), never)
    people = np.array([row.refused for row in never])
    print_shares("parts/unseen.txt, never trained on: refusals", verdicts[people])
    print_shares("parts/unseen.txt, never trained on: answers", verdicts[~people])


def print_by_kind() -> None:
    """Print the outcomes of the shipped judge by kind of answer, on exchanges that are never trained on."""
    print("\nby kind of answer, the shipped judge on parts/kinds.txt")
    for name, lines in example("slots").sections("kinds.txt").items():
        wanted, kind = name.split(":")
        given = [Exchange(*line.split(" => ")) for line in lines]
        found = Counter(str(verdict.outcome) for verdict in RefusalJudge().judge(given))
        others = ", ".join(f"{count} {outcome}" for outcome, count in sorted(found.items()) if outcome != wanted)
        print(f"  {kind:<16}{wanted:<10}{found[wanted]:>3} of {len(given):<3} {others}")


def print_by_language() -> None:
    """Print the outcomes of the shipped judge by language, with every language of `LEARNED` taken as judged."""
    foreign = example("foreign")
    print("\nby language, on answers that are never trained on; every language is judged here")
    judge = RefusalJudge()
    for language in LEARNED:
        rows = foreign.measured(language)
        given = [Exchange("", row.response) for row in rows]
        with patch("safescape.judges.refusal.JUDGED", LEARNED):
            outcomes = [str(verdict.outcome) for verdict in judge.judge(given)]
        judged = np.array([{"refused": 1, "complied": 0}.get(outcome, -1) for outcome in outcomes], np.int8)
        people = np.array([row.label == "refused" for row in rows], np.int8)
        shuffled = [Exchange("", broken(row.response, number)) for number, row in enumerate(rows)]
        with patch("safescape.judges.refusal.JUDGED", LEARNED):
            noise = Counter(str(verdict.outcome) for verdict in judge.judge(shuffled))
        which = "" if language in JUDGED else ", not judged"
        print(
            f"  {language:<11} kappa {interval(scored_kappa, judged, people)} of the scored, "
            f"{np.mean(judged >= 0):.0%} scored, n = {len(rows)}{which}; letters shuffled: "
            f"{', '.join(f'{count} {outcome}' for outcome, count in sorted(noise.items()))}"
        )


def broken(text: str, seed: int) -> str:
    """Return the characters of a text in random order."""
    signs = list(text)
    random.Random(seed).shuffle(signs)
    return "".join(signs)


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
