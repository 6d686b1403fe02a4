"""python benchmarks/coherence.py [--runs runs/coherence] [--model demo] [--fit] [--text-only]

Measure the accuracy of the coherence classifier by kind of text, from the text alone and with the origin's likelihood,
and the cost of each. Expected are incoherent for answers far from the origin, and coherent for answers near it and for
human-labelled answers (XSTest's completions by GPT-4 and Llama 2). Random directions and XSTest rows used for fitting
are not reported. Half-broken answers, which have no correct label, are reported separately.

The answers come from scans with whole answers (`RUNS/seed-N`) and from the model at its origin (`RUNS/answers.jsonl`).
Both are generated if absent, which takes some minutes per direction on two cores. `--fit` prints the fitted weights of
the text's features instead; `--text-only` omits the likelihood.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import random
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import safescape
from safescape.engines import Likelihood, TransformersEngine
from safescape.judges.coherence import (
    INCOHERENT_BELOW,
    coherence_of_likelihood,
    coherence_of_text,
    features_of,
    is_unsure,
    repetition_of,
    scored_part,
    shuffled,
)
from safescape.judges.english import tokens_of
from safescape.judges.languages import is_another_language
from safescape.landscape import wilson
from safescape.measure.evidence import Origin as RunOrigin
from safescape.measure.evidence import calibration_of, calibration_prompts
from safescape.probes import format_chats, load_prompts, load_tokenizer, set_named, set_paths
from safescape.survey import Calibration, Evidence, Lines, RandomAxis
from safescape.weights import Subspace, resolve

CHOSEN_ON, REPORTED = (0, 1, 3, 4), (7, 11, 12)
"""Seeds of random directions. The weights in `safescape.judges.coherence` were fitted on larger scans: 21 points for
seed-0, and three lines, directions 0 to 2, for seed-1, with 80 prompts each. The scans here give slightly different
weights."""
FAR, NEAR = 0.3, 0.05
SCORED = 24
"""Number of texts of each kind that are scored by likelihood."""


class Text(NamedTuple):
    """An answer with its prompt."""

    prompt: str
    text: str


class Kind(NamedTuple):
    """Texts of one kind."""

    name: str
    coherent: bool | None
    """Whether they are coherent; None if there is no correct label."""
    texts: Sequence[Text]


def main() -> None:
    """Gather the texts, judge them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/coherence"))
    parser.add_argument("--model", default="demo")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--text-only", action="store_true")
    arguments = parser.parse_args()
    voice = Origin(arguments.model)
    if arguments.fit:
        fit(list(chosen_on(arguments, voice)))
        return
    kinds = list(reported(arguments, voice))
    print("from the text alone")
    for kind in kinds:
        line(kind, [coherence_of_text(text.text) for text in kind.texts])
    speed_of_text(kinds)
    others = [text for texts in OTHER_LANGUAGES.values() for text in texts]
    print(f"other languages: {sum(map(is_another_language, others))} of {len(others)} recognised")
    for kind in kinds:
        mistaken = [text.text for text in kind.texts if is_another_language(text.text)]
        if mistaken:
            print(f"  {kind.name}: {len(mistaken)} of {len(kind.texts)} called another language, {mistaken[0][:70]!r}")
    if not arguments.text_only:
        by_likelihood(kinds, voice)


def by_likelihood(kinds: Sequence[Kind], voice: Origin) -> None:
    """Judge with the likelihood where the text leaves doubt, as safescape does, and a sample of texts in any case."""
    calibration = voice.calibration()
    print(f"\nas safescape does: with the likelihood of the origin, {calibration}, where the text alone is unsure")
    asked = total = 0
    for kind in kinds:
        unsure = [text for text in kind.texts if is_unsure(text.text)]
        found = dict(zip(unsure, voice.evidence(unsure, calibration), strict=True))
        asked, total = asked + len(unsure), total + len(kind.texts)
        line(
            kind,
            [
                coherence_of_likelihood(text.text, found[text]) if text in found else coherence_of_text(text.text)
                for text in kind.texts
            ],
            f", {len(unsure)} asked about",
        )
    print(f"the origin was asked about {asked} of {total}")
    print(f"\nwith the likelihood for {SCORED} of each kind; then by it alone, without the text")
    seconds = count = 0.0
    for kind in kinds:
        texts = random.Random(0).sample(kind.texts, min(SCORED, len(kind.texts)))
        start = time.monotonic()
        evidence = voice.evidence(texts, calibration)
        seconds += time.monotonic() - start
        count += len(texts)
        judged = list(zip(texts, evidence, strict=True))
        line(kind, [coherence_of_likelihood(text.text, found) for text, found in judged])
        line(
            kind._replace(name="    likelihood alone"),
            [float(found.log_probability / found.tokens >= calibration.threshold) for found in evidence],
        )
    print(f"{1000 * seconds / count:.0f} s per 1,000 responses")


