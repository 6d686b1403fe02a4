"""Write the types of the page's payload for TypeScript.

    python tools/payload_types.py > src/safescape/views/pages/scripts/payload.d.ts

They are read from the source of `payload.py`: each TypedDict becomes an interface, each docstring a comment.
`tests/unit/views/test_page_scripts.py` fails when the two differ.
"""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src/safescape/views/pages/payload.py"
HEAD = "// Written by tools/payload_types.py from payload.py; change it there."
NAMES = {"str": "string", "int": "number", "float": "number", "bool": "boolean"}


def declarations(source: str) -> str:
    """Return the declarations of every type that a module of TypedDicts defines."""
    found, previous = [HEAD], None
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            found += ["", *interface(node)]
        elif isinstance(previous, ast.Assign) and (said := docstring(node)):
            found += ["", *comment(said), f"export type {named(previous.targets[0])} = {typed(previous.value)};"]
        previous = node
    return "\n".join(found) + "\n"


def interface(node: ast.ClassDef) -> list[str]:
    """Return the lines of one TypedDict's interface."""
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
    """Return the name that a field or an alias is given."""
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
        case ast.Subscript(ast.Name("tuple"), ast.Tuple(items)):
            return f"[{', '.join(typed(item) for item in items)}]"
    raise ValueError(f"{ast.unparse(node)}: no TypeScript for this annotation; add it to `typed`")


if __name__ == "__main__":
    print(declarations(SOURCE.read_text(encoding="utf-8")), end="")
