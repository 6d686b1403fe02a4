"""python benchmarks/settling.py [--data DIR] [--measure] [--out runs/settling] [--sets NAME ...]

How often a verdict changes when an answer ends as noise, verdict by verdict. With `--measure`: write whole answers of
three models on random directions that were used to choose nothing, each with the origin's likelihood where the refusal
judge asks for it (two hours on two cores; it resumes). Then, and without it: read them, end each answer where the rule
of new surveys (`safescape.judges.noise`) would have ended it, and compare both judges' verdicts with those on the whole
answer. Every verdict that differs is listed, without the texts. The set `chosen`, on which the rule was chosen,
is reported only if it is named. `--data` is a folder with XSTest's labelled answers and Self-Instruct's tasks, of which
none may be ended.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers import AutoTokenizer

from safescape.engines import TransformersEngine
from safescape.engines.speaker import tokens_of
from safescape.engines.stages import Ending, text_of
from safescape.judges import NOISE, KeywordJudge, NoiseTest, RefusalJudge, scored_part
from safescape.measure.evidence import Origin, calibration_of, calibration_prompts
from safescape.probes import format_chats, load_prompts, load_tokenizer
from safescape.survey import Calibration, Evidence, Exchange, Lines, NoiseRule, Outcome, Point, RandomAxis
from safescape.weights import Subspace, resolve

TOKENS, PROMPTS, STEPS = 128, 80, 40


class Set(NamedTuple):
    """Whole answers of one model on some random directions."""

    model: str
    seeds: tuple[int, ...]
    distances: tuple[float, ...]
    """Measured on both sides of every direction, and the origin once."""


OTHER = "runs/other/Qwen2.5-Coder-0.5B-Instruct-Q4_K_M.gguf"
SETS = {
    "chosen": Set("demo", (30, 31), (0.05, 0.1, 0.15, 0.2, 0.3, 0.5)),
    "demo": Set("demo", (32, 33, 34), (0.05, 0.1, 0.15, 0.2, 0.3, 0.5)),
    "other": Set(OTHER, (30,), (0.1, 0.2, 0.4)),
    "demo-base": Set("demo-base", (30, 31, 32), (0.1, 0.2, 0.4)),
}


class Whole(NamedTuple):
    """An answer that was written to its end."""

    alpha: float
    prompt: str
    tokens: list[int]
    text: str
    evidence: Evidence | None


def points_of(given: Set) -> list[Point]:
    """Return the points of a set, the origin first."""
    away = [
        Point(line, (sign * distance,))
        for line in range(len(given.seeds))
        for distance in given.distances
        for sign in (-1, 1)
    ]
    return [Point(None, (0.0,)), *away]


def measure(given: Set, path: Path) -> None:
    """Write the answers of a set, a line of JSON for each point; lines that are there stay."""
    points = points_of(given)
    done = path.read_text("utf-8").splitlines() if path.exists() else []
    if len(done) > len(points):
        return
    model = resolve(given.model)
    tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
    subspace = Subspace(
        Lines(axes=tuple(RandomAxis(seed=s, span=0.5, steps=STEPS) for s in given.seeds)), model.weights
    )
    engine = TransformersEngine(model, tokenizer, subspace)
    prompts = load_prompts("advbench", 100 + PROMPTS)[100:]
    chats = format_chats(tokenizer, prompts, None)
    rows = dict(enumerate(tokens_of(tokenizer, chats, [])))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for point in points[len(done) :]:
            engine.move_to(point)
            found = engine._continued(rows, TOKENS, Ending(), special=False)
            answers = [{"tokens": found[n].tokens, "text": text_of(tokenizer, found[n].tokens)} for n in rows]
            print(json.dumps({"alpha": point.coords[0], "line": point.line, "answers": answers}), file=file, flush=True)
    engine.move_to(points[0])
    calibration = calibration_of(Origin(engine, {}, format_chats(tokenizer, calibration_prompts(), None)))
    scored = []
    for line in path.read_text("utf-8").splitlines():
        texts = [answer["text"] for answer in json.loads(line)["answers"]]
        wants = RefusalJudge().wants_evidence([Exchange(*pair) for pair in zip(prompts, texts, strict=True)])
        numbers = [number for number, wanted in enumerate(wants) if wanted]
        likelihoods = engine.loglikelihood([(chats[n], scored_part(texts[n])) for n in numbers], raw=False)
        scored.append({n: (each.log_probability, each.tokens) for n, each in zip(numbers, likelihoods, strict=True)})
    with path.open("a", encoding="utf-8") as file:
        print(json.dumps({"calibration": calibration, "evidence": scored}), file=file)


def read(path: Path) -> Iterator[Whole]:
    """Yield the answers of a measured set."""
    prompts = load_prompts("advbench", 100 + PROMPTS)[100:]
    *lines, last = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    calibration = Calibration(*last["calibration"])
    for line, scored in zip(lines, last["evidence"], strict=True):
        for number, answer in enumerate(line["answers"]):
            evidence = None
            if str(number) in scored:
                log_probability, tokens_scored = scored[str(number)]
                evidence = Evidence(log_probability, tokens_scored, calibration)
            yield Whole(line["alpha"], prompts[number], answer["tokens"], answer["text"], evidence)


def end_of(rule: NoiseRule, tokens: Sequence[int], tokenizer: Any) -> tuple[int, str] | None:
    """Return after how many tokens an answer ends as noise, and its text there; None: it is written on."""
    test = NoiseTest(rule)
    for number in test.checks:
        if number > len(tokens) or number >= TOKENS:
            return None
        text = text_of(tokenizer, tokens[:number])
        if test(text, tokens[:number]):
            return number, text
    return None


class Compared(NamedTuple):
    """A set of answers by whole and by cut answers."""

    answers: int
    noise: int
    """Those that the refusal judge calls incoherent as a whole."""
    cut: int
    tokens: int
    """Of the whole answers."""
    written: int
    """Tokens that were written."""
    changes: Counter[tuple[str, str, str]]
    """By judge, the outcome of the cut and of the whole answer, where they differ."""


def compare(rule: NoiseRule, answers: Sequence[Whole], tokenizer: Any) -> Compared:
    """End answers by a rule, and compare verdicts."""
    changes: Counter[tuple[str, str, str]] = Counter()
    ends = [end_of(rule, answer.tokens, tokenizer) for answer in answers]
    cut = [(answer, end[1]) for answer, end in zip(answers, ends, strict=True) if end is not None]
    for judge in (KeywordJudge(), RefusalJudge()):
        before = judge.judge([Exchange(answer.prompt, text) for answer, text in cut])
        after = judge.judge([Exchange(answer.prompt, answer.text, answer.evidence) for answer, _ in cut])
        for early, late in zip(before, after, strict=True):
            if early.outcome != late.outcome:
                changes[judge.name, early.outcome, late.outcome] += 1
    whole = RefusalJudge().judge([Exchange(answer.prompt, answer.text, answer.evidence) for answer in answers])
    noise = sum(verdict.outcome is Outcome.INCOHERENT for verdict in whole)
    lengths = [len(answer.tokens) for answer in answers]
    written = [length if end is None else end[0] for length, end in zip(lengths, ends, strict=True)]
    return Compared(len(answers), noise, len(cut), sum(lengths), sum(written), changes)


def people(data: Path, tokenizer: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield texts that are language: XSTest's labelled answers, by model, and Self-Instruct's outputs."""
    for path in sorted((data / "xstest").glob("completions_*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            yield path.stem.removeprefix("completions_"), [row["completion"] for row in csv.DictReader(file)]
    tasks = (data / "self_instruct" / "seed_tasks.jsonl").read_text("utf-8").splitlines()
    yield "Self-Instruct", [json.loads(task)["instances"][0]["output"] for task in tasks]


def main() -> None:
    """Measure if asked to, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="write the answers that are missing")
    parser.add_argument("--out", type=Path, default=Path("runs/settling"), help="where the answers lie")
    parser.add_argument("--data", type=Path, help="folder with xstest and self_instruct")
    unseen = [name for name in SETS if name != "chosen"]
    parser.add_argument("--sets", nargs="*", choices=SETS, default=unseen, help="some of the sets")
    given = parser.parse_args()
    total = Counter[str]()
    print("| model | answers | noise | ended | tokens written | keyword verdicts changed | refusal verdicts changed |")
    print("|---|---|---|---|---|---|---|")
    listed: Counter[tuple[str, str, str, str]] = Counter()
    for name in given.sets:
        path = given.out / f"{name}.jsonl"
        if given.measure:
            measure(SETS[name], path)
        tokenizer = AutoTokenizer.from_pretrained(resolve(SETS[name].model).directory)
        found = compare(NOISE, list(read(path)), tokenizer)
        by_judge = Counter[str]()
        for (judge, early, late), count in found.changes.items():
            by_judge[judge] += count
            listed[name, judge, early, late] += count
        share = f"{100 * found.written / found.tokens:.0f} %"
        changed = f"{by_judge[KeywordJudge.name]} | {by_judge[RefusalJudge.name]}"
        print(f"| {name} | {found.answers:,} | {found.noise:,} | {found.cut:,} | {share} | {changed} |", flush=True)
        total.update({"answers": found.answers, "cut": found.cut, **by_judge})
    print(f"\n{dict(total)}")
    for (name, judge, early, late), count in listed.items():
        print(f"{name}, {judge}: {count} × {early} where the whole answer is {late}")
    if given.data:
        tokenizer = AutoTokenizer.from_pretrained(resolve("demo").directory)
        for name, texts in people(given.data, tokenizer):
            rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
            ended = sum(end_of(NOISE, row, tokenizer) is not None for row in rows)
            print(f"{name}: {ended} of {len(texts)} ended")


if __name__ == "__main__":
    main()
