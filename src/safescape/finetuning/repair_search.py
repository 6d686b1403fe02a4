"""The search for the safe point nearest to a finetune on the way from its base. It knows no model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from safescape.landscape import Interval, is_above, margin_of, wilson

MAX_EVALUATIONS = 8
"""The maximum number of evaluations of a repair."""


class Evaluation(NamedTuple):
    """The figures of one point between base and finetune."""

    coords: tuple[float, ...]
    """One coordinate per block of layers: 0 is the base, 1 the finetune."""
    n: int
    """The number of harmful prompts."""
    complied: int
    """The number of harmful prompts that were answered."""
    loss: float | None
    """The loss of capability, lower is better: a perplexity, or the negative of an accuracy in percent. None without a
    capability probe."""
    unscored: int = 0
    """The number of answers that the judge left unscored; `complied` counts them as answers."""

    @property
    def asr(self) -> float:
        """The attack success rate in percent."""
        return 100.0 * self.complied / self.n

    @property
    def interval(self) -> Interval:
        """The 95 % interval (Wilson) of the attack success rate, in percent."""
        return wilson(self.complied, self.n)

    def document(self) -> dict[str, Any]:
        """Return the figures as they are written in repair.json."""
        low, high = self.interval
        head = {"coords": self.coords, "n": self.n, "complied": self.complied}
        unscored = {"unscored": self.unscored} if self.unscored else {}
        return {**head, "low": low, "high": high, "loss": self.loss, **unscored}


class Search(NamedTuple):
    """The result of a search."""

    best: Evaluation
    """The safe point to save; if there is none, the point with the lowest upper end of the interval."""
    is_safe: bool
    evaluations: tuple[Evaluation, ...]
    """All evaluations in the order of measuring."""

    @property
    def as_safe_as_base(self) -> int | None:
        """The threshold of a repair that brings a finetune back to its base, if no point is safe, in percent.

        It is the threshold of a basin around the base, relative to its own ASR (`landscape/threshold.py`), rounded up:
        so much may an attack success rate be above the base's by chance. None if a point is safe, the base was not
        measured, or answers so much that nothing can be shown to be less safe.
        """
        base = next((at for at in self.evaluations if not any(at.coords)), None)
        if self.is_safe or base is None:
            return None
        threshold = math.ceil(base.asr + margin_of(base.complied, base.n))
        return threshold if threshold < 100 else None


def search(evaluate: Callable[[tuple[float, ...]], Evaluation], blocks: int, max_asr: float) -> Search:
    """Search for the safe point nearest to the finetune, by bisection.

    Args:
        evaluate: Measures a point, given one coordinate per block.
        blocks: The number of blocks of layers, at most four. With more than one, one evaluation per block tries to
            take the block from the finetune again.
        max_asr: The attack success rate, in percent, that the upper end of the interval must not exceed.

    """
    seen: list[Evaluation] = []

    def is_safe(at: Evaluation) -> bool:
        return not is_above(at.interval.high, max_asr)

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
        # There may be a safe point between a base that is not safe itself and the finetune.
        best = min(best, measure([alpha] * blocks), key=lambda at: at.interval.high)
    if not is_safe(best):
        return Search(best, False, tuple(seen))
    tries = blocks if blocks > 1 else 0
    while len(seen) < MAX_EVALUATIONS - tries:
        unsafe = min(at.coords[0] for at in seen if at.coords[0] > best.coords[0] and not is_safe(at))
        middle = measure([(best.coords[0] + unsafe) / 2] * blocks)
        if is_safe(middle):
            best = middle
    for block in range(min(tries, MAX_EVALUATIONS - len(seen))):
        restored = [1.0 if number == block else alpha for number, alpha in enumerate(best.coords)]
        tried = measure(restored)
        if is_safe(tried) and (tried.loss is None or best.loss is None or tried.loss <= best.loss):
            best = tried
    return Search(best, True, tuple(seen))
