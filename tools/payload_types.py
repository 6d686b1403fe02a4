"""Write the types of the page's payload for TypeScript.

    python tools/payload_types.py > src/safescape/views/pages/scripts/payload.d.ts

They are read from the source of `payload.py` and of the modules of series from which it imports records: each TypedDict
or NamedTuple becomes an interface, each docstring a comment.
`tests/unit/views/test_page_scripts.py` fails when the two differ.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src"
SOURCE = ROOT / "safescape/views/pages/payload.py"
HEAD = "// Written by tools/payload_types.py from payload.py and the records that it imports; change it there."
NAMES = {"str": "string", "int": "number", "float": "number", "bool": "boolean", "Outcome": "string"}
NAMES["Array"] = "(number | null)[][]"


def declarations() -> str:
    """Return the declarations of the records that the payload imports and of those that it defines."""
    found = [HEAD]
    payload = ast.parse(SOURCE.read_text(encoding="utf-8"))
    for node in payload.body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("safescape.views.series."):
            module = ast.parse((ROOT / f"{str(node.module).replace('.', '/')}.py").read_text(encoding="utf-8"))
            records = {name.name for name in node.names}
            for each in module.body:
                if isinstance(each, ast.ClassDef) and each.name in records:
                    found += ["", *interface(each)]
        elif isinstance(node, ast.ClassDef):
            found += ["", *interface(node)]
    return "\n".join(found) + "\n"


def interface(node: ast.ClassDef) -> list[str]:
    """Return the lines of the interface of one TypedDict or NamedTuple."""
    lines = [*comment(ast.get_docstring(node) or ""), f"export interface {node.name} {{"]
    for field, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign):
            lines += [f"  {line}" for line in comment(docstring(after))]
            lines.append(f"  {named(field.target)}: {typed(field.annotation)};")
    return [*lines, "}"]


def docstring(node: ast.stmt | None) -> str:
    """Return the text of a statement that is nothing but a string; else an empty one."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return ""


def comment(text: str) -> list[str]:
    """Return a text as a comment in one line; none where it is empty."""
    return [f"/** {' '.join(text.split())} */"] if text else []


def named(node: ast.expr) -> str:
    """Return the name that a field is given."""
    assert isinstance(node, ast.Name)
    return node.id


def typed(node: ast.expr) -> str:
    """Return the TypeScript of a Python annotation."""
    match node:
        case ast.Name(name):
            return NAMES.get(name, name)
        case ast.Constant(None):
            return "null"
        case ast.BinOp(left, ast.BitOr(), right):
            return f"{typed(left)} | {typed(right)}"
        case ast.Subscript(ast.Name("Literal"), ast.Tuple(values)):
            return " | ".join(f'"{ast.literal_eval(value)}"' for value in values)
        case ast.Subscript(ast.Name("Sequence"), item):
            return f"({typed(item)})[]" if isinstance(item, ast.BinOp) else f"{typed(item)}[]"
        case ast.Subscript(ast.Name("Mapping"), ast.Tuple([key, value])):
            return f"Record<{typed(key)}, {typed(value)}>"
        case ast.Subscript(ast.Name("tuple"), ast.Tuple([item, ast.Constant(value=value)])) if value is ...:
            return f"{typed(item)}[]"
        case ast.Subscript(ast.Name("tuple"), ast.Tuple(items)):
            return f"[{', '.join(typed(item) for item in items)}]"
    raise ValueError(f"{ast.unparse(node)}: no TypeScript for this annotation; add it to `typed`")


if __name__ == "__main__":
    print(declarations(), end="")
