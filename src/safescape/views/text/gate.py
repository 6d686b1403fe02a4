"""The outcome of `check` in words: a sentence, tables, a line for each failed threshold; as Markdown and as JUnit XML.

Names of models and probes are untrusted; `quoted` sets them in plain text and `named` in Markdown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from xml.etree import ElementTree

from safescape.landscape import Change, Gate, Metric, Ruling, unit_of
from safescape.views.text.correction import corrected_change, gate_corrections_said
from safescape.views.text.tables import Table
from safescape.views.text.words import (
    clash_text,
    counted,
    interval_text,
    limit_text,
    named,
    printable,
    quoted,
    value_text,
)

Named = Callable[[str], str]


def names_of(gate: Gate) -> str:
    """Return which model is which."""
    return f"BASE: {printable(gate.base)}; TUNED: {printable(gate.tuned)}"


def headline_of(gate: Gate) -> str:
    """Return whether the gate passed, in a sentence."""
    thresholds = counted(len(gate.rulings), "threshold")
    if gate.passed:
        return f"PASSED: TUNED keeps all {thresholds}." if gate.rulings else "PASSED: no threshold was set."
    left = f" {len(gate.unknown)} cannot be told." if gate.unknown else ""
    if gate.failed:
        return f"FAILED: TUNED fails {len(gate.failed)} of {thresholds}.{left}"
    return f"CANNOT TELL: too many answers are unscored for {len(gate.unknown)} of {thresholds}."


def notes_of(gate: Gate) -> Iterator[str]:
    """Yield the notes beside the headline: an unsafe base, where safety is lost, how the figures were compared."""
    asr, safe_below = gate.changes[gate.probe].origin, limit_text(gate.limit).replace("the origin’s", "BASE’s")
    margin = f"{abs(gate.margin.value or 0.0):.2f}"
    if gate.has_basin and gate.limit.origin is not None:
        yield (
            f"BASE itself is unsafe: its ASR is {value_text(asr)} %, and up to {gate.safe_below:g} % counts as safe. "
            f"It is safer than its surroundings, so that its basin is measured against {safe_below}."
        )
    if not gate.has_basin:
        yield (
            f"BASE itself is unsafe: its ASR is {value_text(asr)} %, and up to {gate.safe_below:g} % counts as safe. "
            "There is no basin around it that TUNED could lie in: it is not shown to be safer than its surroundings."
        )
    elif gate.edge.at_least:
        yield (
            f"From BASE (α = 0) to TUNED (α = 1) and on to α = {gate.edge.value:.2f} no point has an ASR above "
            f"{safe_below}: TUNED lies inside the basin, by {margin} of its distance from BASE or more."
        )
    else:
        inside = "inside" if (gate.margin.value or 0.0) >= 0 else "outside"
        yield (
            f"On the line from BASE (α = 0) to TUNED (α = 1) the ASR passes {safe_below} at α = "
            f"{value_text(gate.edge, 2)} ({interval_text(gate.edge, 2)}): TUNED lies {inside} the basin, by "
            f"{margin} of its distance from BASE."
        )
    if gate.clashes:
        yield clash_text(gate.clashes)
    if gate.noise:
        few, n = "is" if gate.noise == 1 else "are", gate.changes[gate.probe].n
        yield f"Of TUNED's {n} answers {gate.noise} {few} noise, which is neither a refusal nor compliance."
    if any(ruling.unscored for ruling in gate.rulings):
        yield (
            "An unscored answer never counts as safe: it is held against the thresholds as an answer to its request, "
            "of a harmless one as a refusal."
        )
    if corrected := gate_corrections_said(gate):
        yield f"{corrected} Thresholds are held against the raw figures."
    if gate.unknown:
        yield (
            f"The gate cannot tell where more than {gate.max_unscored:g} % of the answers are unscored "
            "(--max-unscored). Another judge may score them: repeat the command with another --judge."
        )
    if gate.thresholds.strict:
        yield "Strict: the worse end of each 95 % interval is held against its threshold."


def rulings_of(gate: Gate, name: Named = quoted) -> Table:
    """Return each threshold with its measured value."""
    rows = []
    for ruling in gate.rulings:
        verdict = {"passed": "passed", "failed": "FAILED", "cannot tell": "CANNOT TELL"}[ruling.end]
        allowed = f"{'at least' if ruling.threshold == 'min_radius' else 'at most'} {_allowed(ruling)}"
        interval = _minus(interval_text(ruling.measured.model_copy(update={"unscored": 0}), _decimals(ruling)))
        left = f", {ruling.unscored} unscored" if ruling.unscored else ""
        rows.append((name_of(ruling, gate, name), _measured(ruling) + left, interval, allowed, verdict))
    return Table(("threshold", "measured", "95 % interval", "allowed", "verdict"), tuple(rows))


def changes_of(gate: Gate, name: Named = quoted) -> Table:
    """Return the figures of each probe at both models, with the change and its paired interval.

    Where another judge than the keyword judge decides, the ASR by the keyword judge stands in a column of its own; so
    do the figures corrected for the judge's error, where that was measured.
    """
    rows, is_corrected = [], gate.corrected is not None and bool(gate.corrected.changes)
    for probe, change in gate.changes.items():
        unit = unit_of(change.kind)
        # the name of any other probe says what it is: `over-refusal:…`, `choice:…`
        label = "ASR" if probe == gate.probe else f"ASR {name(probe)}" if change.kind == "asr" else name(probe)
        both = (f"{value_text(metric)}{unit} ({interval_text(metric)})" for metric in (change.origin, change.other))
        beside = gate.keyword.get(probe, ())
        keyword = " to ".join(value_text(metric) for metric in beside) + " %" if beside else ""
        further = (*((keyword,) if gate.keyword else ()), *((corrected_change(gate, probe),) if is_corrected else ()))
        rows.append((label, str(change.n), *both, _changed(change), *further))
    further_columns = (*(("keyword judge",) if gate.keyword else ()), *(("corrected",) if is_corrected else ()))
    columns = ("figure", "items", "BASE", "TUNED", "change", *further_columns)
    return Table(columns, tuple(rows))


def name_of(ruling: Ruling, gate: Gate, name: Named = quoted) -> str:
    """Return the name of a ruling: its flag, and the probe if that is not the first one."""
    flag = ruling.threshold.replace("_", "-")
    return flag if ruling.probe == gate.probe else f"{flag} {name(ruling.probe)}"


def failure_of(ruling: Ruling, gate: Gate, name: Named = quoted) -> str:
    """Return the line that says which threshold fails and by how much."""
    flag, allowed, least = name_of(ruling, gate, name), _allowed(ruling), ruling.threshold == "min_radius"
    has_basin = gate.has_basin if ruling.probe == gate.probe else ruling.limit is None or ruling.limit.has_basin
    if least and not has_basin:
        return f"FAILED {flag}: BASE itself is unsafe, so there is no basin, needed {allowed}"
    compared = f"{ruling.compared:.{_decimals(ruling)}f}"
    said = {
        "max_asr": "ASR {} at TUNED",
        "max_rise": "from BASE to TUNED the ASR rises by {}",
        "min_radius": _lost(ruling) + " at α = {}",
        "max_over_refusal": "TUNED refuses {} of harmless requests",
        "max_loss": "TUNED loses {} of the capability that BASE has",
    }[ruling.threshold].format(compared + _unit(ruling))
    if least and ruling.measured.at_least and not ruling.unscored:
        said = f"the line is safe as far as it was measured, to α = {compared}"
    elif ruling.compared != ruling.measured.value:
        worse = ["at the worse end of the 95 % interval"] if gate.thresholds.strict else []
        if ruling.unscored:
            outcome = "refused" if ruling.threshold == "max_over_refusal" else "answered"
            worse.append(f"with {counted(ruling.unscored, 'unscored answer')} counted as {outcome}")
        said += f" {', '.join(worse)} (measured: {_measured(ruling)})"
    # as many digits as it takes to be more than nothing
    far = f"{ruling.excess:.{_decimals(ruling)}f}"
    far = far if float(far) else f"{ruling.excess:.1g}"
    end = f"needed {allowed}: {far} short" if least else f"allowed {allowed}: {far} too much"
    return f"FAILED {flag}: {said}, {end}"


def _lost(ruling: Ruling) -> str:
    """What happens at the edge of the basin."""
    if ruling.limit is None:
        return "safety is lost"
    return f"the ASR passes {limit_text(ruling.limit)},"


def unknown_of(ruling: Ruling, gate: Gate, name: Named = quoted) -> str:
    """Return the line that says why a threshold cannot be told, and what to type."""
    found = ruling.too_unscored
    assert found is not None
    where = {0.0: "BASE", 1.0: "TUNED"}.get(found.alpha, f"α = {found.alpha:g}")
    share = f"{100.0 * found.unscored / found.n:.1f} %"
    return (
        f"CANNOT TELL {name_of(ruling, gate, name)}: {found.unscored} of {found.n} answers at {where} ({share}) are "
        f"unscored, allowed {gate.max_unscored:g} %: give another --judge, or a higher --max-unscored"
    )


def lines_of(gate: Gate, name: Named = quoted) -> list[str]:
    """Return a line for each threshold that fails or cannot be told."""
    failed = [failure_of(ruling, gate, name) for ruling in gate.failed]
    return failed + [unknown_of(ruling, gate, name) for ruling in gate.unknown]


def markdown_of(gate: Gate) -> str:
    """Return the outcome as Markdown that a CI job can post: the headline, the failures and the tables."""
    lines = [f"## safescape check: {gate.end}", ""]
    lines += [f"BASE {named(gate.base)}, TUNED {named(gate.tuned)}", "", f"**{headline_of(gate)}**", ""]
    lines += [f"- {line}" for line in lines_of(gate, named)] + [""]
    for note in notes_of(gate):
        lines += [note, ""]
    return "\n".join((*lines, rulings_of(gate, named).markdown, "", changes_of(gate, named).markdown)) + "\n"


def junit_of(gate: Gate) -> str:
    """Return the outcome as JUnit XML, which CI systems read: one test case per threshold.

    A threshold that cannot be told is an error of its case: neither passed nor failed.
    """
    numbers = {"tests": len(gate.rulings), "failures": len(gate.failed), "errors": len(gate.unknown), "skipped": 0}
    count = {name: str(number) for name, number in numbers.items()}
    suites = ElementTree.Element("testsuites", count)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "safescape check", **count})
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (("base", printable(gate.base)), ("tuned", printable(gate.tuned))):
        ElementTree.SubElement(properties, "property", {"name": name, "value": value})
    for ruling in gate.rulings:
        named_case = {"classname": "safescape.check", "name": name_of(ruling, gate), "time": "0"}
        case = ElementTree.SubElement(suite, "testcase", named_case)
        if ruling.end == "cannot tell":
            line = unknown_of(ruling, gate)
            ElementTree.SubElement(case, "error", {"type": ruling.threshold, "message": line}).text = line
        elif ruling.end == "failed":
            line = failure_of(ruling, gate)
            ElementTree.SubElement(case, "failure", {"type": ruling.threshold, "message": line}).text = line
    ElementTree.SubElement(suite, "system-out").text = "\n".join((headline_of(gate), *notes_of(gate)))
    ElementTree.indent(suites, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _allowed(ruling: Ruling) -> str:
    return f"{ruling.allowed:g}{_unit(ruling)}"


def _unit(ruling: Ruling) -> str:
    return {"max_rise": " points", "min_radius": ""}.get(ruling.threshold, " %")


def _decimals(ruling: Ruling) -> int:
    return 2 if ruling.threshold == "min_radius" else 1


def _measured(ruling: Ruling) -> str:
    return _minus(value_text(ruling.measured, _decimals(ruling), _unit(ruling)))


def _changed(change: Change) -> str:
    metric: Metric = change.change if change.loss is None else change.loss
    figures = (value_text(metric), interval_text(metric))
    if change.loss is not None:
        return _minus("loss {} % ({})".format(*figures))
    return _minus(("+" if (metric.value or 0.0) > 0 else "") + "{} points ({})".format(*figures))


def _minus(figures: str) -> str:
    return figures.replace("-", "\N{MINUS SIGN}")
