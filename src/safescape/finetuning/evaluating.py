"""What a repair measures at a point: how often harmful requests are answered, and what is left of capability."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from safescape.engines import Engine
from safescape.finetuning.conversations import Conversation
from safescape.finetuning.searching import Evaluation
from safescape.judges import judge_named
from safescape.landscape import Interval, perplexity_of, reading_of, wilson
from safescape.measure import ask, score
from safescape.probes import format_chats
from safescape.survey import KEYWORD, ChoiceProbe, HarnessProbe, Outcome, PerplexityProbe, Point, PromptProbe, Score

__all__ = ["Evaluator"]


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
        self._judges = {KEYWORD: judge_named(KEYWORD)}
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
    given = str(tokenizer.apply_chat_template(turns[:-1], add_generation_prompt=True, tokenize=False))
    return given, str(tokenizer.apply_chat_template(turns, tokenize=False)).removeprefix(given)
