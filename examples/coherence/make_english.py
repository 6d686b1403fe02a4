"""python examples/coherence/make_english.py --book BOOK [--answers answers.jsonl]

Count the letters, words and word pairs of English text and write src/safescape/data/english.npz, which
`safescape.judges.english` reads. The file contains statistics, not text. The sources and their licences:

- answers of the model behind the demo (SmolLM2-135M-Instruct, Apache 2.0) to examples/demo_adapter/benign_requests.txt,
  asked here and kept in `--answers`;
- The Rust Programming Language (MIT or Apache 2.0), as rustup installs it: BOOK is its folder `book` of HTML pages;
- Self-Instruct's seed tasks and MT-Bench's questions (Apache 2.0) and three subjects of MMLU (MIT), downloaded once;
- docstrings of Python's standard library (PSF) and, as examples of code, a part of its sources;
- this project's data, the demo's requests, and its documentation.
"""

from __future__ import annotations

import argparse
import ast
import csv
import html.parser
import json
import random
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from safescape.judges.english import (
    FIRST_WORD,
    LETTERS,
    MARKS,
    PMI_STEP,
    TRIGRAM_STEP,
    class_of,
    ending_of,
    letters_of,
    tokens_of,
)
from safescape.probes import set_named, set_paths

REPOSITORY = Path(__file__).parents[2]
OUT = REPOSITORY / "src" / "safescape" / "data" / "english.npz"
SUBJECTS = ("abstract_algebra", "high_school_us_history", "us_foreign_policy")
"""Of MMLU."""
WORDS = 500
"""Number of the most frequent words with their own row and column in the table of word pairs."""
SEEN = 2
"""Minimal number of occurrences of a known word."""
CODE_CHARACTERS = 450_000
DOCSTRING_CHARACTERS = 700_000
PRIOR_NEIGHBOURS = 25.0
PRIOR_LETTERS = 4.0


def main() -> None:
    """Gather, count, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--book", type=Path, required=True)
    parser.add_argument("--answers", type=Path, default=Path("runs/coherence/base-answers.jsonl"))
    arguments = parser.parse_args()
    if not arguments.answers.exists():
        ask_the_base_model(arguments.answers)
    sources = {
        "answers": [row["text"] for row in rows(arguments.answers)],
        "book": [text_of(page) for page in sorted(arguments.book.glob("*.html")) if page.stem != "print"],
        "data": list(data_texts()),
        "docstrings": upto(DOCSTRING_CHARACTERS, docstrings()),
        "code": upto(CODE_CHARACTERS, sources_of_python()),
        "own": list(own_texts()),
    }
    for name, texts in sources.items():
        print(f"{name}: {len(texts)} texts, {sum(map(len, texts)):,} characters")
    texts = [text for some in sources.values() for text in some]
    write(texts)
    print(f"{OUT}: {OUT.stat().st_size:,} bytes")


def write(texts: list[str]) -> None:
    """Count and write."""
    counted = Counter(token.lower() for text in texts for token in tokens_of(text) if token[0].isalpha())
    frequent = [word for word, _ in counted.most_common(WORDS)]
    known = sorted(word for word, count in counted.items() if count >= SEEN and word not in set(frequent))
    number_of = {word: FIRST_WORD + place for place, word in enumerate(frequent)} | {
        word: ending_of(word) for word in known
    }
    number_of |= MARKS
    size = FIRST_WORD + WORDS
    pairs = np.zeros((size, size))
    for text in texts:
        classes = [class_of(token, number_of) for token in tokens_of(text)]
        np.add.at(pairs, (classes[:-1], classes[1:]), 1.0)
    pairs_left, pairs_right = pairs.sum(axis=1), pairs.sum(axis=0) + 0.5
    chance = pairs_right / pairs_right.sum()
    following = (pairs + PRIOR_NEIGHBOURS * chance) / (pairs_left + PRIOR_NEIGHBOURS)[:, None]
    pmi = np.log(following / chance)
    triples = np.zeros(LETTERS**3)
    for text in texts:
        letters = letters_of(text).astype(np.int64)
        np.add.at(triples, (letters[:-2] * LETTERS + letters[1:-1]) * LETTERS + letters[2:], 1.0)
    triples = triples.reshape(LETTERS, LETTERS, LETTERS)
    single = triples.sum(axis=(0, 1)) + 0.5
    single /= single.sum()
    double = triples.sum(axis=0)
    double = (double + PRIOR_LETTERS * single) / (double.sum(axis=1) + PRIOR_LETTERS)[:, None]
    triple = (triples + PRIOR_LETTERS * double) / (triples.sum(axis=2) + PRIOR_LETTERS)[:, :, None]
    OUT.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        OUT,
        pmi=np.clip(np.rint(pmi / PMI_STEP), -127, 127).astype(np.int8),
        trigrams=np.clip(np.rint(-np.log(triple) / TRIGRAM_STEP), 0, 255).astype(np.uint8).ravel(),
        frequent=np.frombuffer("\n".join(frequent).encode(), dtype=np.uint8),
        known=np.frombuffer("\n".join(known).encode(), dtype=np.uint8),
    )
    print(f"{len(known) + len(frequent):,} words")


def ask_the_base_model(path: Path) -> None:
    """Generate the demo base model's answers to benign requests, and store them."""
    from safescape.engines import TransformersEngine
    from safescape.probes import format_chats, load_tokenizer
    from safescape.survey import Lines, RandomAxis
    from safescape.weights import Subspace, resolve

    model = resolve("demo-base")
    tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
    subspace = Subspace(Lines(axes=(RandomAxis(seed=0, span=0.5, steps=20),)), model.weights)
    engine = TransformersEngine(model, tokenizer, subspace)
    requests = (REPOSITORY / "examples/demo_adapter/benign_requests.txt").read_text(encoding="utf-8").splitlines()
    requests = [request for request in requests if request.strip()]
    responses = engine.respond(format_chats(tokenizer, requests, None), max_new_tokens=256, stop=())
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for request, response in zip(requests, responses, strict=True):
            file.write(json.dumps({"prompt": request, "text": response.text}) + "\n")


