"""The form in which a person labels answers of a run, in the browser. It shows no verdict and no point."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safescape.store import ShownAnswer
from safescape.survey import Label, Sample
from safescape.views.pages.document import Document, Home, compose
from safescape.views.pages.payload import LabelPayload


def compose_label_form(
    directory: Path, model: str, sample: Sample, shown: Mapping[int, ShownAnswer], token: str
) -> Document:
    """Return the form for a run's sample.

    Args:
        directory: The run directory.
        model: The model's name. This and all texts are untrusted.
        sample: The sample with the labels so far.
        shown: The sampled answers with their prompts, by the answer's id.
        token: What the page sends with every label.

    """
    payload: LabelPayload = {
        "token": token,
        "labels": [label.value for label in Label],
        "answers": [
            {
                "prompt": shown[row.response].prompt,
                "text": shown[row.response].text,
                "label": None if row.label is None else row.label.value,
                "skipped": row.skipped,
            }
            for row in sample.rows
        ],
    }
    home = Home(served=True)
    return compose(
        "label_form.html.j2", "label_form.js", payload, home=home, plots=False, directory=str(directory), model=model
    )
