"""Corrections for a judge's error in words: the source of the labels, cells and tables; and a judge's agreement."""

from __future__ import annotations

from collections.abc import Iterator

from safescape.landscape import Corrections, Gate, JudgeError, Landscape, Metric, rate_of
from safescape.survey import Label, Outcome
from safescape.views.text.tables import Table
from safescape.views.text.words import cell, counted, interval_text, printable, quoted, signed, value_text

_NAMES = {
    "origin_asr": "ASR at the origin",
    "safety_auc": "safety AUC",
    "visage": "VISAGE",
    "visage_reference": "VISAGE of the released code",
    "basin_radius": "the basin radius",
    "edge": "the edge",
}


def source_text(found: Corrections | JudgeError) -> str:
    """Return which labels a judge's error was measured on, as `50 labels of this run`."""
    origin, labels = str(found.origin), counted(found.n, "label")
    if origin == "run":
        return f"{labels} of this run"
    if origin == "file":
        return f"{labels} of {quoted(found.about)}"
    return f"{labels} shipped with safescape ({printable(found.about)})"


def corrections_said(landscape: Landscape) -> str:
    """Return what the corrected figures rest on, in sentences; empty if no judge's error was measured."""
    return " ".join(sentence for judge, found in landscape.corrected.items() for sentence in _said(judge, found))


def _said(judge: str, found: Corrections) -> Iterator[str]:
    name, source = printable(judge), source_text(found)
    if not found.corrects:
        yield (
            f"The error of the judge {name}, measured on {source}, leaves nothing to correct: its sensitivity "
            f"({interval_text(found.sensitivity)} %) and specificity ({interval_text(found.specificity)} %) may add up "
            "to 100 % or less."
        )
        return
    yield (
        f"Corrected for the error of the judge {name}, measured on {source}: sensitivity "
        f"{cell(found.sensitivity)} %, specificity {cell(found.specificity)} %."
    )
    if any(point.unscored for point in found.points):
        yield "Corrected rates are of scored answers; their intervals hold whatever the unscored ones are."
    if found.left_out:
        yield f"Not corrected: {', '.join(_NAMES[name] for name in found.left_out)}."


def has_corrections(landscape: Landscape) -> bool:
    """Return whether the first judge's figures are corrected."""
    found = landscape.corrected.get(landscape.survey.judges[0])
    return found is not None and found.corrects


def corrected_further(landscape: Landscape, judge: str, name: str) -> str:
    """Return a metric of a further judge, corrected, in words; empty if it is not corrected."""
    found = landscape.corrected.get(judge)
    if found is None or not found.corrects or name not in found.metrics:
        return ""
    return f", corrected {cell(found.metrics[name])}"


def corrected_cell(landscape: Landscape, name: str) -> str:
    """Return a metric of the first judge, corrected, with its interval; or that it is not corrected."""
    found = landscape.corrected.get(landscape.survey.judges[0])
    if found is None or not found.corrects or name not in found.metrics:
        return "not corrected"
    return cell(found.metrics[name])


def corrections_of(landscape: Landscape) -> Table | None:
    """Return the corrected figures of each judge beside the raw ones; None where nothing is corrected."""
    rows: list[tuple[str, ...]] = []
    for judge, found in landscape.corrected.items():
        first = judge == landscape.survey.judges[0]
        raw = landscape.metrics if first else landscape.by_judge.get(judge, {})
        for name, metric in found.metrics.items():
            if metric.value is not None:
                rows.append((f"{_NAMES[name]} %", printable(judge), cell(raw.get(name)), cell(metric)))
        for probe, change in found.changes.items():
            at = landscape.changes[probe]
            label = f"ASR of the other model %, {quoted(probe)}"
            rows.append((label, printable(judge), cell(at.other), cell(change.other)))
            both = (cell(metric, sign=True) for metric in (at.change, change.change))
            rows.append((f"its change, points, {quoted(probe)}", printable(judge), *both))
    return Table(("figure", "judge", "raw", "corrected"), tuple(rows)) if rows else None


def gate_corrections_said(gate: Gate) -> str:
    """Return what the corrected figures of a check rest on, in sentences; empty if the judge's error is unknown."""
    return "" if gate.corrected is None else " ".join(_said(gate.judge, gate.corrected))


def corrected_change(gate: Gate, probe: str) -> str:
    """Return the corrected rates of both models and their change, for a row of `check`; empty if there are none."""
    found = None if gate.corrected is None else gate.corrected.changes.get(probe)
    if found is None:
        return ""
    rates = " to ".join(value_text(metric) for metric in (found.origin, found.other))
    change = signed(found.change.value or 0.0, 1)
    return f"{rates} % ({interval_text(found.other)}), change {change}".replace("-", "\N{MINUS SIGN}")


def agreement_text(error: JudgeError) -> tuple[str, ...]:
    """Return a judge's agreement with people in sentences."""
    lines = [f"Judge {printable(error.judge)}, measured on {source_text(error)}."]
    partial = sum(error.outcomes.get(Label.PARTIAL, {}).values())
    if partial:
        lines.append(f"{counted(partial, 'partial refusal')} of them stand apart: neither class.")
    if error.unscored:
        lines.append(f"{error.unscored} left unscored by the judge, and not in the figures.")
    if any(stratum.answers is not None for stratum in error.strata):
        lines.append("The labels are a stratified sample, weighted by the sizes of its strata in the run.")
    if not error.corrects:
        lines.append(
            "Sensitivity and specificity may add up to 100 % or less: this judge leaves nothing to correct, and no "
            "figure will be corrected with it."
        )
    return tuple(lines)


def agreement_tables(error: JudgeError) -> tuple[Table, Table]:
    """Return a judge's figures, and its outcomes by kind of label."""
    meanings = (
        ("sensitivity %", error.sensitivity, 1, "of answers that comply, those it calls complied"),
        ("specificity %", error.specificity, 1, "of all other answers, those it does not call complied"),
        ("Cohen's κ", error.kappa, 2, "of the success of the attack"),
    )
    figures = Table(
        ("figure", "value", "95 % interval", "meaning"),
        tuple((name, value_text(m, d), interval_text(m, d), said) for name, m, d, said in meanings),
    )
    rows = []
    for label, counts in error.outcomes.items():
        total = sum(counts.values())
        if not total:
            continue
        right = _right(label, counts)
        shown = "–" if right is None else cell(right)
        rows.append((label.value, str(total), *(str(counts.get(outcome, 0)) for outcome in Outcome), shown))
    columns = ("label", "answers", *(f"judged {outcome.value}" for outcome in Outcome), "right of scored %")
    return figures, Table(columns, tuple(rows))


def _right(label: Label, counts: dict[Outcome, int]) -> Metric | None:
    """Return the share of scored answers with a label that the judge tells rightly whether they comply."""
    scored = sum(count for outcome, count in counts.items() if outcome is not Outcome.UNSCORED)
    if label is Label.PARTIAL or not scored:
        return None
    complied = counts.get(Outcome.COMPLIED, 0)
    return Metric(**rate_of(complied if label is Label.COMPLIED else scored - complied, scored)._asdict())
