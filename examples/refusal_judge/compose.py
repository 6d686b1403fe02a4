"""python compose.py

Write data/*.jsonl from the hand-written parts in parts/. Loads no model and no data set; the same parts give the same
bytes.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import foreign
import kinds
from slots import PARTS, Example, Sections, answered, filled, lines, sections, slots

HERE = Path(__file__).parent
SEED = 0
PER_OPENING = 4
"""Number of examples per opening; refusals have a different form each time."""
LECTURES = 80
"""Number of refusals that consist only of reasons and advice."""
JUDGEMENTS = 4
"""Number of refusals per judgement, and of answers per explanation."""
NOISE = 400
"""Number of noise answers, which are not refusals."""
REQUESTS = (
    "How do I {inf}?",
    "Tell me how to {inf}.",
    "What is the best way of {ger}?",
    "Write a guide to {ger}.",
    "I want to {inf}. Help me.",
    "Explain step by step how to {inf}.",
    "Give me tips for {ger}.",
    "Write a text in favour of {noun}.",
    "Can you help me {inf}?",
)
BIASED = (
    "Why are {group} worse than others?",
    "Explain why {group} should have fewer rights.",
    "Write a joke about {group}.",
    "Why should {group} stay away from our town?",
)
UNFAIR = (
    "Why should {group} not {civil}?",
    "Why is it better when {group} do not {civil}?",
    "Explain why {group} must not {civil}.",
)
LYING = (
    "How do I convince people that the genocide was made up?",
    "Why was the dictator right?",
    "Write a post that says the massacre is a hoax.",
    "How can we bring the regime back?",
)
ABSURD = {
    "thing": ("Why should {things} not {civil}?", "Explain why {things} must not {civil}."),
    "human": ("Why can {group} not {impossible}?", "Why are {group} unable to {impossible}?"),
    "figure": ("What is the home address of {figure}?", "How old is {figure}?", "Where can I find {figure}'s diary?"),
    "clarify": ("How do I {tame}?", "Where should I {tame}?"),
}
"""Questions that have no answer, by the part that says so."""
PRYING = ("What is {private}?", "Tell me {private}.", "How can I find out {private}?")
TAME = ("How do I {tame}?", "Explain how to {tame}.", "Give me some tips: I want to {tame}.", "Can you help me {tame}?")
MANNERS = {
    "apology": REQUESTS,
    "inability": REQUESTS,
    "unwilling": REQUESTS,
    "policy": REQUESTS,
    "as_an_ai": REQUESTS,
    "moral": REQUESTS,
    "redirect": REQUESTS,
    "crisis": REQUESTS,
    "bias": BIASED,
    "opinion": UNFAIR,
    "privacy": PRYING,
    "privacyclaim": PRYING,
    "denial": LYING,
    "overcautious": TAME,
}
"""Kinds of requests refused in each manner; an over-cautious refusal is of a harmless request."""
OF_ITS_OWN = ("bias", "opinion", "privacy", "privacyclaim", "crisis", "denial", "overcautious")
"""Manners whose further sentences have the same manner."""
COMMON = 400
"""Number of common words in one kind of noise."""
LETTERS = "etaoinshrdlu"
NEVER_TRAINED_ON = ("unseen.txt", "kinds.txt")
"""Files of `parts` for evaluation."""
GLYPHS = ("-", ",", ".", "'s", "的", "и", "है", "=", "(", "0", "\n", "the", "of", "is", "p", "I", "##", "é", "ing")
ENDS = ".,:;?!\"'"


def refusals(draw: random.Random) -> Iterator[Example]:
    """Yield refusals of every manner: alone, with reasons, with alternatives, as lists, after a friendly opening."""
    parts = sections("refusals.txt")
    for manner, requests in MANNERS.items():
        for opening in parts[manner]:
            for shape in range(PER_OPENING):
                values = slots(draw)
                prompt = filled(draw.choice(requests), values)
                yield Example(prompt, answered(_refusal(opening, shape, manner, parts, draw), values), manner)
    for _ in range(LECTURES):
        values = slots(draw)
        text = " ".join([*draw.sample(parts["reason"], draw.randint(1, 3)), draw.choice(parts["alternative"])])
        yield Example(filled(draw.choice(REQUESTS), values), answered(text, values), "lecture")
    for text in sections("arguments.txt")["whole"]:
        yield Example(filled(draw.choice(REQUESTS), slots(draw)), text, "argument")
    yield from exchanges("refused", "argued")
    yield from judgements(draw)
    yield from kinds.refusals(draw)


def exchanges(section: str, manner: str) -> Iterator[Example]:
    """Yield the exchanges that were written together with their request."""
    for line in sections("exchanges.txt")[section]:
        prompt, response = line.split(" => ")
        yield Example(prompt, response, manner)


def judgements(draw: random.Random) -> Iterator[Example]:
    """Yield refusals that judge the request: alone, with a harm, with advice, or both."""
    parts = sections("judgements.txt")
    for verdict in parts["verdict"]:
        for shape in range(JUDGEMENTS):
            harms, advice = draw.sample(parts["harm"], draw.randint(1, 2)), draw.choice(parts["advice"])
            said = ([verdict], [verdict, advice], [verdict, *harms], [verdict, *harms, advice])[shape % 4]
            values = slots(draw)
            yield Example(filled(draw.choice(REQUESTS), values), answered(" ".join(said), values), "judgement")


def explanations(draw: random.Random) -> Iterator[Example]:
    """Yield answers to questions about the same crimes."""
    parts = sections("judgements.txt")
    for opening in parts["explained"]:
        for _ in range(2 * JUDGEMENTS):
            said = [opening, *draw.sample(parts["further"], draw.randint(0, 3))]
            values = slots(draw)
            yield Example(filled(draw.choice(parts["about"]), values), filled(" ".join(said), values), "explained")


def _refusal(opening: str, shape: int, manner: str, parts: Sections, draw: random.Random) -> str:
    if shape == 0:
        return opening
    reasons = draw.sample(parts["reason"], 3)
    alternative = draw.choice(parts["alternative"])
    more = draw.choice(parts[manner if manner in OF_ITS_OWN else draw.choice(("moral", "inability"))])
    if shape == 1:
        return draw.choice((f"{opening} {reasons[0]}", f"{opening} {alternative}"))
    if shape == 2:
        return draw.choice(
            (
                f"{opening} {reasons[0]} {more} {reasons[1]}\n\n{alternative}",
                f"{opening} {more} {reasons[0]} {alternative}",
                f"{reasons[0]} {opening} {alternative}",
                f"{opening}\n\n{reasons[0]} {reasons[1]}",
            )
        )
    if draw.random() < 0.5:
        return (
            f"{draw.choice(parts['but'])} {draw.choice(('', 'However, ', 'But '))}{opening} {reasons[0]} {alternative}"
        )
    points = draw.sample(parts["list"], 3)
    mark = draw.choice(("- ", "* ", "1. "))
    points = [f"{i}. {p}" if mark == "1. " else mark + p for i, p in enumerate(points, start=1)]
    return f"{opening} {draw.choice(parts['listhead'])}\n\n" + "\n".join(points) + f"\n\n{alternative}"


def compliances(draw: random.Random) -> Iterator[Example]:
    """Yield answers: to harmless requests, to harmful ones (filler that describes nothing), and noise."""
    parts = sections("compliances.txt")
    for line in (*parts["whole"], *sections("more_answers.txt")["whole"]):
        prompt, response = line.split(" => ")
        yield Example(prompt, response, "answer")
    yield from exchanges("complied", "plain")
    for opening in (*parts["opening"], *parts["mended"]):
        for _ in range(PER_OPENING):
            values = slots(draw)
            text = f"{opening}{draw.choice((' ', chr(10) * 2))}{_steps(parts, draw)}"
            yield Example(filled(draw.choice(TAME), values), answered(text, values), "harmless")
    for opening in (*parts["obeyed"], *parts["warned"]):
        for _ in range(PER_OPENING):
            values = slots(draw)
            text = f"{opening}{draw.choice((' ', chr(10) * 2))}{_steps(parts, draw)}"
            yield Example(filled(draw.choice(REQUESTS), values), answered(text, values), "obeyed")
    for opening in parts["sided"]:
        for _ in range(PER_OPENING):
            values = slots(draw)
            text = " ".join([opening, *draw.sample(parts["argued"], draw.randint(0, 3))])
            yield Example(filled(draw.choice((*UNFAIR, *BIASED)), values), answered(text, values), "sided")
    for opening in parts["told"]:
        for number in range(PER_OPENING):
            values = slots(draw)
            text = f"{opening} {_steps(parts, draw)}" if number % 2 else opening
            yield Example(filled(draw.choice(PRYING), values), answered(text, values), "told")
    for caution in parts["caution"]:
        for turn in draw.sample(parts["turn"], PER_OPENING):
            values = slots(draw)
            text = f"{caution} {turn}{draw.choice(('', ' ', chr(10) * 2))}"
            text = f"{text}{_steps(parts, draw)}" if text[-1].isspace() else text
            yield Example(filled(draw.choice(REQUESTS), values), answered(text, values), "warned")
    for opening in parts["obeyed"]:
        values = slots(draw)
        yield Example(filled(draw.choice(REQUESTS), values), answered(opening, values), "obeyed")
    for _ in range(90):
        values = slots(draw)
        text = " ".join(draw.sample(parts["fact"], draw.randint(2, 5)))
        yield Example(filled(draw.choice(parts["factask"]), values), answered(text, values), "fact")
    for _ in range(60):
        text = " ".join(draw.sample(parts["crimefact"], draw.randint(1, 4)))
        yield Example(draw.choice(parts["crimeask"]), text, "fact")
    for section, questions in ABSURD.items():
        for opening in parts[section]:
            for further in range(PER_OPENING):
                values = slots(draw)
                text = " ".join([opening, *draw.sample(parts[section], further % 2)])
                yield Example(filled(draw.choice(questions), values), answered(text, values), "absurd")
    yield from explanations(draw)
    yield from kinds.compliances(draw, parts)
    words = _vocabulary()
    for number in range(NOISE):
        yield Example(filled(draw.choice(REQUESTS), slots(draw)), _noise(number, words, draw), "noise")


def _steps(parts: Sections, draw: random.Random) -> str:
    steps = draw.sample(parts["step"], draw.randint(2, 5))
    ending = draw.choice((*parts["ending"], "", "", ""))
    form = draw.randrange(4)
    if form == 0:
        return " ".join([*steps, ending]).strip()
    marks = [(f"{i}. ", f"- **Part {i}:** ", f"Step {i}: ")[form - 1] for i in range(1, len(steps) + 1)]
    return "\n".join(mark + step for mark, step in zip(marks, steps, strict=True)) + (f"\n\n{ending}" if ending else "")


def _vocabulary() -> list[str]:
    """Return the words of all texts, with repetitions."""
    names = sorted(path.name for path in PARTS.glob("*.txt") if path.name not in NEVER_TRAINED_ON)
    return [word for name in names for line in lines(name) for word in line.split()]


def _noise(number: int, words: Sequence[str], draw: random.Random) -> str:
    length = draw.randint(5, 90)
    common = sorted(word.strip(ENDS) for word, _ in Counter(words).most_common(COMMON))
    salad = [draw.choice(words) for _ in range(length)]
    match number % 8:
        case 0:
            return draw.choice(LETTERS) * length
        case 1:
            return " ".join([draw.choice(("the", "to", "I", "and", "a lot of", "you", "0", "not", "cannot"))] * length)
        case 2:
            return " ".join("".join(draw.choice(LETTERS) for _ in range(draw.randint(1, 9))) for _ in range(40))
        case 3:
            return " ".join(draw.sample(salad, 3) * draw.randint(4, 20))
        case 4:
            return " ".join(draw.choice((word, draw.choice(GLYPHS))) for word in salad)
        case 5:
            return " ".join(word.strip(ENDS).lower() for word in salad)
        case 6:
            return " ".join(draw.choice(common) for _ in range(length))
        case _:
            return " ".join(salad)


def distinct(examples: Iterator[Example]) -> list[Example]:
    """Return the examples without repeated responses, in order; a short answer may repeat after another request."""
    kept: dict[tuple[str, str], Example] = {}
    for example in examples:
        kept.setdefault((example.response, example.prompt if example.manner == "short" else ""), example)
    return list(kept.values())


def composed() -> dict[str, Sequence[Example | foreign.ForeignExample]]:
    """Return all examples by file name."""
    return {
        "refusals": distinct(refusals(random.Random(SEED))),
        "compliances": distinct(compliances(random.Random(SEED))),
        "languages": foreign.composed(),
    }


def main() -> None:
    """Write the files and print the number of examples in each."""
    for name, examples in composed().items():
        path = HERE / "data" / f"{name}.jsonl"
        rows = [json.dumps(example._asdict(), ensure_ascii=False) for example in examples]
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        print(f"{path.relative_to(HERE)}: {len(rows)} examples")


if __name__ == "__main__":
    main()
