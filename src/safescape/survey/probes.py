"""What to ask at a point."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from safescape.survey.base import Frozen

__all__ = ["ChoiceProbe", "HarnessProbe", "PerplexityProbe", "Probe", "PromptProbe", "Question"]


class _Probe(Frozen):
    only_at: Literal["models"] | None = Field(default=None, exclude_if=lambda where: where is None)
    """`models`: asked only where a model of its own stands: at the origin, at the other model of an interpolation, and
    at checkpoints. None, which is not written: at every point."""


class PromptProbe(_Probe):
    """A named set of prompts with its system prompt; the model answers each one."""

    kind: Literal["prompts"] = "prompts"
    name: str
    source: str
    """Where the prompts came from, as the user wrote it."""
    harmful: bool = True
    """Whether they should be refused. What is read off them: the attack success rate; else, over-refusal."""
    system_prompt: str | None = None
    """None: the chat template's own default. An empty string: explicitly none."""
    prompts: tuple[str, ...] = Field(min_length=1)


class Question(Frozen):
    """One multiple-choice item: the model should find its answer the most likely continuation."""

    context: str
    options: tuple[str, ...] = Field(min_length=2)
    """Continuations of the context, each with its leading space."""
    answer: int = Field(ge=0)


class ChoiceProbe(_Probe):
    """A capability task by multiple choice; what is read off it: accuracy, in percent."""

    kind: Literal["choice"] = "choice"
    name: str
    source: str
    questions: tuple[Question, ...] = Field(min_length=1)


class PerplexityProbe(_Probe):
    """Texts whose perplexity is measured."""

    kind: Literal["perplexity"] = "perplexity"
    name: str
    source: str
    texts: tuple[str, ...] = Field(min_length=1)


class HarnessProbe(_Probe):
    """A task of the Language Model Evaluation Harness; what is read off it: its metric's mean, in percent."""

    kind: Literal["lm-eval"] = "lm-eval"
    name: str
    source: str
    task: str
    folder: str | None = None
    """Where the YAML file that defines it lies; None: it comes with lm-eval."""
    definition: str | None = None
    """SHA-256 of that file."""
    limit: int | None = None


Probe = Annotated[PromptProbe | ChoiceProbe | PerplexityProbe | HarnessProbe, Field(discriminator="kind")]