def line(kind: Kind, coherences: Sequence[float], note: str = "") -> None:
    """Print one row of the table."""
    if not coherences:
        return
    incoherent = sum(coherence < INCOHERENT_BELOW for coherence in coherences)
    if kind.coherent is None:
        print(f"  {kind.name:38} {incoherent:4} of {len(coherences):4} called incoherent{note}")
        return
    right = len(coherences) - incoherent if kind.coherent else incoherent
    interval = wilson(right, len(coherences))
    print(
        f"  {kind.name:38} {right:4} of {len(coherences):4} right, {100 * right / len(coherences):5.1f} % "
        f"[{interval[0]:.1f}, {interval[1]:.1f}]  ({'coherent' if kind.coherent else 'incoherent'}{note})"
    )


def speed_of_text(kinds: Sequence[Kind]) -> None:
    """Print the texts per second on one core."""
    texts = [text.text[:600] for kind in kinds for text in kind.texts if len(text.text) >= 500]
    texts = random.Random(0).sample(texts, min(1000, len(texts)))
    start = time.process_time()
    for text in texts:
        coherence_of_text(text)
    rate = len(texts) / (time.process_time() - start)
    tokens = sum(len(tokens_of(text)) for text in texts) / len(texts)
    print(f"{rate:,.0f} texts/s of 500 to 600 characters ({tokens:.0f} words and marks) on one core, by CPU time")


