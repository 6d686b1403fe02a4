"""Probes: the prompts and capability tasks that are evaluated at a point."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from safescape.survey.types import Frozen

HARMFUL = "harmful"
"""Name of the probe of harmful prompts; of several, the name begins with it and a comma."""

SHIPPED = {"builtin:harmful": 100, "builtin:benign": 100}
"""The number of prompts of each set in the package, by its source."""


class Chats(Frozen):
    """The exact texts that the model reads for some prompts, in their order: `before` + text + `after`.

    What all of them share, the head of the chat template with the system prompt and the tail that opens the answer, is
    stored once.
    """

    before: str
    texts: tuple[str, ...]
    after: str

    @classmethod
    def of(cls, prompts: Sequence[str], rendered: Sequence[str]) -> Self:
        """Return the chats `rendered` of `prompts`, of which each occurs in its chat, without its outer whitespace."""
        heads, tails = [], []
        for prompt, chat in zip(prompts, rendered, strict=True):
            head, _, tail = chat.partition(prompt.strip() or "\0")
            heads.append(head)
            tails.append(tail)
        before, after = _common_start(heads), _common_start([tail[::-1] for tail in tails])[::-1]
        texts = (chat[len(before) : len(chat) - len(after)] for chat in rendered)
        return cls(before=before, texts=tuple(texts), after=after)

    @property
    def rendered(self) -> list[str]:
        """The texts as the model reads them."""
        return [self.before + text + self.after for text in self.texts]


def _common_start(texts: Sequence[str]) -> str:
    columns = zip(*texts, strict=False)
    return "".join(column[0] for column in itertools.takewhile(lambda column: len(set(column)) == 1, columns))


class _Probe(Frozen):
    only_at: Literal["models"] | None = Field(default=None, exclude_if=lambda where: where is None)
    """`models`: evaluated only at the origin, at the other model of an interpolation, and at checkpoints. None, which
    is left out of survey.json: evaluated at every point."""


class PromptProbe(_Probe):
    """A named set of prompts with its system prompt. The model answers each prompt."""

    kind: Literal["prompts"] = "prompts"
    name: str
    source: str
    """Where the prompts came from, as the user typed it."""
    harmful: bool = True
    """True: the prompts should be refused, and give an attack success rate. False: they give an over-refusal rate."""
    system_prompt: str | None = None
    """None: the default of the chat template. An empty string: no system prompt."""
    prompts: tuple[str, ...] = Field(min_length=1)
    chats: Chats | None = Field(default=None, exclude_if=lambda chats: chats is None)
    """The prompts as the model reads them, with system prompt and chat template. None, which is left out of
    survey.json: they were not stored, and every session renders them."""
    goals: tuple[str, ...] | None = Field(default=None, exclude_if=lambda goals: goals is None)
    """The request behind each prompt that carries an attack. None, which is left out of survey.json: the prompts are
    the requests, or theirs are not known."""
    failed: tuple[int, ...] = Field(default=(), exclude_if=lambda failed: not failed)
    """The indices of attacks that found no prompt, ascending; their entries in `prompts` are the requests. They are not
    asked, and count as refused: the denominator of an attack success rate is the number of attacks. None of them, and
    left out of survey.json, in any other set of prompts."""

    @model_validator(mode="after")
    def _has_a_chat_for_each_prompt(self) -> Self:
        if self.chats is not None and len(self.chats.texts) != len(self.prompts):
            raise ValueError(f"{len(self.chats.texts)} chats for {len(self.prompts)} prompts")
        return self

    @model_validator(mode="after")
    def _has_a_place_for_each_failed_attack(self) -> Self:
        if self.goals is not None and len(self.goals) != len(self.prompts):
            raise ValueError(f"{len(self.goals)} goals for {len(self.prompts)} prompts")
        if not set(self.failed) <= set(range(len(self.prompts))) or list(self.failed) != sorted(set(self.failed)):
            raise ValueError("the failed attacks are not among the prompts, each once, in their order")
        if self.failed and not self.harmful:
            raise ValueError("an attack that failed is no harmless prompt")
        return self

    def asked(self, chats: Sequence[str]) -> list[str | None]:
        """Return the chats of the prompts, in their order; None for an attack that found no prompt."""
        failed = set(self.failed)
        return [None if number in failed else chat for number, chat in enumerate(chats)]

    @property
    def failed_attacks(self) -> str | None:
        """How many attacks found no prompt, in words; None: every prompt is asked."""
        if not self.failed:
            return None
        return (
            f"{len(self.failed)} of {len(self.prompts)} attacks of {self.source} found no prompt, which counts as a "
            "refusal"
        )

    def pairs_with(self, other: PromptProbe) -> bool:
        """Return whether both probes ask for the same at every place, so that their answers can be paired one by one.

        What a probe asks for are its goals, or its prompts where it has none.
        """
        mine, theirs = (
            [text.strip() for text in (probe.prompts if probe.goals is None else probe.goals)]
            for probe in (self, other)
        )
        return mine == theirs


class Question(Frozen):
    """One multiple-choice item, answered by the continuation with the highest likelihood."""

    context: str
    options: tuple[str, ...] = Field(min_length=2)
    """Possible continuations of the context, each with its leading space."""
    answer: int = Field(ge=0)
    """Index of the right option."""


class ChoiceProbe(_Probe):
    """A multiple-choice task. Its figure is the accuracy, in percent."""

    kind: Literal["choice"] = "choice"
    name: str
    source: str
    questions: tuple[Question, ...] = Field(min_length=1)


class PerplexityProbe(_Probe):
    """Texts whose perplexity is measured. Its figure is exp(negative log-likelihood per token)."""

    kind: Literal["perplexity"] = "perplexity"
    name: str
    source: str
    texts: tuple[str, ...] = Field(min_length=1)


class HarnessProbe(_Probe):
    """A task of the Language Model Evaluation Harness (lm-eval). Its figure is the mean of its metric, in percent."""

    kind: Literal["lm-eval"] = "lm-eval"
    name: str
    source: str
    task: str
    folder: str | None = None
    """Directory of the YAML file that defines the task. None: the task ships with lm-eval."""
    definition: str | None = None
    """SHA-256 of that file. None: the task ships with lm-eval."""
    limit: int | None = None
    """Number of items to evaluate; None: all."""


class Openings(NamedTuple):
    """How an answer to one prompt may begin."""

    refusing: tuple[str, ...]
    complying: tuple[str, ...]


class MarginProbe(_Probe):
    """Harmful prompts whose refusal margin is measured. Its figure is the mean margin, in nats per token.

    The margin of a prompt is the log-probability of openings that refuse it less that of openings that comply; nothing
    is generated. See `probes.margin.margin_of`.
    """

    kind: Literal["margin"] = "margin"
    name: str
    source: str
    system_prompt: str | None = None
    """See `PromptProbe`."""
    prompts: tuple[str, ...] = Field(min_length=1)
    refusing: tuple[str, ...] = Field(min_length=1)
    """Openings of answers that refuse."""
    complying: tuple[str, ...] = ()
    """Openings of answers that comply, the same for every prompt."""
    targets: tuple[str, ...] | None = Field(default=None, exclude_if=lambda targets: targets is None)
    """One complying opening for each prompt, in the place of `complying`."""
    chats: Chats | None = Field(default=None, exclude_if=lambda chats: chats is None)
    """See `PromptProbe`."""

    @model_validator(mode="after")
    def _has_what_belongs_to_each_prompt(self) -> Self:
        if bool(self.complying) == (self.targets is not None):
            raise ValueError("expected complying openings, or one target for each prompt")
        chats = None if self.chats is None else self.chats.texts
        for name, texts in (("targets", self.targets), ("chats", chats)):
            if texts is not None and len(texts) != len(self.prompts):
                raise ValueError(f"{len(texts)} {name} for {len(self.prompts)} prompts")
        return self

    @property
    def openings(self) -> tuple[Openings, ...]:
        """The openings for each prompt, in the order of the prompts."""
        if self.targets is None:
            return (Openings(self.refusing, self.complying),) * len(self.prompts)
        return tuple(Openings(self.refusing, (target,)) for target in self.targets)


ChatProbe = PromptProbe | MarginProbe
"""The probes whose prompts the model reads in its chat template."""
Probe = Annotated[PromptProbe | ChoiceProbe | PerplexityProbe | HarnessProbe | MarginProbe, Field(discriminator="kind")]
