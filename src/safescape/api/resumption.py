"""Which survey a run directory is measured with: what is asked now, or what was asked when the run was begun."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal, NamedTuple

from safescape.errors import InputError
from safescape.measure import DtypeChoice, with_chats, with_chats_as_written
from safescape.store import stored_survey
from safescape.survey import Survey
from safescape.weights import Model

_CHANGED = (
    "the model's files make other chats or settings today; those in survey.json hold, for new ones give another --out"
)
_EARLIER = "begun by an earlier version, and asked as it began; give another --out for the chats to be stored"

_FIELDS_OF_EARLIER: dict[str, object] = {"dtype": "float32", "adapter": "merged"}
"""What earlier versions measured with on a GPU where the user left it open."""


class Begun(NamedTuple):
    """A survey with its chats, and the directory to measure it in."""

    survey: Survey
    directory: Path
    note: str | None = None
    """What was chosen for the run, and what it keeps although it would be begun otherwise today."""

    def with_note(self, note: str | None) -> Begun:
        """Return the same with one more remark, if there is any."""
        return self._replace(note="; ".join(filter(None, (self.note, note))) or None)


def begin(
    survey: Survey,
    model: Model,
    directory: Path | None,
    *,
    template_of: Literal["base", "tuned", "each"] | None,
    max_thinking_tokens: int | None,
    choose: Callable[[Survey], DtypeChoice] | None = None,
    left_open: Collection[str] = (),
) -> Begun:
    """Return a survey with its chats: those of the run in its directory, which it resumes, or those rendered now.

    Args:
        survey: Without chats.
        model: The model it names.
        directory: As the user gave it; None: named after the survey.
        template_of: See `with_chats`; None if the user left it open.
        max_thinking_tokens: Of a reasoning model, if the user left it open.
        choose: Chooses the dtype for a survey with its chats; None: it is given.
        left_open: Which of `dtype` and `adapter` the user left open: a run keeps those that it was begun with.

    Raises:
        InputError: the model cannot be asked, and no run was begun in the directory.

    """
    failure = None
    try:
        rendered = with_chats(survey, model, template_of, max_thinking_tokens)
    except InputError as error:
        # what was begun goes on with its chats, whatever the template does today
        rendered, failure = survey, error
    choice = None if choose is None else choose(rendered)
    if choice is not None:
        rendered = rendered.model_copy(update={"dtype": choice.dtype})
    directory = directory or _directory_of(rendered, left_open)
    stored, note = stored_survey(directory), None if choice is None else choice.why
    if stored is not None:
        rendered = rendered.model_copy(update={name: getattr(stored, name) for name in left_open})
        if choice is not None and choice.dtype != stored.dtype:
            note = f"in {stored.dtype}, as the run was begun"
        asked = rendered.without_chats()
        if template_of is None:
            asked = asked.model_copy(update={"template_of": stored.template_of})
        if survey.max_thinking_tokens is None:
            asked = asked.model_copy(update={"max_thinking_tokens": stored.max_thinking_tokens})
        if not asked.differences(stored.without_chats()):
            kept = stored.model_copy(update={"judges": survey.judges})
            rendered = rendered.model_copy(update={"noise": stored.noise})
            begun = Begun(kept, directory, note)
            if not stored.has_chats:
                return begun.with_note(_EARLIER if rendered.template_of or rendered.generation else None)
            return begun.with_note(_CHANGED if failure or rendered.differences(kept) else None)
    if failure is not None:
        raise failure
    return Begun(rendered, directory, note)


def repeat(survey: Survey, model: Model, directory: Path | None) -> Begun:
    """Return a given survey with the chats that it holds, or rendered as its text says.

    Raises:
        InputError: the model cannot be asked.

    """
    directory = directory or _default_directory(survey)
    stored = stored_survey(directory)
    if (
        stored is not None
        and not (stored.has_chats and survey.has_chats)
        and not survey.without_chats().differences(stored.without_chats())
    ):
        return Begun(stored.model_copy(update={"judges": survey.judges}), directory)
    return Begun(survey if survey.has_chats else with_chats_as_written(survey, model), directory)


def _directory_of(survey: Survey, left_open: Collection[str]) -> Path:
    """Return a survey's default directory, or that of the same survey by an earlier version, if it was begun there."""
    earlier = survey.model_copy(update={name: _FIELDS_OF_EARLIER[name] for name in left_open})
    found = [_default_directory(each) for each in (survey, earlier)]
    return next((each for each in found if stored_survey(each) is not None), found[0])


def _default_directory(survey: Survey) -> Path:
    """Name a directory after what was asked, not after what the model's files made of it, which may change."""
    model = re.sub(r"[^\w.-]+", "-", survey.model).strip("-.")[-60:] or "model"
    return Path("runs") / f"{model}-{survey.without_chats().digest[:8]}"
