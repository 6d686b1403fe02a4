"""python benchmarks/page.py [--steps 20] [--prompts 80] [--tokens 512] [--out DIR] [--chromium /usr/bin/chromium]

Measure the size and speed of the page of a large run: a synthetic plane (441 points, 80 answers each, up to 512
tokens), written as report.html and served by `safescape view`, opened in a real Chromium by Playwright.

The answers determine the size. Inside the basin they are refusals of one sentence, stopped as soon as the judge can
tell. Outside they are noise of full length: random words, which hardly compress, followed by a loop, which compresses
to almost nothing. The proportions by distance are those of the demo model (`NOISE`), printed by

    safescape scan demo --directions 2 --steps 8 --span 0.7 --limit 16 --whole-answers --max-new-tokens 512 --out noise
    python benchmarks/page.py --noise noise
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import lzma
import math
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from transformers import AutoTokenizer

from safescape.landscape import landscape_of
from safescape.store import Store
from safescape.survey import (
    Answer,
    Finish,
    Outcome,
    Plane,
    Position,
    PromptProbe,
    RandomAxis,
    Response,
    Survey,
    Verdict,
)
from safescape.views import render_page
from safescape.weights import resolve

ROOT = Path(__file__).parents[1]
MEGABYTE = 1e6
EDGE = 0.15
"""Edge of the synthetic basin, close to the demo model's."""
NOISE = ((0.175, 910, 33), (0.35, 910, 340), (0.525, 2081, 722), (0.7, 2213, 906))
"""Distance from the origin; characters of an answer of 512 tokens there; its compressed bytes among others."""
FRESH = 0.37
"""Compressed bytes per character of the random words used here."""
LIMITS = {"opens, s": 2.0, "moves, ms": 100.0, "report.html, MB": 15.0}


def words_of_the_docs() -> list[str]:
    """Return English words with their frequencies."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))]
    return re.findall(r"\S+", " ".join(texts))


class Noise:
    """Answers of a model outside its basin."""

    def __init__(self, tokens: int) -> None:
        self._draw = random.Random(0)
        found = sorted(set(words_of_the_docs()))
        self._draw.shuffle(found)
        # the words of a broken model, the most frequent first
        self._words = found
        self._weights = list(accumulate(1 / (rank + 2) for rank in range(len(found))))
        self._part = tokens / 512

    def text(self, far: float) -> str:
        """Return an answer at a distance from the origin: random words, then a repetition of the last ones."""
        _, length, folded = min(NOISE, key=lambda known: abs(known[0] - far))
        fresh = folded / FRESH * self._draw.uniform(0.5, 1.5)
        words = self._draw.choices(self._words, cum_weights=self._weights, k=max(1, round(fresh * self._part / 7)))
        text = " ".join(words)
        loop = " " + " ".join(words[-self._draw.randrange(1, 6) :])
        missing = round(length * self._part) - len(text)
        return text + (loop * (1 + missing // len(loop)) if missing > 0 else "")


def noise_of(directory: Path) -> None:
    """Print the noise of a real run by distance, then its compressibility from |α| = 0.3 on."""
    found: dict[float, list[str]] = {}
    sizes: dict[float, int] = {}
    packed = dict.fromkeys(("gzip", "bzip2", "xz"), 0.0)
    with Store.read(directory) as store:
        tokenizer = AutoTokenizer.from_pretrained(resolve(store.survey.model).directory)
        counts: Counter[int] = Counter()
        for point in store.points.finished():
            far = math.hypot(*point.coords)
            texts = [told.response.text for _, told in store.points.answers(point, store.survey.prompts.name)]
            found.setdefault(far, []).extend(texts)
            together = "\0".join(texts).encode()
            sizes[far] = sizes.get(far, 0) + len(gzip.compress(together, 9))
            if far >= 0.3:
                packed["gzip"] += len(gzip.compress(together, 9))
                packed["bzip2"] += len(bz2.compress(together, 9))
                packed["xz"] += len(lzma.compress(together, preset=9))
                for text in texts:
                    counts.update(tokenizer(text, add_special_tokens=False)["input_ids"])
    for far, texts in sorted(found.items()):
        print(f"({far:g}, {sum(map(len, texts)) / len(texts):.0f}, {sizes[far] / len(texts):.0f})")
    total = sum(counts.values())
    packed["frequencies of its tokens"] = sum(count * math.log2(total / count) for count in counts.values()) / 8
    print("bytes a token:", ", ".join(f"{name} {size / total:.2f}" for name, size in packed.items()))


def make_run(directory: Path, steps: int, prompts: int, tokens: int) -> None:
    """Write a run of a plane like a scan's."""
    asked = tuple(f"Write the text number {n} that nobody should write" for n in range(prompts))
    survey = Survey(
        model="example/Model-7B-chat",
        model_fingerprint="sha256:" + "ab" * 32,
        max_new_tokens=tokens,
        judges=("keyword", "refusal"),
        subspace=Plane(axes=(RandomAxis(seed=0, span=0.5, steps=steps), RandomAxis(seed=1, span=0.5, steps=steps))),
        probes=(PromptProbe(name="harmful", source="made", prompts=asked),),
    )
    noise, draw = Noise(tokens), random.Random(1)
    with Store.claim(directory, survey) as store:
        session = store.begin_session(origin="sha256:" + "ab" * 32, noise_device="cpu", versions={})
        for judge in survey.judges:
            store.verdicts.register(judge, {})
        for point in survey.points():
            far = math.hypot(*point.coords)
            broken = 1 / (1 + math.exp(-(far - EDGE) / 0.015))
            answers = [noisy(noise.text(far), tokens, draw) if draw.random() < broken else refused() for _ in asked]
            store.points.add(
                point, position=Position(point.coords, 0.0), seconds=1.0, session=session, answers={"harmful": answers}
            )
        store.end_session(session, origin="sha256:" + "ab" * 32)


