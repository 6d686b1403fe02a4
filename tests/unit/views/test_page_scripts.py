"""The scripts of the pages: modules are linked into one script, and their types are generated from Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from safescape.views.pages.linker import link, linked

ROOT = Path(__file__).parents[3]
TYPES = ROOT / "src" / "safescape" / "views" / "pages" / "scripts" / "payload.d.ts"
ENTRIES = ("report.js", "comparison.js", "run_list.js", "notice.js", "label_form.js")


def test_the_typescript_types_of_the_payload_are_generated_from_python() -> None:
    command = [sys.executable, str(ROOT / "tools" / "payload_types.py")]
    written = subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout
    assert TYPES.read_text(encoding="utf-8") == written, "python tools/payload_types.py > the file"


def test_a_linked_module_follows_those_that_it_imports() -> None:
    sources = {
        "page.js": 'import { two } from "./two.js";\nimport { $ } from "./dom.js";\n\n$(two());\n',
        "two.js": '// Comment.\n\nimport { $ } from "./dom.js";\n\n/** Return it. */\nexport const two = () => $(2);\n',
        "dom.js": "export function $(value) {\n  return value; // kept\n}\n",
        "other.js": "nothing\n",
    }
    assert link("page.js", sources) == (
        "// dom.js\nfunction $(value) {\n  return value; // kept\n}\n"
        "// two.js\nconst two = () => $(2);\n"
        "// page.js\n$(two());\n"
    )


def test_an_import_over_several_lines_is_linked() -> None:
    sources = {"a.js": 'import {\n  one, two,\n} from "./b.js";\none(two);\n', "b.js": "export let one, two;\n"}
    sources["b.js"] = "export async function one() {}\nexport let two = 2;\n"
    assert link("a.js", sources).endswith("// a.js\none(two);\n")


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"a.js": 'import { x } from "./b.js";\n'}, "b.js: no such script"),
        ({"a.js": 'import { x } from "./b.js";\n', "b.js": "const x = 1;\n"}, "a.js: b.js exports no x"),
        (
            {
                "a.js": 'import { x } from "./b.js";\nexport const y = 1;\n',
                "b.js": 'import { y } from "./a.js";\nexport const x = 1;\n',
            },
            "import in a circle",
        ),
        (
            {"a.js": 'import { x } from "./b.js";\nconst [y, z] = x;\n', "b.js": "export const x = 1;\nlet z;\n"},
            "z is declared in b.js and in a.js",
        ),
        ({"a.js": 'import x from "./b.js";\n', "b.js": "export const x = 1;\n"}, "cannot be linked"),
        ({"a.js": 'import { x } from "https://example.com/b.js";\n'}, "cannot be linked"),
        ({"a.js": "const x = 1;\nexport { x };\n"}, "cannot be linked"),
        ({"a.js": "export default 1;\n"}, "cannot be linked"),
    ],
    ids=["missing", "not exported", "circle", "clash", "default import", "address", "export list", "default export"],
)
def test_modules_that_cannot_be_linked_are_refused(sources: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        link("a.js", sources)


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_page_is_linked_without_imports_exports_and_types(entry: str) -> None:
    script = linked(entry)
    assert script.endswith("\n")
    for left in ("\nimport ", "\nexport ", "@param", "@typedef", "payload.js", "</script", "<!--"):
        assert left not in script


def test_every_script_is_on_a_page() -> None:
    on_pages = {name for entry in ENTRIES for name in linked(entry).split() if name.endswith(".js")}
    assert {path.name for path in TYPES.parent.glob("*.js")} <= on_pages
