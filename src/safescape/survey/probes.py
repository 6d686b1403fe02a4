"""Probes: the prompts and capability tasks that are evaluated at a point."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from safescape.survey.types import Frozen


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


Probe = Annotated[PromptProbe | ChoiceProbe | PerplexityProbe | HarnessProbe, Field(discriminator="kind")]
