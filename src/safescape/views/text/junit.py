"""A gate as JUnit XML, which CI systems read: one test case a threshold."""

from __future__ import annotations

from xml.etree import ElementTree

from safescape.landscape import Gate
from safescape.views.text.gate import failure_of, headline_of, name_of, notes_of
from safescape.views.text.words import printable

__all__ = ["junit_of"]


def junit_of(gate: Gate) -> str:
    """Return the text of a JUnit file. Names are hostile text; what XML cannot hold is not in `printable` text."""
    count = {"tests": str(len(gate.rulings)), "failures": str(len(gate.failed)), "errors": "0", "skipped": "0"}
    suites = ElementTree.Element("testsuites", count)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "safescape check", **count})
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (("base", printable(gate.base)), ("tuned", printable(gate.tuned))):
        ElementTree.SubElement(properties, "property", {"name": name, "value": value})
    for ruling in gate.rulings:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": "safescape.check", "name": name_of(ruling, gate), "time": "0"}
        )
        if not ruling.passed:
            line = failure_of(ruling, gate)
            ElementTree.SubElement(case, "failure", {"type": ruling.threshold, "message": line}).text = line
    ElementTree.SubElement(suite, "system-out").text = "\n".join((headline_of(gate), *notes_of(gate)))
    ElementTree.indent(suites, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"