def refused() -> Answer:
    """Return a refusal, settled after one sentence."""
    verdict = Verdict(Outcome.REFUSED, "I'm sorry", 0.0123)
    text = "I'm sorry, but I can't assist with that."
    return Answer(
        Response(text, Finish.SETTLED, 11), {"keyword": Verdict(Outcome.REFUSED, "I'm sorry"), "refusal": verdict}
    )


def noisy(text: str, tokens: int, draw: random.Random) -> Answer:
    """Return noise with each judge's verdict."""
    seen = Verdict(Outcome.INCOHERENT, "words out of order", round(draw.random() / 10, 4))
    return Answer(Response(text, Finish.LENGTH, tokens), {"keyword": Verdict(Outcome.COMPLIED), "refusal": seen})


OPENED = "() => document.querySelector('#list details') && document.querySelector('#plot[data-ready]')"
MOVES = """async () => {
    const times = [];
    const list = document.getElementById("list");
    // within a row of 20 steps, from its middle
    for (const key of [...Array(8).fill("ArrowRight"), ...Array(16).fill("ArrowLeft")]) {
        const { point } = list.dataset;
        const began = performance.now();
        dispatchEvent(new KeyboardEvent("keydown", { key }));
        while (list.dataset.point === point) await new Promise(requestAnimationFrame);
        // the frame in which it is painted, and the one after
        await new Promise(requestAnimationFrame);
        times.push(performance.now() - began);
    }
    return times.sort((a, b) => a - b);
}"""


def use(page: Page, address: str) -> dict[str, float]:
    """Open a page and move between points."""
    began = time.perf_counter()
    page.goto(address)
    read = time.perf_counter() - began
    page.wait_for_function(OPENED)
    opened = time.perf_counter() - began
    times = page.evaluate(MOVES)
    return {"read, s": read, "opens, s": opened, "moves, ms": times[len(times) // 2], "slowest move, ms": times[-1]}


@contextmanager
def viewing(directory: Path) -> Iterator[str]:
    """Run `safescape view`, and yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "safescape", "view", str(directory), "--no-open", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield f"http://127.0.0.1:{port}/run?run=run"
        process.terminate()


def main() -> None:
    """Build the run, write its page, use it, and print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--prompts", type=int, default=80)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--noise", type=Path, help="a run: print its noise and nothing else")
    given = parser.parse_args()
    if given.noise:
        noise_of(given.noise)
        return
    with tempfile.TemporaryDirectory() as scratch:
        directory = (given.out or Path(scratch)) / "run"
        if not (directory / "run.sqlite").exists():
            make_run(directory, given.steps, given.prompts, given.tokens)
        report = directory / "report.html"
        with Store.read(directory) as store:
            texts = sum(
                len(told.response.text) for p in store.survey.points() for _, told in store.points.answers(p, "harmful")
            )
            print(f"{(given.steps + 1) ** 2} points, {given.prompts} answers each, {texts / MEGABYTE:.1f} MB of text")
            began = time.perf_counter()
            landscape = landscape_of(store.survey, store.points.measured())
            report.write_text(render_page(store, landscape), encoding="utf-8")
        print(f"written in {time.perf_counter() - began:.1f} s")
        say("report.html, MB", report.stat().st_size / MEGABYTE)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=given.chromium, args=["--no-sandbox", "--disable-gpu"])
            with viewing(directory.parent) as served:
                for home, address in (("report.html", report.as_uri()), ("safescape view", served)):
                    page = browser.new_page(viewport={"width": 1280, "height": 900})
                    print(home)
                    for what, value in use(page, address).items():
                        say(what, value)
                    page.close()
            browser.close()


def say(what: str, value: float) -> None:
    """Print a figure and whether it meets its target."""
    limit = LIMITS.get(what)
    kept = "" if limit is None else f"   {'within' if value < limit else 'MISSES'} {limit:g}"
    print(f"  {what:<18} {value:8.2f}{kept}")


if __name__ == "__main__":
    main()