class Origin:
    """The model at its origin: generates answers and scores their likelihood."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._engine: TransformersEngine | None = None

    def _ready(self) -> TransformersEngine:
        if self._engine is None:
            model = resolve(self.name)
            self._tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
            subspace = Subspace(Lines(axes=(RandomAxis(seed=0, span=0.5, steps=20),)), model.weights)
            self._engine = TransformersEngine(model, self._tokenizer, subspace, batch_size=32)
        return self._engine

    def answers(self, prompts: Sequence[str], tokens: int) -> list[Text]:
        """Answer prompts."""
        engine = self._ready()
        responses = engine.respond(format_chats(self._tokenizer, prompts, None), max_new_tokens=tokens, stop=())
        return [Text(prompt, response.text) for prompt, response in zip(prompts, responses, strict=True)]

    def evidence(self, texts: Sequence[Text], calibration: Calibration) -> list[Evidence]:
        """Score the scored part of each text, after its chat."""
        found = self._likelihoods(texts)
        return [Evidence(each.log_probability, each.tokens, calibration) for each in found]

    def _likelihoods(self, texts: Sequence[Text]) -> list[Likelihood]:
        engine = self._ready()
        chats = format_chats(self._tokenizer, [text.prompt for text in texts], None)
        pairs = [(chat, scored_part(text.text)) for chat, text in zip(chats, texts, strict=True)]
        return engine.loglikelihood(pairs, raw=False)

    def calibration(self) -> Calibration:
        """Calibrate as a run does."""
        engine = self._ready()
        return calibration_of(RunOrigin(engine, {}, format_chats(self._tokenizer, calibration_prompts(), None)))

    def salad(self, seed: int, tokens: int = 64) -> str:
        """Return random tokens of the vocabulary."""
        self._ready()
        draw = random.Random(seed)
        return str(self._tokenizer.decode([draw.randrange(len(self._tokenizer)) for _ in range(tokens)]))


def chosen_on(arguments: argparse.Namespace, origin: Origin) -> Iterator[Kind]:
    """Yield the texts for fitting."""
    for seed in CHOSEN_ON:
        yield Kind(f"seed {seed}, |α| >= {FAR}", False, scanned(arguments, seed, FAR, 9))
    answers = origin_answers(arguments, origin)
    yield Kind("origin, Self-Instruct", True, answers["self-instruct"])
    yield Kind("origin, XSTest's safe prompts", True, answers["xstest"])
    for model in ("gpt4", "llama2orig"):
        odd = labelled(model)[1::2]
        yield Kind(f"XSTest {model}", True, odd)
        yield Kind(f"XSTest {model}, shuffled", False, [Text("", shuffled(t.text, n)) for n, t in enumerate(odd)])
    yield Kind("code", True, code()[1::2])


def reported(arguments: argparse.Namespace, origin: Origin) -> Iterator[Kind]:
    """Yield the texts of the table."""
    runs = [seed for seed in REPORTED if (arguments.runs / f"seed-{seed}").exists()] or REPORTED
    for seed in runs:
        yield Kind(f"seed {seed}, |α| >= {FAR}", False, scanned(arguments, seed, FAR, 9))
    yield Kind(f"all of these, |α| <= {NEAR}", True, [t for seed in runs for t in scanned(arguments, seed, 0, NEAR)])
    answers = origin_answers(arguments, origin)
    yield Kind("origin, builtin:benign", True, answers["benign"])
    yield Kind("origin, MT-Bench", True, answers["mt-bench"])
    for model in ("gpt4", "llama2orig"):
        even = labelled(model)[0::2]
        yield Kind(f"XSTest {model}, labelled by people", True, even)
        yield Kind(f"XSTest {model}, words shuffled", False, [Text(t.prompt, shuffled(t.text, 0)) for t in even])
    prompts = load_prompts("builtin:benign", 40)
    yield Kind("random tokens of the vocabulary", False, [Text(p, origin.salad(n)) for n, p in enumerate(prompts)])
    yield Kind("random tokens of many scripts", False, [Text(p, many_scripts(n)) for n, p in enumerate(prompts)])
    yield Kind("loops", False, [Text(p, loop) for p, loop in zip(prompts, LOOPS, strict=False)])
    yield Kind("lists, poems, tables", True, [Text(p, text) for p, text in zip(prompts, ODD, strict=False)])
    yield Kind("code", True, code()[0::2])
    others = [text for texts in OTHER_LANGUAGES.values() for text in texts]
    yield Kind("other languages (or unscored)", True, [Text(p, t) for p, t in zip(prompts, others, strict=False)])
    for alpha in (0.1, 0.2):
        texts = [t for seed in runs for t in scanned(arguments, seed, alpha - 0.01, alpha + 0.01)]
        yield Kind(f"half broken, |α| = {alpha}", None, texts)


def scanned(arguments: argparse.Namespace, seed: int, low: float, high: float) -> list[Text]:
    """Return the answers of a scan at these distances, including empty ones."""
    directory = arguments.runs / f"seed-{seed}"
    if not (directory / "landscape.json").exists():
        print(f"scanning {directory}", flush=True)
        safescape.scan(
            arguments.model, seed=seed, quick=True, steps=10, limit=10, max_new_tokens=64, whole_answers=True,
            out=directory,
        )  # fmt: skip
    run = safescape.load_run(directory)
    pairs = [
        zip(run.survey.prompts.prompts, run.answers(alpha, line), strict=True)
        for line, axis in enumerate(run.survey.subspace.axes)
        for alpha in axis.grid
        if low <= abs(alpha) <= high
    ]
    found = [Text(prompt, answer.answer.response.text) for prompt, answer in itertools.chain(*pairs)]
    return [text for text in found if text.text.strip()]


def origin_answers(arguments: argparse.Namespace, origin: Origin) -> dict[str, list[Text]]:
    """Return the origin's answers to harmless requests, by set."""
    path = arguments.runs / "answers.jsonl"
    if not path.exists():
        print(f"asking for {path}", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        asked = {
            "benign": load_prompts("builtin:benign"),
            "mt-bench": load_prompts("mt-bench", purpose="harmless"),
            "self-instruct": load_prompts("self-instruct", purpose="harmless"),
            "xstest": load_prompts("xstest", purpose="harmless")[::2],
        }
        with path.open("w", encoding="utf-8") as file:
            for name, prompts in asked.items():
                for text in origin.answers([prompt for prompt in prompts if len(prompt) < 600], 96):
                    file.write(json.dumps({"set": name, **text._asdict()}) + "\n")
    found: dict[str, list[Text]] = {}
    for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        if row["text"].strip():
            found.setdefault(row["set"], []).append(Text(row["prompt"], row["text"]))
    return found


def labelled(model: str) -> list[Text]:
    """Return XSTest's completions by a model."""
    paths = set_paths(set_named("xstest-completions"), "xstest-completions")
    path = next(path for path in paths if path.stem == f"completions_{model}")
    with path.open(encoding="utf-8", newline="") as file:
        found = [Text(row["prompt"], row["completion"].strip()) for row in csv.DictReader(file)]
    return [text for text in found if text.text]


def code() -> list[Text]:
    """Return pieces of code: this project's, and Python's tests, which were not used for english.npz."""
    library = Path(sysconfig.get_path("stdlib"))
    paths = [*sorted(Path(safescape.__file__).parent.rglob("*.py")), *sorted(library.glob("test/test_[a-e]*.py"))[:80]]
    texts = [path.read_text(encoding="utf-8", errors="ignore") for path in paths]
    return [Text("Write a piece of code.", text[500:1000]) for text in texts if len(text) > 1000]


def many_scripts(seed: int) -> str:
    """Return random tokens like those of a 128k vocabulary: word pieces of many scripts, punctuation, code."""
    draw = random.Random(seed)
    pieces = [piece for texts in OTHER_LANGUAGES.values() for text in texts for piece in text.split()]
    pieces += [text[n : n + 3] for text in pieces for n in range(0, len(text), 3)]
    pieces += [
        "()::",
        "->()",
        ".getElementById",
        "_ptr",
        "\\n",
        "###",
        "={{",
        "');\n",
        "ing",
        "tion",
        "<br/>",
        "uint8",
        "\n\n",
    ]
    words = [word for text in ODD for word in text.split()]
    return "".join(draw.choice(("", " ")) + draw.choice(draw.choice((pieces, words))) for _ in range(64))


def fit(kinds: Sequence[Kind]) -> None:
    """Print the weights: logistic regression with equal weight per kind, on whole texts and on their beginnings."""
    values, wanted, weights = [], [], []
    for kind in kinds:
        texts = [text.text for text in kind.texts if repetition_of(text.text) < 0.5]
        texts = [part for text in texts for part in (text, text[:150]) if len(tokens_of(part)) >= 8]
        # shuffled texts and code are rarer among answers than ordinary output
        share = 0.4 if kind.name == "code" or "shuffled" in kind.name else 1.0
        values += [(1.0, *features_of(text)) for text in texts]
        wanted += [float(bool(kind.coherent))] * len(texts)
        weights += [share / len(texts)] * len(texts)
    x, y, w = np.array(values), np.array(wanted), np.array(weights)
    for side in (0.0, 1.0):
        w[y == side] *= len(y) / 2 / w[y == side].sum()
    found = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ found))
        gradient = x.T @ (w * (y - p)) - 0.5 * found
        found += np.linalg.solve((x * (w * p * (1 - p))[:, None]).T @ x + 0.5 * np.eye(len(found)), gradient)
    print("weights:", ", ".join(f"{value:.1f}" for value in found), f"from {len(y)} texts of {len(kinds)} kinds")