class Prose(html.parser.HTMLParser):
    """Collects the text of a page's main part."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: D102
        self._inside = self._inside or tag == "main"

    def handle_endtag(self, tag: str) -> None:  # noqa: D102
        self._inside = self._inside and tag != "main"

    def handle_data(self, data: str) -> None:  # noqa: D102
        if self._inside:
            self.parts.append(data)


def text_of(page: Path) -> str:
    """Return the text of a page."""
    prose = Prose()
    prose.feed(page.read_text(encoding="utf-8"))
    return "".join(prose.parts)


def rows(path: Path) -> list[dict[str, str]]:
    """Read a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def data_texts() -> Iterator[str]:
    """Return questions and answers of the three data sets."""
    (tasks,), (questions,) = (set_paths(set_named(name), name) for name in ("self-instruct", "mt-bench"))
    for line in tasks.read_text(encoding="utf-8").splitlines():
        task = json.loads(line)
        yield task["instruction"]
        for instance in task["instances"]:
            yield from (instance["input"], instance["output"])
    for line in questions.read_text(encoding="utf-8").splitlines():
        yield from json.loads(line)["turns"]
    names = [f"mmlu:{subject}" for subject in SUBJECTS]
    for path in sorted(path for name in names for path in set_paths(set_named(name), name)):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                yield "\n".join(row[:-1])


def python_files() -> list[Path]:
    """Return the standard library's sources in a fixed shuffled order."""
    library = Path(sysconfig.get_path("stdlib"))
    paths = [path for path in sorted(library.rglob("*.py")) if not {"site-packages", "test"} & set(path.parts)]
    random.Random(0).shuffle(paths)
    return paths


def sources_of_python() -> Iterator[str]:
    """Return pieces of code."""
    for path in python_files():
        text = path.read_text(encoding="utf-8", errors="ignore")
        if 2000 < len(text) < 60_000:
            yield text[len(text) // 2 :][:2500]


def docstrings() -> Iterator[str]:
    """Return docstrings that are longer than a few lines."""
    for path in python_files():
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                if text and len(text) > 200:
                    yield text


def own_texts() -> Iterator[str]:
    """Return this project's own texts."""
    data = REPOSITORY / "src" / "safescape" / "data"
    for row in rows(data / "benign-answers.jsonl"):
        yield from (row["prompt"], row["response"])
    for name in ("benign.csv", "harmful.csv", "refusal-answers.txt"):
        yield from (data / name).read_text(encoding="utf-8").splitlines()
    for path in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))):
        yield path.read_text(encoding="utf-8")
    for path in sorted((REPOSITORY / "examples" / "demo_adapter").rglob("*.txt")):
        yield from path.read_text(encoding="utf-8").splitlines()


def upto(characters: int, texts: Iterator[str]) -> list[str]:
    """Take texts up to a total number of characters."""
    taken: list[str] = []
    total = 0
    for text in texts:
        if total >= characters:
            break
        taken.append(text)
        total += len(text)
    return taken


if __name__ == "__main__":
    main()
