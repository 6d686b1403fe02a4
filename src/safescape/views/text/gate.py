"""What a gate says: its verdict in a sentence, its figures as tables, and a line for each threshold that is passed.

Plain text in which the only untrusted words are names of probes; `named` sets those as their place needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from safescape.landscape import Change, Gate, Metric, Ruling
from safescape.views.text.tables import Table
from safescape.views.text.words import counted, interval_text, printable, value_text

__all__ = ["changes_of", "failure_of", "headline_of", "name_of", "names_of", "notes_of", "rulings_of"]

Named = Callable[[str], str]


def quoted(name: str) -> str:
    """Return a name for a terminal or a file of plain text."""
    return f"“{printable(name)}”"


def names_of(gate: Gate) -> str:
    """Return which model is which."""
    return f"BASE: {printable(gate.base)}; TUNED: {printable(gate.tuned)}"


def headline_of(gate: Gate) -> str:
    """Return the verdict."""
    thresholds = counted(len(gate.rulings), "threshold")
    if gate.passed:
        return f"PASSED: TUNED keeps all {thresholds}." if gate.rulings else "PASSED: no threshold was set."
    return f"FAILED: TUNED fails {len(gate.failed)} of {thresholds}."


def notes_of(gate: Gate) -> Iterator[str]:
    """What stands beside the verdict: an unsafe base, where safety is lost, how the figures were held."""
    asr = gate.changes[gate.probe].origin
    if not gate.has_basin:
        yield (
            f"BASE itself is unsafe: its ASR is {value_text(asr)} %, and up to {gate.safe_below:g} % counts as safe. "
            "There is no basin around it that TUNED could lie in."
        )
    elif gate.edge.at_least:
        yield (
            f"From BASE (α = 0) to TUNED (α = 1) and on to α = {gate.edge.value:.2f} no point has an ASR above "
            f"{gate.safe_below:g} %: TUNED lies inside the basin, by {_number(gate.margin)} of its distance from BASE "
            "or more."
        )
    else:
        inside = "inside" if (gate.margin.value or 0.0) >= 0 else "outside"
        yield (
            f"On the line from BASE (α = 0) to TUNED (α = 1) the ASR passes {gate.safe_below:g} % at α = "
            f"{value_text(gate.edge, 2)} ({interval_text(gate.edge, 2)}): TUNED lies {inside} the basin, by "
            f"{_number(gate.margin)} of its distance from BASE."
        )
    if gate.thresholds.strict:
        yield "Strict: the worse end of each 95 % interval is held against its threshold."


def rulings_of(gate: Gate, named: Named = quoted) -> Table:
    """Return each threshold with what was measured."""
    rows = []
    for ruling in gate.rulings:
        verdict = "passed" if ruling.passed else "FAILED"
        allowed = f"{'at least' if ruling.threshold == 'min_radius' else 'at most'} {_allowed(ruling)}"
        rows.append((name_of(ruling, gate, named), *_cells(ruling), allowed, verdict))
    return Table(("threshold", "measured", "95 % interval", "allowed", "verdict"), tuple(rows))


def changes_of(gate: Gate, named: Named = quoted) -> Table:
    """Return what was measured of each probe at both models, with the change and its paired interval."""
    rows = []
    for name, change in gate.changes.items():
        unit = "" if change.kind == "perplexity" else " %"
        # the name of any other probe says what it is: `over-refusal:…`, `choice:…`
        label = "ASR" if name == gate.probe else f"ASR {named(name)}" if change.kind == "asr" else named(name)
        rows.append((label, str(change.n), _both(change.origin, unit), _both(change.other, unit), _changed(change)))
    return Table(("figure", "items", "BASE", "TUNED", "change"), tuple(rows))


def name_of(ruling: Ruling, gate: Gate, named: Named = quoted) -> str:
    """Return a ruling's name: its flag, and the probe where that is not the first one."""
    flag = ruling.threshold.replace("_", "-")
    return flag if ruling.probe == gate.probe else f"{flag} {named(ruling.probe)}"


def failure_of(ruling: Ruling, gate: Gate, named: Named = quoted) -> str:
    """Return the line that says which threshold fails and by how much."""
    name, allowed = name_of(ruling, gate, named), _allowed(ruling)
    if ruling.threshold == "min_radius" and not gate.has_basin and ruling.probe == gate.probe:
        return f"FAILED {name}: BASE itself is unsafe, so there is no basin, needed {allowed}"
    said = {
        "max_asr": "ASR {} at TUNED",
        "max_rise": "from BASE to TUNED the ASR rises by {}",
        "min_radius": "safety is lost at α = {}",
        "max_over_refusal": "TUNED refuses {} of harmless requests",
        "max_loss": "TUNED loses {} of the capability that BASE has",
    }[ruling.threshold].format(_plain(ruling.compared, ruling) + _unit(ruling))
    if ruling.threshold == "min_radius" and ruling.measured.at_least:
        said = f"the line is safe as far as it was measured, to α = {_plain(ruling.compared, ruling)}"
    elif ruling.compared != ruling.measured.value:
        said += f" at the worse end of the 95 % interval (measured: {_cells(ruling)[0]})"
    if ruling.threshold == "min_radius":
        return f"FAILED {name}: {said}, needed {allowed}: {_far(ruling)} short"
    return f"FAILED {name}: {said}, allowed {allowed}: {_far(ruling)} too much"


def _allowed(ruling: Ruling) -> str:
    return f"{ruling.allowed:g}{_unit(ruling)}"


def _unit(ruling: Ruling) -> str:
    return {"max_rise": " points", "min_radius": ""}.get(ruling.threshold, " %")


def _decimals(ruling: Ruling) -> int:
    return 2 if ruling.threshold == "min_radius" else 1


def _plain(value: float, ruling: Ruling) -> str:
    return f"{value:.{_decimals(ruling)}f}"


def _far(ruling: Ruling) -> str:
    """How far beyond the threshold, with as many digits as it takes to be more than nothing."""
    text = _plain(ruling.excess, ruling)
    return text if float(text) else f"{ruling.excess:.1g}"


def _cells(ruling: Ruling) -> tuple[str, str]:
    decimals = _decimals(ruling)
    return _minus(value_text(ruling.measured, decimals, _unit(ruling))), _minus(
        interval_text(ruling.measured, decimals)
    )


def _both(metric: Metric, unit: str) -> str:
    return f"{value_text(metric)}{unit} ({interval_text(metric)})"


def _changed(change: Change) -> str:
    if change.loss is not None:
        return _minus(f"loss {value_text(change.loss)} % ({interval_text(change.loss)})")
    sign = "+" if (change.change.value or 0.0) > 0 else ""
    return _minus(f"{sign}{value_text(change.change)} points ({interval_text(change.change)})")


def _minus(figures: str) -> str:
    return figures.replace("-", "\N{MINUS SIGN}")


def _number(margin: Metric) -> str:
    return f"{abs(margin.value or 0.0):.2f}"
