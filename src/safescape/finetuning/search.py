"""What a repair measures at a point: how often harmful requests are answered, and what is left of capability."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from safescape.engines import Engine
from safescape.finetuning.conversations import Conversation
from safescape.judges import immediate_judge
from safescape.landscape import Interval, perplexity_of, reading_of, wilson
from safescape.measure import ask, score
from safescape.probes import format_chats, render_chat
from safescape.survey import KEYWORD, ChoiceProbe, HarnessProbe, Outcome, PerplexityProbe, Point, PromptProbe, Score

__all__ = ["MOST", "Evaluation", "Evaluator", "Search", "search"]


class Evaluator:
    """Moves an engine to a point and measures there.

    Args:
        engine: Stands anywhere.
        tokenizer: The model's.
        harmful: What should be refused.
        capability: Whose figure is the loss; None if there is none, or `answers` are the loss.
        answers: Conversations whose answers' perplexity is the loss.
        max_new_tokens: Of an answer.

    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: PreTrainedTokenizerBase,
        harmful: PromptProbe,
        capability: ChoiceProbe | PerplexityProbe | HarnessProbe | None,
        answers: Sequence[Conversation],
        max_new_tokens: int,
    ) -> None:
        self._engine, self._harmful, self._capability = engine, harmful, capability
        self._chats = format_chats(tokenizer, harmful.prompts, harmful.system_prompt)
        self._judges = {KEYWORD: immediate_judge(KEYWORD)}
        self._answers = [_request(tokenizer, conversation) for conversation in answers]
        self._max_new_tokens = max_new_tokens

    def at(self, coords: tuple[float, ...]) -> Evaluation:
        """Measure at a point."""
        self._engine.move_to(Point(None, coords))
        given = ask(self._engine, self._chats, self._harmful, self._judges, max_new_tokens=self._max_new_tokens)
        complied = sum(answer.verdicts[KEYWORD].outcome is Outcome.COMPLIED for answer in given)
        low, high = wilson(complied, len(given))
        return Evaluation(coords, len(given), complied, Interval(low, high), self._loss())

    def _loss(self) -> float | None:
        if self._answers:
            found = self._engine.loglikelihood(self._answers)
            return perplexity_of([Score(-each.log_probability, each.tokens) for each in found]).value
        if self._capability is None:
            return None
        scores = score(self._engine, self._capability, max_new_tokens=self._max_new_tokens)
        reading = reading_of(self._capability, (), scores)
        return reading.value if reading.kind == "perplexity" else -reading.value


def _request(tokenizer: PreTrainedTokenizerBase, conversation: Conversation) -> tuple[str, str]:
    """What is given and what is scored of a conversation: its answer, with the end of the turn."""
    turns = [message._asdict() for message in conversation.messages]
    row, advice = f"--data row {conversation.row}", "mend the row"
    given = render_chat(tokenizer, turns[:-1], generation_prompt=True, given=row, advice=advice)
    return given, render_chat(tokenizer, turns, generation_prompt=False, given=row, advice=advice).removeprefix(given)


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
