"""What a model reads: the prompts of a survey in a chat template, rendered once, when the survey is written.

A session reads the chats from the survey. Only of a survey that an earlier version wrote, which holds none, are they
rendered again.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Self

from pydantic import JsonValue
from transformers import PreTrainedTokenizerBase

from safescape.engines import ends_in_files, ends_of, generation_of, tokens_of
from safescape.errors import InputError
from safescape.measure.evidence import calibration_prompts
from safescape.probes import (
    OFF,
    choose_template,
    format_chats,
    has_tokenizer,
    markers_of,
    omitted_system_prompt,
    open_tokenizer,
    switched_off,
)
from safescape.survey import (
    HARMFUL,
    Axis,
    ChatProbe,
    Chats,
    ComputedAxis,
    InterpolationAxis,
    Markers,
    Survey,
)
from safescape.weights import Model, resolve


class RenderedPrompts(NamedTuple):
    """The prompts of a survey as its model reads them, and the tokenizer that reads them."""

    tokenizer: PreTrainedTokenizerBase
    chats: Mapping[str, Sequence[str]]
    """By probe and prompt."""
    calibration: Sequence[str]
    """The harmless prompts of `calibration_prompts`."""

    @classmethod
    def of(cls, survey: Survey, model: Model) -> Self:
        """Return the chats that a survey holds; render them as earlier versions did if it holds none.

        Raises:
            InputError: the model's tokenizer or chat template cannot be used.

        """
        if survey.calibration is not None:
            chats = {probe.name: probe.chats.rendered for probe in survey.chat_probes if probe.chats is not None}
            return cls(_tokenizer_of(survey, model), chats, survey.calibration.rendered)
        tokenizer = open_tokenizer(model.directory, trust_remote_code=survey.trust_remote_code)
        choose_template(tokenizer, model.directory, survey.chat_template, survey.chat_template_name)
        return cls(tokenizer, *_rendered(survey, tokenizer, as_parts=False))

    def without_thoughts(self, survey: Survey) -> Self:
        """Return the chats up to where an answer begins, for the likelihood of answers that are given without thoughts.

        A model without markers of thoughts begins its answer where its chat ends.
        """
        markers, calibration = survey.markers, survey.calibration
        if markers is None or calibration is None:
            return self

        def closed(some: Sequence[str], tail: str) -> list[str]:
            return [chat + markers.closing(tail) for chat in some]

        tails = {probe.name: probe.chats.after for probe in survey.chat_probes if probe.chats is not None}
        chats = {name: closed(some, tails[name]) for name, some in self.chats.items()}
        return self._replace(chats=chats, calibration=closed(self.calibration, calibration.after))


def with_chats(
    survey: Survey,
    model: Model,
    template_of: Literal["base", "tuned", "each"] | None = None,
    max_thinking_tokens: int | None = None,
) -> Survey:
    """Return a survey with its prompts as its model reads them, and with the model's generation settings.

    The two models of an interpolation may differ in tokenizer, chat template or generation settings. Then those of the
    finetune hold at every point: the line asks what becomes of the base on the way to the finetune as it is used.

    Args:
        survey: Without chats.
        model: The model it names.
        template_of: Whose hold where they differ: `base`, `tuned` (the default), or `each`: those of the finetune, and
            the harmful prompts are asked a second time in the base's template, which gives a landscape of their own.
        max_thinking_tokens: Of a reasoning model, if the survey says nothing of it.

    Raises:
        InputError: a tokenizer, a chat template or a generation setting cannot be used; a template drops what is
            asked.

    """
    rendered = _with_chats(survey, model, template_of)
    _check_markers(rendered)
    if rendered.markers is None or rendered.max_thinking_tokens is not None:
        return rendered
    return rendered.model_copy(update={"max_thinking_tokens": max_thinking_tokens})


def _check_markers(survey: Survey) -> None:
    if survey.markers is None and survey.max_thinking_tokens is not None:
        raise InputError(
            f"--max-thinking-tokens {survey.max_thinking_tokens}: the tokenizer and chat template of {survey.model} "
            "have no markers of a thought that are known here; give them with --reasoning START,END, or leave it out"
        )


def _with_chats(survey: Survey, model: Model, template_of: Literal["base", "tuned", "each"] | None) -> Survey:
    origin = _own(model, survey)
    axis = _interpolation(survey)
    if axis is None or template_of == "base":
        return _read(survey, model, origin).written(survey, "adapter" if origin.of_adapter else None)
    other, mine = resolve(axis.toward, trust_remote_code=survey.trust_remote_code), None
    try:
        mine = _read(survey, model, origin)
    except InputError:
        # a base whose template does not take the prompts, or that has none, can still be asked in its finetune's
        if template_of == "each":
            raise
    try:
        theirs = _read(survey, other, _own(other, survey, under=origin.tokenizer))
    except InputError as error:
        if mine is None:
            raise
        raise InputError(f"{error}; or ask in the base's template with --template-of base") from error
    if mine is None:
        return theirs.written(survey, "tuned")
    if mine.is_like(theirs):
        return mine.written(survey, "adapter" if origin.of_adapter else None)
    return theirs.written(survey, "tuned") if template_of != "each" else _with_both(survey, mine, theirs)


def with_chats_as_written(survey: Survey, model: Model) -> Survey:
    """Return a survey with the chats that a session would render for it, for a survey that was written without chats.

    It may come from an earlier version, and gives the same results as then: neither an adapter's own template nor the
    model's generation settings hold, but for its end tokens.

    Raises:
        InputError: the model's tokenizer or chat template cannot be used.

    """
    prompts = RenderedPrompts.of(survey, model)
    ends = ends_in_files(model, prompts.tokenizer, trust_remote_code=survey.trust_remote_code)
    asks = survey.reasoning is not None or survey.max_thinking_tokens is not None
    markers = markers_of(prompts.tokenizer, survey.reasoning) if asks else None
    rendered = _Reading(*prompts, {**ends, **survey.generation}, markers).written(survey, None)
    _check_markers(rendered)
    return rendered


def tokenizer_of_model(
    model: Model,
    *,
    chat_template: str | None = None,
    template_name: str | None = None,
    trust_remote_code: bool = False,
) -> PreTrainedTokenizerBase:
    """Return a model's own tokenizer with its chat template: those of its adapter, if it has any.

    Raises:
        InputError: the tokenizer cannot be loaded, or has no chat template and none was given.

    """
    tokenizer = _own_tokenizer(model, trust_remote_code=trust_remote_code).tokenizer
    choose_template(tokenizer, model.directory, chat_template, template_name)
    return tokenizer


def paper_choice(survey: Survey, model: Model) -> str | None:
    """Return which option asks with the system prompt that the model was published with, in words.

    None if the chats have a system prompt, or the model's chat template is of no family that has one (arXiv 2405.17374
    asks each model with its default system prompt).
    """
    chats = survey.prompts.chats
    if chats is None or survey.prompts.system_prompt is not None:
        return None
    tokenizer = RenderedPrompts.of(survey, model).tokenizer
    choose_template(tokenizer, model.directory, survey.chat_template, survey.chat_template_name)
    found = omitted_system_prompt(tokenizer.get_chat_template(), chats.before)
    if found is None:
        return None
    return (
        f"the chat template adds no system prompt, and the paper asks {found.family} with its default one: "
        f"--system-prompt {found.system_prompt}"
    )


class _Own(NamedTuple):
    """A model's own tokenizer."""

    tokenizer: PreTrainedTokenizerBase
    of_adapter: bool
    """Whether an adapter has one that differs from that of the model below it."""


