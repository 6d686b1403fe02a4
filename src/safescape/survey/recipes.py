"""Recipes of computed directions: what each is computed from, and what it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import Field

from safescape.survey.probes import ChatProbe, MarginProbe, PromptProbe
from safescape.survey.types import Frozen


class _Recipe(Frozen):
    """What every recipe has."""

    given: str
    """As the user typed it."""

    @property
    def chat_probes(self) -> tuple[ChatProbe, ...]:
        """The prompts that it is computed from; none in a landscape."""
        return tuple(self._probes().values())

    def with_probes(self, change: Callable[[ChatProbe], ChatProbe | None]) -> Self:
        """Return the recipe with each of its probes changed; None leaves it out."""
        return self.model_copy(update={field: change(probe) for field, probe in self._probes().items()})

    def _probes(self) -> dict[str, ChatProbe]:
        fields = {field: getattr(self, field) for field in type(self).model_fields}
        return {field: value for field, value in fields.items() if isinstance(value, ChatProbe)}


class PromptRecipe(_Recipe):
    """A recipe that reads harmful prompts and the openings of answers to them."""

    margin: MarginProbe | None = None
    """The prompts, which are disjoint from those that are measured, with their openings. None in a landscape, which
    has no prompts."""
    prompts: int
    """Their number."""

    @property
    def made_from(self) -> str:
        """What it is computed from, in words."""
        return f"{self.prompts} prompts"


class Gradient(PromptRecipe):
    """The recipe of a direction: steepest descent of the mean refusal margin, each tensor at its origin's norm.

    Embeddings, the output head and the weights of normalisation layers rest.
    """

    kind: Literal["gradient"] = "gradient"

    @property
    def label(self) -> str:
        """The direction in words."""
        return "the gradient of the refusal margin"

    @property
    def short(self) -> str:
        """The line in a few words."""
        return "along the gradient"


class Removal(PromptRecipe):
    """The recipe of the direction that removes a model's refusal direction from its weights (arXiv 2406.11717).

    Nothing is scaled: at α = 1 no matrix writes along the refusal direction any more. Embeddings move, too. By the last
    third of the prompts the layer is chosen.
    """

    kind: Literal["refusal"] = "refusal"
    harmless: PromptProbe | None = None
    """Harmless prompts. None in a landscape."""

    @property
    def label(self) -> str:
        """The direction in words."""
        return "the removal of the refusal direction"

    @property
    def short(self) -> str:
        """The line in a few words."""
        return "removing the refusals"


class Worst(PromptRecipe):
    """The recipe of the line through the worst move found within a radius (`engines.worst`).

    No tensor of the direction is longer than its origin's; embeddings, the output head and the weights of normalisation
    layers rest.
    """

    kind: Literal["worst"] = "worst"
    harmless: PromptProbe | None = None
    """Harmless prompts, which the move must leave as they are. None in a landscape."""
    radius: float = Field(gt=0, allow_inf_nan=False)
    """The |α| within which it is sought."""
    steps: int = Field(ge=1)
    """Number of steps of the descent."""
    max_change: float = Field(gt=0, allow_inf_nan=False)
    """By how many nats (KL divergence) the next token after a harmless prompt may change, in the mean."""

    @property
    def label(self) -> str:
        """The direction in words."""
        return f"the worst move found within |α| = {self.radius:g}"

    @property
    def short(self) -> str:
        """The line in a few words."""
        return f"through the worst move to {self.radius:g}"

    @property
    def made_from(self) -> str:
        """What it is computed from, in words."""
        return f"{self.prompts} prompts, {self.steps} steps"


class Difference(_Recipe):
    """The recipe of the direction toward another model, or away from it, each tensor at its origin's norm.

    Embeddings, the output head and the weights of normalisation layers rest. Without scaling it is the line of an
    `InterpolationAxis`.
    """

    kind: Literal["difference"] = "difference"
    model: str
    """The other model, as the user typed it."""
    model_fingerprint: str
    """Of its weights."""
    away: bool = False

    @property
    def label(self) -> str:
        """The direction in words."""
        return f"the direction {'away from' if self.away else 'toward'} another model"

    @property
    def short(self) -> str:
        """The line in a few words."""
        return f"{'away from' if self.away else 'toward'} the other model"

    @property
    def made_from(self) -> str:
        """What it is computed from, in words."""
        return f"{self.model_fingerprint[:19]}…"


class Training(_Recipe):
    """The recipe of the direction in which a short finetune moves the weights, each tensor at its origin's norm.

    Embeddings, the output head and the weights of normalisation layers rest.
    """

    kind: Literal["training"] = "training"
    examples_are: Literal["harmful", "benign"]
    data: str | None
    """As the user typed it; None: the package's own benign conversations."""
    taught: str
    """The SHA-256 of the conversations."""
    examples: int
    """Their number."""
    epochs: int
    learning_rate: float
    batch_size: int
    seed: int = 0
    """Of the order of the examples."""

    @property
    def label(self) -> str:
        """The direction in words."""
        return f"the direction of a finetune on {self.examples_are} examples"

    @property
    def short(self) -> str:
        """The line in a few words."""
        return f"toward a {self.examples_are} finetune"

    @property
    def made_from(self) -> str:
        """What it is computed from, in words."""
        return f"{self.examples} examples, {self.epochs} epochs"


Recipe = Annotated[Gradient | Removal | Worst | Difference | Training, Field(discriminator="kind")]