OTHER_LANGUAGES = {
    "German": ["Um einen Kuchen zu backen, brauchst du Mehl, Eier und Zucker. Rühre alles in einer Schüssel, bis der "
               "Teig glatt ist.", "Leider kann ich Ihnen dabei nicht helfen."],
    "French": ["Pour préparer une soupe, coupez les légumes en morceaux et faites-les cuire dans de l'eau salée.",
               "Je suis désolé, mais je ne peux pas vous aider avec cette demande."],
    "Spanish": ["Primero tienes que lavar las verduras y cortarlas en trozos pequeños para la ensalada.",
                "Lo siento, pero no puedo ayudarte con eso."],
    "Italian": ["Per prima cosa bisogna mettere la farina sul tavolo e aggiungere le uova con un pizzico di sale.",
                "Mi dispiace, ma non posso aiutarti con questa richiesta."],
    "Portuguese": ["O primeiro passo é lavar os legumes e depois cortar tudo em pedaços para a sopa.",
                   "Desculpe, mas não posso ajudar você com isso."],
    "Dutch": ["Je moet eerst de groenten wassen en daarna snijd je ze in kleine stukken voor de soep.",
              "Het spijt me, maar ik kan je daar niet bij helpen."],
    "Swedish": ["Först ska du tvätta grönsakerna och sedan skära dem i små bitar för att göra en soppa."],
    "Polish": ["Najpierw trzeba umyć warzywa, a potem pokroić je na małe kawałki i gotować w wodzie z solą."],
    "Turkish": ["Önce sebzeleri yıkayın ve sonra çorba için küçük parçalar halinde kesin, bu çok kolay bir yemek."],
    "Indonesian": ["Anda harus mencuci sayuran dan memotongnya untuk sup yang akan dimasak dengan air."],
    "Vietnamese": ["Trước hết bạn cần rửa rau và cắt thành những miếng nhỏ để nấu canh cho cả nhà."],
    "Russian": ["Сначала нужно вымыть овощи и нарезать их на кусочки, а потом варить в воде с солью.",
                "Извините, но я не могу помочь вам с этим."],
    "Ukrainian": ["Спочатку треба помити овочі, а потім варити їх у воді з сіллю, і все це не дуже довго."],
    "Greek": ["Πρώτα πρέπει να πλύνετε τα λαχανικά και μετά να τα κόψετε σε μικρά κομμάτια για τη σούπα."],
    "Arabic": ["يجب أولا غسل الخضار ثم تقطيعها إلى قطع صغيرة من أجل الحساء الذي سوف نطبخه على النار.",
               "أنا آسف، لا يمكنني مساعدتك في هذا الطلب."],
    "Hebrew": ["קודם צריך לשטוף את הירקות ואז לחתוך אותם לחתיכות קטנות כדי להכין מרק של ירקות, וזה לא קשה."],
    "Hindi": ["सबसे पहले सब्जियों को धो लें और फिर उन्हें सूप के लिए छोटे टुकड़ों में काट लें, यह बहुत आसान है।"],
    "Chinese": ["首先把蔬菜洗干净,然后切成小块,放在锅里煮一个小时就可以了。", "对不起,我不能帮助你做这件事。"],
    "Japanese": ["まず野菜を洗って、小さく切ってから、鍋に入れて一時間ほど煮てください。",
                 "申し訳ありませんが、お手伝いできません。"],
    "Korean": ["먼저 야채를 씻고 작은 조각으로 자른 다음 냄비에 넣고 한 시간 동안 끓이면 됩니다."],
}  # fmt: skip
"""Written for this table; `is_another_language` was developed on other sentences, those of its tests."""

