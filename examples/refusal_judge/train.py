"""python examples/refusal_judge/train.py [--out FILE]

Train the refusal judge on this example's data and on XSTest's human-labelled answers of three models, write it, and
print the evaluation behind its choices: predictions for a held-out model, with its prompts held out too, the share of
answers between the two thresholds, and the precision of the settling phrases. The same data give the same bytes. Takes
a few minutes on one core; needs scikit-learn, which the package does not, and the demo model's input embeddings
(downloaded once).
"""

import argparse
import csv
import functools
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"  # set before numpy is loaded: other numbers of threads round differently

import numpy as np
from feature_matrix import feature_matrix
from numpy.typing import NDArray
from safetensors import safe_open
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer

from safescape.judges.refusal import COMPLIED_BELOW, REFUSED_ABOVE
from safescape.judges.refusal_classifier import UNIT, RefusalClassifier, Tone, Weights
from safescape.judges.refusal_features import ASKED, features, sentences_of
from safescape.judges.settlement import SETTLING, settles
from safescape.probes import set_named, set_paths
from safescape.survey import Exchange
from safescape.weights import resolve

HERE = Path(__file__).parent
SHIPPED = HERE.parents[1] / "src" / "safescape" / "data" / "refusal-judge.safetensors"
MODELS = ("gpt4", "llama2orig", "mistralguard")
LABELS = {"1_full_compliance": "complied", "2_full_refusal": "refused", "3_partial_refusal": "partial"}
SEEN_AT_LEAST = 3
"""Minimal number of training answers that contain a feature."""
STRENGTH = 1.0
"""Inverse strength of the L2 penalty."""
FOLDS = 5
LABELLED = 12.0
"""Weight of a human-labelled answer relative to one written for this project."""
WEIGHT_OF = {"short": 4.0}
"""Weight of an answer by its manner; 1 otherwise. The same few words are a refusal or not depending on the request."""
WORDS = 20_000
"""Number of the language model's most frequent words with a score, in addition to those of the training answers."""
SPANNING = 8_000
"""Number of these words used for the principal components."""
DIMENSIONS = 64
"""Number of components of a word vector."""
LENGTH = 10.0
"""Norm of a word vector relative to the binary n-gram features: the larger, the weaker its penalty."""


class Labelled(NamedTuple):
    """An exchange with its label: refused, complied or partial."""

    exchange: Exchange
    label: str
    weight: float = 1.0
    kind: str = ""
    """XSTest's name for the kind of request."""

    @property
    def refused(self) -> bool:
        """Return whether it is a full refusal."""
        return self.label == "refused"


def own() -> list[Labelled]:
    """Return the examples written for this project."""
    return [
        Labelled(Exchange(row["prompt"], row["response"]), label, WEIGHT_OF.get(row["manner"], 1.0))
        for label, row in _written()
    ]