def _own(model: Model, survey: Survey, under: PreTrainedTokenizerBase | None = None) -> _Own:
    return _own_tokenizer(model, trust_remote_code=survey.trust_remote_code, under=under)


def _own_tokenizer(model: Model, *, trust_remote_code: bool, under: PreTrainedTokenizerBase | None = None) -> _Own:
    """Load a model's tokenizer, which may have no chat template.

    `under` is that of the base of a finetune, for what the finetune's directory lacks.
    """
    if under is not None and not has_tokenizer(model.directory):
        found = _Own(under, of_adapter=False)
    else:
        found = _Own(open_tokenizer(model.directory, trust_remote_code=trust_remote_code, under=under), False)
    for adapter in model.adapters:
        if has_tokenizer(adapter):
            own = open_tokenizer(adapter, trust_remote_code=trust_remote_code, under=found.tokenizer)
            if _facts(own) != _facts(found.tokenizer):
                found = _Own(own, of_adapter=True)
    return found


def _facts(tokenizer: PreTrainedTokenizerBase) -> tuple[object, ...]:
    """Return what decides how a tokenizer reads a chat, and where an answer ends."""
    return tokenizer.chat_template, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.get_vocab()


class _Reading(NamedTuple):
    """What a model makes of the prompts of a survey."""

    tokenizer: PreTrainedTokenizerBase
    chats: Mapping[str, Sequence[str]]
    calibration: Sequence[str]
    generation: Mapping[str, JsonValue]
    markers: Markers | None

    def tokens(self, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
        """Return the tokens that a tokenizer makes of all chats."""
        texts = [*itertools.chain.from_iterable(self.chats.values()), *self.calibration]
        return tokens_of(tokenizer, texts, ())

    def is_like(self, other: _Reading) -> bool:
        """Return whether both models read the same tokens, and go on from there by the same rules."""
        mine, theirs = (
            (each.chats, each.calibration, each.ends, each.markers, {**each.generation, "eos_token_id": None})
            for each in (self, other)
        )
        return mine == theirs and self.tokens(self.tokenizer) == other.tokens(other.tokenizer)

    @property
    def ends(self) -> frozenset[int]:
        """The tokens that end an answer."""
        return ends_of(self.generation, self.tokenizer)

    def written(self, survey: Survey, template_of: Literal["adapter", "tuned", "each"] | None) -> Survey:
        """Return the survey with these chats and settings."""
        probes = tuple(self._with_chats(probe) if isinstance(probe, ChatProbe) else probe for probe in survey.probes)
        return survey.with_axes([self._with_prompts(axis) for axis in survey.subspace.axes]).model_copy(
            update={
                "probes": probes,
                "calibration": Chats.of(calibration_prompts(), self.calibration),
                "generation": dict(self.generation),
                "markers": self.markers,
                "template_of": template_of,
            }
        )

    def _with_chats(self, probe: ChatProbe) -> ChatProbe:
        return probe.model_copy(update={"chats": Chats.of(probe.prompts, self.chats[probe.name])})

    def _with_prompts(self, axis: Axis) -> Axis:
        """Return an axis with the chats of the prompts that its direction is computed from, if there are any."""
        if not isinstance(axis, ComputedAxis):
            return axis
        return axis.model_copy(update={"recipe": axis.recipe.with_probes(self._with_chats)})


def _read(survey: Survey, model: Model, own: _Own) -> _Reading:
    # the finetune may have no tokenizer but this one, with all of its templates
    tokenizer = copy.copy(own.tokenizer)
    choose_template(tokenizer, model.directory, survey.chat_template, survey.chat_template_name)
    generation = generation_of(model, tokenizer, trust_remote_code=survey.trust_remote_code)
    markers = markers_of(tokenizer, survey.reasoning)
    return _Reading(tokenizer, *_rendered(survey, tokenizer), generation, markers)


def _rendered(
    survey: Survey, tokenizer: PreTrainedTokenizerBase, *, as_parts: bool = True
) -> tuple[dict[str, list[str]], list[str]]:
    """Return the chats of a survey's probes and those of the calibration."""
    variables = survey.template_vars
    if survey.reasoning == OFF:
        variables = {**variables, **switched_off(tokenizer, variables)}

    def chats(prompts: Sequence[str], system: str | None) -> list[str]:
        return format_chats(tokenizer, prompts, system, variables, as_parts=as_parts)

    asked = {probe.name: chats(probe.prompts, probe.system_prompt) for probe in survey.chat_probes}
    return asked, chats(calibration_prompts(), None)


def _with_both(survey: Survey, mine: _Reading, theirs: _Reading) -> Survey:
    """Return a survey that asks in the template of the finetune, and harmful prompts also in that of the base."""
    if mine.tokens(theirs.tokenizer) != mine.tokens(mine.tokenizer):
        raise InputError(
            "--template-of each: the tokenizers of the two models read the same chats differently, and a run uses one; "
            "give base or tuned"
        )
    if mine.markers and theirs.markers and mine.markers != theirs.markers:
        raise InputError(
            "--template-of each: the two models mark their thoughts differently, and a run tells them by one kind of "
            "markers; give base or tuned"
        )
    theirs = theirs._replace(markers=theirs.markers or mine.markers)
    if mine.ends != theirs.ends:
        ends: list[JsonValue] = [*sorted(mine.ends | theirs.ends)]
        theirs = theirs._replace(generation={**theirs.generation, "eos_token_id": ends})
    in_theirs, in_mine = theirs.written(survey, "each"), mine.written(survey, "each")
    asked = {probe.name for probe in survey.probes if probe.name == HARMFUL or probe.name.startswith(f"{HARMFUL}, ")}
    both = [
        probe.model_copy(update={"name": f"{probe.name}, {whose}'s template"})
        for whose, each in (("tuned", in_theirs), ("base", in_mine))
        for probe in each.probes
        if probe.name in asked
    ]
    return in_theirs.model_copy(
        update={"probes": (*both, *(probe for probe in in_theirs.probes if probe.name not in asked))}
    )


def _interpolation(survey: Survey) -> InterpolationAxis | None:
    return next((axis for axis in survey.subspace.axes if isinstance(axis, InterpolationAxis)), None)


def _tokenizer_of(survey: Survey, model: Model) -> PreTrainedTokenizerBase:
    """Load the tokenizer that the chats of a survey were written for."""
    if survey.template_of is None:
        return open_tokenizer(model.directory, trust_remote_code=survey.trust_remote_code)
    own = _own(model, survey)
    axis = _interpolation(survey)
    if survey.template_of == "adapter" or axis is None:
        return own.tokenizer
    return _own(resolve(axis.toward, trust_remote_code=survey.trust_remote_code), survey, under=own.tokenizer).tokenizer
