"""One script of a page's modules.

A page read from disk cannot load modules: to a browser every file is an origin of its own. An import map with `data:`
addresses would need a policy that allows scripts from `data:`, and a third more bytes. So the modules are joined in the
order of their imports, in one scope, as one inline script whose hash the policy names. This needs no bundler: modules
import and export by name, and their top-level names are unique.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.resources import files

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?function|const|let)", re.MULTILINE)
_DECLARED = re.compile(r"^(?:export )?(?:async )?(?:function|const|let) ([\w$]+|[{\[][^=]*[}\]])", re.MULTILINE)
_COMMENT = re.compile(r"^ *(?://.*|/\*\*(?:(?!\*/)[\s\S])*\*/) *\n", re.MULTILINE)
_LEFT = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


@cache
def linked(entry: str) -> str:
    """Return the script of a page whose first module is `entry`, a file name such as `report.js`."""
    folder = files("safescape.views.pages") / "scripts"
    sources = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".js")}
    return link(entry, sources)


def link(entry: str, sources: Mapping[str, str]) -> str:
    """Return one script of a module and all that it imports; what a module imports comes before it.

    Lines that are nothing but a comment are left out.

    Args:
        entry: The module to begin with.
        sources: Every module's text by its file name.

    Raises:
        ValueError: a module is missing or imports in a circle, an imported name is not exported, two modules declare
            the same name, or an import or export is not by name.

    """
    needed: dict[str, set[str]] = {}
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name not in sources:
            raise ValueError(f"{name}: no such script")
        if name not in needed:
            needed[name] = {other for _, other in _IMPORT.findall(sources[name])}
            waiting += sorted(needed[name])
    for name in needed:
        for names, other in _IMPORT.findall(sources[name]):
            exported = _declared(sources[other], "export ")
            if missing := {each.strip() for each in names.split(",") if each.strip()} - exported:
                raise ValueError(f"{name}: {other} exports no {', '.join(sorted(missing))}")
    try:
        # sorted, so that the same modules give the same script
        order = [*TopologicalSorter({name: sorted(needed[name]) for name in sorted(needed)}).static_order()]
    except CycleError as error:
        raise ValueError(f"scripts import in a circle: {' -> '.join(error.args[1])}") from error
    owners: dict[str, str] = {}
    for name in order:
        for declared in _declared(sources[name]):
            if owners.setdefault(declared, name) != name:
                raise ValueError(f"{declared} is declared in {owners[declared]} and in {name}; scripts share one scope")
    texts = {name: _COMMENT.sub("", _EXPORT.sub("", _IMPORT.sub("", sources[name]))).strip() for name in order}
    for name, text in texts.items():
        if left := _LEFT.search(text):
            raise ValueError(f"{name}: {left[0]!r} cannot be linked; import and export by name")
    return "\n".join(f"// {name}\n{text}" for name, text in texts.items()) + "\n"


def _declared(source: str, prefix: str = "") -> set[str]:
    """The names that a module declares at its top level, or only those that it exports."""
    found = [match[1] for match in _DECLARED.finditer(source) if match[0].startswith(prefix)]
    return {name for part in found for name in re.findall(r"[\w$]+", part)}