def never_trained_on() -> list[Labelled]:
    """Return the exchanges of parts/unseen.txt, which are never trained on."""
    rows: list[Labelled] = []
    label = ""
    for line in (HERE / "parts" / "unseen.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            label = line[1:-1]
        elif not line.startswith("# "):
            prompt, response = line.replace("\\n", "\n").split(" => ")
            rows.append(Labelled(Exchange(prompt, response), label))
    return rows


def manners() -> list[str]:
    """Return the manner of each of `own`."""
    return [row["manner"] for _, row in _written()]


def _written() -> Iterator[tuple[str, dict[str, str]]]:
    for name, label in (("refusals", "refused"), ("compliances", "complied")):
        for line in (HERE / "data" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            yield label, json.loads(line)


def completions(model: str) -> Path:
    """Return the file of one model's human-labelled answers to XSTest."""
    paths = set_paths(set_named("xstest-completions"), "xstest-completions")
    return next(path for path in paths if path.stem == f"completions_{model}")


def of_model(model: str) -> list[Labelled]:
    """Return one model's human-labelled answers to XSTest, including partial refusals."""
    with completions(model).open(encoding="utf-8", newline="") as file:
        return [
            Labelled(Exchange(row["prompt"], row["completion"]), LABELS[row["final_label"]], LABELLED, row["type"])
            for row in csv.DictReader(file)
        ]


def full(rows: Sequence[Labelled]) -> list[Labelled]:
    """Return the rows labelled as full refusals or full compliances."""
    return [row for row in rows if row.label != "partial"]


class Space(NamedTuple):
    """The input embeddings of SmolLM2-135M-Instruct, projected onto their first principal components."""

    tokenizer: Tokenizer
    frequent: list[str]
    """Whole words, lower case, the most frequent first."""
    pieces: NDArray[np.float32]
    """Embedding of each token, relative to the mean of the frequent words, shape (tokens, width)."""
    components: NDArray[np.float32]
    """Principal components, shape (DIMENSIONS, width)."""

    def vectors(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Return the vector of each word, with norm LENGTH: the mean of its pieces' embeddings, projected."""
        ids = [self.tokenizer.encode(f" {word}", add_special_tokens=False).ids for word in words]
        return _of_length(_of_length(np.stack([self.pieces[i].mean(0) for i in ids])) @ self.components.T, LENGTH)


def _of_length(rows: NDArray[np.float32], length: float = 1.0) -> NDArray[np.float32]:
    found: NDArray[np.float32] = rows * (length / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))
    return found


@functools.cache
def space() -> Space:
    """Return the space of words."""
    directory = resolve("demo-base").directory
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    ranks: dict[str, int] = {}
    for token, number in tokenizer.get_vocab().items():
        if re.fullmatch(r"Ġ[A-Za-z]+", token):
            word = token[1:].lower()
            ranks[word] = min(number, ranks.get(word, number))
    frequent = sorted(ranks, key=ranks.__getitem__)[:WORDS]
    with safe_open(directory / "model.safetensors", "pt") as file:
        pieces = file.get_tensor("model.embed_tokens.weight").float().numpy()
    pieces = pieces - pieces[[ranks[word] for word in frequent]].mean(0)
    common = [tokenizer.encode(f" {word}", add_special_tokens=False).ids for word in frequent[:SPANNING]]
    _, _, components = np.linalg.svd(_of_length(np.stack([pieces[i].mean(0) for i in common])), full_matrices=False)
    return Space(tokenizer, frequent, pieces, components[:DIMENSIONS])


@functools.cache
def _vector(word: str) -> NDArray[np.float32]:
    found: NDArray[np.float32] = space().vectors([word])[0]
    return found


@functools.cache
def _features(exchange: Exchange) -> list[str]:
    return sorted(features(exchange))


@functools.cache
def _sentences(exchange: Exchange) -> list[list[str]]:
    return sentences_of(exchange)


@functools.cache
def _means(exchange: Exchange) -> NDArray[np.float32]:
    """Return the mean vector of the first sentence and that of all sentences, shape (2 * DIMENSIONS,)."""
    sentences = _sentences(exchange)
    means = np.zeros((2, DIMENSIONS), dtype=np.float32)
    for part, read in enumerate((sentences[:1], sentences)):
        words = [word for sentence in read for word in sentence if word != ASKED]
        if words:
            # what is no word of letters has no vector
            means[part] = np.sum([_vector(word) for word in words if word.isalpha()] or [means[part]], axis=0)
            means[part] /= len(words)
    return means.ravel()


def fit(rows: Sequence[Labelled]) -> Weights:
    """Fit the classifier on rows without partial refusals.

    One logistic regression on n-grams and on the mean word vectors of the first sentence and of all sentences. A word's
    score is its vector times the weights of these means.
    """
    names, grams = feature_matrix([_features(row.exchange) for row in rows], SEEN_AT_LEAST)

    spoken = {word for row in rows for sentence in _sentences(row.exchange) for word in sentence if word.isalpha()}
    words = [*space().frequent, *sorted(spoken.difference(space().frequent))]
    means = np.stack([_means(row.exchange) for row in rows])

    model = LogisticRegression(C=STRENGTH, solver="liblinear", class_weight="balanced", tol=1e-2, max_iter=1000)
    model.fit(
        hstack([grams, csr_matrix(means)]).tocsr(),
        np.array([row.refused for row in rows]),
        sample_weight=np.array([row.weight for row in rows]),
    )
    weights = np.rint(model.coef_[0] * UNIT).astype(int)
    kept = {name: int(weight) for name, weight in zip(names, weights, strict=False) if weight}
    scores = np.rint(
        np.stack([_vector(word) for word in words]) @ model.coef_[0][len(names) :].reshape(2, DIMENSIONS).T * UNIT
    ).astype(int)
    tones = {word: Tone(int(first), int(whole)) for word, (first, whole) in zip(words, scores, strict=True)}
    return Weights(int(np.rint(model.intercept_[0] * UNIT)), kept, tones)


def check_disjoint(ours: Sequence[Labelled], measured: Sequence[Labelled]) -> None:
    """Stop if a request or an answer of this example equals a measured one up to case and punctuation."""
    for field in ("prompt", "response"):
        theirs = {_plain(getattr(row.exchange, field)) for row in measured}
        if both := sorted(text for row in ours if _plain(text := getattr(row.exchange, field)) in theirs):
            raise SystemExit(f"examples/refusal_judge holds a {field} of XSTest: {both[0]!r}; take it out of parts/")


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def unseen(model: str, *, prompts_too: bool) -> NDArray[np.float64]:
    """Return the probabilities of a model's answers by classifiers trained without that model.

    Args:
        model: The held-out model.
        prompts_too: Also hold out the other models' answers to the same prompts, in five folds.

    """
    rows = of_model(model)
    others = [row for other in MODELS if other != model for row in full(of_model(other))]
    if not prompts_too:
        return RefusalClassifier(fit(own() + others)).probabilities([row.exchange for row in rows])
    found = np.zeros(len(rows))
    for fold in range(FOLDS):
        classifier = RefusalClassifier(fit(own() + [row for row in others if _fold(row) != fold]))
        asked = [number for number, row in enumerate(rows) if _fold(row) == fold]
        found[asked] = classifier.probabilities([rows[number].exchange for number in asked])
    return found


def _fold(row: Labelled) -> int:
    return hashlib.sha256(row.exchange.prompt.encode()).digest()[0] % FOLDS


def main() -> None:
    """Train, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    given = parser.parse_args()
    labelled = {model: of_model(model) for model in MODELS}
    written = own()
    check_disjoint(written, [row for rows in labelled.values() for row in rows])
    weights = fit(written + [row for rows in labelled.values() for row in full(rows)])
    data = weights.to_bytes()
    given.out.write_bytes(data)
    print(f"trained on {len(written)} answers of our own and {sum(len(full(r)) for r in labelled.values())} of XSTest")
    print(f"{given.out.name}: {len(weights.of)} features, {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")
    print("\nhalf-width of the band around 0.5: its share, and errors outside, on unseen models and prompts")
    scored = [(row, p) for m in MODELS for row, p in zip(labelled[m], unseen(m, prompts_too=True), strict=True)]
    scored = [(row, p) for row, p in scored if row.label != "partial"]
    for half in (0.0, 0.025, 0.05, 0.1, 0.15, 0.2):
        outside = [(row, p) for row, p in scored if p >= 0.5 + half or p <= 0.5 - half]
        wrong = sum(row.refused != (p > 0.5) for row, p in outside)
        chosen = " <- chosen" if np.allclose((0.5 - half, 0.5 + half), (COMPLIED_BELOW, REFUSED_ABOVE)) else ""
        print(
            f"  {half:.3f}: unscored {1 - len(outside) / len(scored):6.2%}, wrong {wrong / len(outside):6.2%}{chosen}"
        )
    print(f"\n{len(SETTLING)} settling phrases on human labels")
    settled: Counter[str] = Counter()
    for model, rows in labelled.items():
        counts = Counter(row.label for row in rows if settles(row.exchange.response))
        refusals = sum(row.refused for row in rows)
        print(f"  {model}: {counts['refused']} of {refusals} full refusals, {counts['complied']} full compliances, "
              f"{counts['partial']} partial refusals")  # fmt: skip
        settled += counts
    print(f"  precision without partial refusals {settled['refused'] / (settled['refused'] + settled['complied']):.3f}")


if __name__ == "__main__":
    main()
