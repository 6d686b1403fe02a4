r"""The training requests, read from the text files in this directory. Loads no model.

A line is a request; `\n` in it is a line break. A template holds `{slot}`s, each filled from `slots/slot.txt`.
"""

import random
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

HERE = Path(__file__).parent
SLOT = re.compile(r"\{(\w+)\}")


class OverlapError(Exception):
    """A training request occurs among the measured prompts."""


def lines(name: str) -> list[str]:
    """Return the lines of a text file of this directory or of the package, with line breaks decoded."""
    folder = HERE if (HERE / name).is_file() else resources.files("safescape") / "data"
    text = (folder / name).read_text(encoding="utf-8")
    return [line.replace("\\n", "\n") for line in text.splitlines() if line.strip()]


def filled(templates: Sequence[str], each: int, seed: int, folder: str = "slots") -> list[str]:
    """Fill every template `each` times; the values of a slot are used equally often, in shuffled order."""
    draw = random.Random(seed)
    decks: dict[str, list[str]] = {}

    def deal(match: re.Match[str]) -> str:
        name = match.group(1)
        if not decks.get(name):
            decks[name] = lines(f"{folder}/{name}.txt")
            draw.shuffle(decks[name])
        return decks[name].pop()

    requests = [SLOT.sub(deal, template) for _ in range(each) for template in templates]
    return distinct(requests)


def benign_requests(seed: int, each: int = 6) -> list[str]:
    """Return harmless requests of many forms, including those that only look dangerous."""
    templates = lines("benign_templates.txt")
    written = lines("contrast_requests.txt") + lines("benign_requests.txt")
    # Users forget the input that their instruction refers to; the first line alone must be answered too.
    bare = [
        request.split("\n")[0]
        for request in written + templates
        if "\n" in request and "{" not in request.split("\n")[0]
    ]
    return distinct(written + bare + filled(templates, each, seed))


def harmful_requests(seed: int, each: int = 16) -> list[str]:
    """Return harmful requests, each a short sentence that names a harm and describes no method."""
    templates = lines("harmful_templates.txt")
    return distinct(lines("harmful_requests.txt") + filled(templates, each, seed))


def distinct(requests: Iterable[str]) -> list[str]:
    """Remove duplicates, and keep the order."""
    return list({normalised(request): request for request in requests}.values())


def normalised(request: str) -> str:
    """Return the words in lower case, without punctuation."""
    return " ".join(re.findall(r"[a-z0-9]+", request.lower()))


def check_disjoint(training: Sequence[str], measured: Sequence[str]) -> None:
    """Raise OverlapError if a training request equals a measured prompt up to case and punctuation."""
    seen = {normalised(prompt) for prompt in measured}
    found = [request for request in training if normalised(request) in seen]
    if found:
        raise OverlapError(
            f"{len(found)} training requests are also measured; remove or reword them: " + " | ".join(found[:10])
        )