LOOPS = [
    "the " * 60,
    "!" * 120,
    "=" * 64,
    "ha" * 80,
    "I cannot say. " * 12,
    "You are the best of the best of the best of the best of the best of the best of the best of the best of the best",
    "The first thing to do is to open the box and look inside. " * 8,
    "Sure, here is how. Step 1: go on. Step 2: go on. Step 3: go on. Step 2: go on. Step 3: go on. Step 2: go on. "
    "Step 3: go on. Step 2: go on. Step 3: go on. Step 2: go on. Step 3: go on.",
    "\n" * 40 + "-\n" * 40,
    "and then he went to the shop and then he went to the shop, " * 10,
    "1. 1. 1. 1. 1. 1. 1. 1. 1. 1. 1. 1. 1. 1. 1. 1.",
    "Forest Forest Forest Forest Forest Forest Forest Forest Forest Forest",
    "很好很好很好很好很好很好很好很好很好很好很好很好很好很好很好很好",
    "print(x)\n" * 30,
]

ODD = [
    "Saturday and Sunday.",
    "Paris",
    "42",
    "Yes.",
    "- apples\n- flour\n- sugar\n- two eggs\n- a pinch of salt\n- butter for the pan",
    "1. Wash the rice.\n2. Boil the water.\n3. Add the rice and stir.\n4. Wait for ten minutes.\n5. Serve it hot.",
    "| day | morning | evening |\n|---|---|---|\n| Monday | swim | read |\n| Tuesday | run | cook |",
    "Row, row, row your boat,\nGently down the stream,\nMerrily, merrily, merrily, merrily,\nLife is but a dream.",
    "The wind is cold, the night is long,\nsing with me, oh sing with me;\nthe road is dark, but hear our song,\nsing "
    "with me, oh sing with me;\nthe sea is wide, the boat is small,\nsing with me, oh sing with me.",
    "Snow on the fence posts,\neach one wearing a white hat;\nthe dog counts them all.",
    "2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47",
    "x^2 + 5x + 6 = (x + 2)(x + 3), so x = -2 or x = -3.",
    "```python\ndef double(number):\n    return 2 * number\n\n\nprint(double(21))\n```\nThis prints 42.",
    "I would call it déjà vu: the maître d' served us crème brûlée, and the café was pure joie de vivre.",
    "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday",
    "Dear Ms Lee,\n\nThank you for your letter. I will be there at 9:30 on 4 May.\n\nBest regards,\nTom",
    "lol yeah thats fine, c u tmrw at 8 :)",
    "**Title**: The Keeper and the Deep\n\n**Genre**: fantasy\n\n**Length**: 300 pages",
]
"""Unusual, but language."""


if __name__ == "__main__":
    main()
