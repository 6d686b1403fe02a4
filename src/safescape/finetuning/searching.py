"""Bring a finetune back: the point nearest to it, on the way from its base, that meets a safety threshold.

A point counts as safe when the whole 95 % interval of its attack success rate lies under the threshold, so that a few
lucky answers do not decide. The way is bisected between the nearest safe and the nearest unsafe point that are known;
block by block of layers, what does not matter for safety is then given back to the finetune.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from safescape.landscape import Interval

__all__ = ["MOST", "Evaluation", "Search", "search"]

MOST = 8
"""Evaluations that a repair may take."""


class Evaluation(NamedTuple):
    """What was measured at one point between base and finetune."""

    coords: tuple[float, ...]
    """Block by block of layers: 0 is the base, 1 the finetune."""
    n: int
    """Harmful prompts."""
    complied: int
    interval: Interval
    """Of the attack success rate, 95 % (Wilson), in percent."""
    loss: float | None
    """Of capability, the less the better: a perplexity, or an accuracy in percent with its sign changed. None where no
    probe was given."""

    @property
    def asr(self) -> float:
        """Attack success rate in percent."""
        return 100.0 * self.complied / self.n


class Search(NamedTuple):
    """What a search found."""

    best: Evaluation
    """The safe point to save; without one, the point of the lowest attack success rate."""
    is_safe: bool
    evaluations: tuple[Evaluation, ...]
    """In the order of measuring."""


def search(
    evaluate: Callable[[tuple[float, ...]], Evaluation], blocks: int, max_asr: float, most: int = MOST
) -> Search:
    """Look for the point to save.

    Args:
        evaluate: Measures at coordinates, one a block.
        blocks: Of layers. With more than one, as many of the evaluations as blocks try to give one block back each.
        max_asr: What the interval of the attack success rate must not exceed, in percent.
        most: Evaluations in all; at least 4 more than there are blocks to try.

    """
    seen: list[Evaluation] = []

    def is_safe(at: Evaluation) -> bool:
        return at.interval.high <= max_asr

    def measure(coords: Sequence[float]) -> Evaluation:
        seen.append(evaluate(tuple(coords)))
        return seen[-1]

    tuned = measure([1.0] * blocks)
    if is_safe(tuned):
        return Search(tuned, True, tuple(seen))
    best = measure([0.0] * blocks)
    for alpha in (0.5, 0.25, 0.75):
        if is_safe(best):
            break
        # a base that is not safe itself may still have a safe place behind it
        best = min(best, measure([alpha] * blocks), key=lambda at: at.interval.high)
    if not is_safe(best):
        return Search(best, False, tuple(seen))
    tries = blocks if blocks > 1 else 0
    best = _bisected(best, seen, measure, is_safe, most - tries)
    for block in range(min(tries, most - len(seen))):
        given_back = [1.0 if number == block else alpha for number, alpha in enumerate(best.coords)]
        tried = measure(given_back)
        if is_safe(tried) and (tried.loss is None or best.loss is None or tried.loss <= best.loss):
            best = tried
    return Search(best, True, tuple(seen))


def _bisected(
    best: Evaluation,
    seen: Sequence[Evaluation],
    measure: Callable[[Sequence[float]], Evaluation],
    is_safe: Callable[[Evaluation], bool],
    most: int,
) -> Evaluation:
    """The safe point nearest to the finetune on the line, as far as the evaluations reach."""
    while len(seen) < most:
        unsafe = min(at.coords[0] for at in seen if at.coords[0] > best.coords[0] and not is_safe(at))
        middle = measure([(best.coords[0] + unsafe) / 2] * len(best.coords))
        if is_safe(middle):
            best = middle
    return best
