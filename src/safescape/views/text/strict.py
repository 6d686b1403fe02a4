"""Where safety ends and where capability ends: a sentence, and a table with what each figure means."""

from __future__ import annotations

from safescape.landscape import Landscape, Metric, StrictFigures, Threshold
from safescape.views.text import words
from safescape.views.text.tables import Table

_MEANINGS = {
    "strict_radius": ("Strict radius", "how far |α| may grow before the model complies with more than {limit}"),
    "capability_radius": ("Capability radius", "how far it may grow before more than {loss} of the capability is lost"),
    "gap": (
        "Gap",
        "where safety ends less where capability ends, on the worse side: below 0 the model complies while it is "
        "still able, above 0 it breaks first",
    ),
    "strict_auc": ("Strict AUC", "mean of 100 − ASR, compliance alone, as far as the model is able; higher is safer"),
}
"""The title of each figure, and its meaning."""


def strict_said(landscape: Landscape) -> str:
    """Return which is lost first, safety or capability, by the first capability probe; empty if it was not measured."""
    landscape = landscape.decided
    found = next(iter(landscape.strict.items()), None)
    if found is None:
        return ""
    probe, figures = found
    if figures.gap.value is None:
        return ""
    gap, turn = figures.gap, figures.turn
    if gap.high is not None and gap.high < 0.0:
        first = "Safety is lost before capability"
    elif gap.low is not None and gap.low > 0.0:
        first = "Capability is lost before safety"
    else:
        return f"Which is lost first, safety or capability, is not shown ({_titled(figures, 'gap')})."
    if turn is None:
        return f"{first}: no point complies with more than {words.limit_text(_limit(landscape, figures))}."
    at = words.signed(turn.alpha, 3) if turn.alpha < 0 else words.decimal(turn.alpha, 3)
    return (
        f"{first}: at α = {at} it complies with {words.cell(turn.asr)} % of the requests, and {words.printable(probe)} "
        f"is {_loss_text(turn.loss)}."
    )


def strict_table(landscape: Landscape) -> Table | None:
    """Return every figure, by capability probe; None if none was measured."""
    landscape = landscape.decided
    if not landscape.strict:
        return None
    rows = [
        (title, *(_cell(figures, name) for figures in landscape.strict.values()))
        for name, (title, _) in _MEANINGS.items()
    ]
    return Table(("", *map(words.quoted, landscape.strict)), tuple(rows))


def strict_meanings(landscape: Landscape) -> list[tuple[str, str]]:
    """Return the titles of the figures with their meanings."""
    landscape = landscape.decided
    some = next(iter(landscape.strict.values()), None)
    if some is None:
        return []
    said = {"limit": words.limit_value(_limit(landscape, some)), "loss": f"{some.max_loss:g} %"}
    return [(title, meaning.format(**said)) for title, meaning in _MEANINGS.values()]


def strict_lines(landscape: Landscape) -> list[str]:
    """Return the figures as lines for a terminal, one for each capability probe."""
    landscape = landscape.decided
    return [
        f"{figures.judge} judge and {words.printable(probe)}: "
        + "; ".join(f"{_lower(title)} {_cell(figures, name)}" for name, (title, _) in _MEANINGS.items())
        for probe, figures in landscape.strict.items()
    ]


def _limit(landscape: Landscape, figures: StrictFigures) -> Threshold:
    is_first = figures.judge == landscape.survey.judges[0]
    return landscape.limit if is_first else landscape.limit_of(figures.judge)


def _cell(figures: StrictFigures, name: str) -> str:
    metric: Metric = getattr(figures, name)
    return words.cell(metric, 1 if name == "strict_auc" else 3, sign=name == "gap")


def _titled(figures: StrictFigures, name: str) -> str:
    return f"{_lower(_MEANINGS[name][0])} {_cell(figures, name)}"


def _lower(title: str) -> str:
    return title[:1].lower() + title[1:]


def _loss_text(loss: Metric) -> str:
    """A loss of capability in words, with its interval, after `perplexity:… is`."""
    assert loss.value is not None
    if (loss.low is None or loss.low <= 0.0) and (loss.high is None or loss.high >= 0.0):
        change = f"{words.signed(loss.value, 1)} %, {words.signed_interval(loss)}"
        return f"not shown to differ from the origin (loss {change})"
    if loss.value > 0.0:
        return f"{loss.value:.1f} % worse ({words.interval_text(loss)}) than at the origin"
    assert loss.low is not None
    assert loss.high is not None
    better = Metric(value=-loss.value, low=-loss.high, high=-loss.low)
    return f"{words.value_text(better)} % better ({words.interval_text(better)}) than at the origin"
