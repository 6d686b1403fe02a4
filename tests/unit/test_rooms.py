"""A room imports only from floors below it, and only certain rooms load models or write SQL."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "safescape"
FLOORS = [
    {"errors"},
    {"survey", "cache", "machine"},
    {"weights", "probes", "judges", "store", "landscape", "placement"},
    {"engines", "options", "stored_landscape"},
    {"judge_runtime"},
    {"measure"},
    {"finetuning", "views", "speed"},
    {"explorer", "exports"},
    {"api"},
    {"cli"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = [path for path in SOURCE.rglob("*.py") if path.parent != SOURCE or path.stem not in ("__init__", "__main__")]


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def rooms_imported(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("safescape.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_from_floors_below(path: Path) -> None:
    room = room_of(path)
    assert room in FLOOR, f"{room} has no floor yet"
    for other in rooms_imported(path) - {room}:
        assert FLOOR[other] < FLOOR[room], f"{path.name} in {room} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_views_and_figures_load_no_model_and_only_the_store_writes_sql(path: Path) -> None:
    room, found = room_of(path), {name.split(".")[0] for name in imports(path)}
    if room in ("explorer", "exports", "views", "landscape", "store", "survey"):
        assert not found & {"torch", "transformers", "peft"}
    if room == "views":
        assert rooms_imported(path) <= {"views", "store", "landscape", "survey", "errors"}
    if room == "explorer":
        assert rooms_imported(path) <= {
            "explorer",
            "views",
            "stored_landscape",
            "store",
            "landscape",
            "survey",
            "errors",
        }
    else:
        assert not found & {"starlette", "uvicorn"}
    if room == "exports":
        assert rooms_imported(path) <= {"exports", "views", "store", "landscape", "survey", "errors"}
    else:
        assert not found & {"pyarrow", "inspect_ai"}
    if room == "landscape":
        standard = {
            "__future__",
            "array",
            "collections",
            "enum",
            "functools",
            "json",
            "logging",
            "math",
            "pathlib",
            "statistics",
            "typing",
        }
        assert found <= standard | {"numpy", "scipy", "pydantic", "safescape"}
    if room == "engines":
        assert not rooms_imported(path) & {"judges", "judge_runtime"}
    if room == "judges":
        assert not found & {"torch", "transformers", "ray", "openai", "subprocess", "anyio"}
    if room != "store":
        assert "sqlite3" not in found


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


def test_no_file_imports_itself_by_way_of_others() -> None:
    """An import inside a function counts too: it only hides the circle."""
    modules = {module_of(path): path for path in SOURCE.rglob("*.py")}
    needed: dict[str, set[str]] = {}
    for module, path in modules.items():
        found = imports(path) & set(modules) - {module, "safescape"}
        # `from package import file` needs the file and not the package's __init__
        needed[module] = {name for name in found if not any(other.startswith(f"{name}.") for other in found)}
    try:
        tuple(TopologicalSorter(needed).static_order())
    except CycleError as error:
        pytest.fail(f"an import circle: {' -> '.join(error.args[1])}")


def test_the_public_names_are_those_of_all() -> None:
    import safescape

    assert all(hasattr(safescape, name) for name in safescape.__all__)
    assert sorted(safescape.__all__, key=lambda n: (n.islower(), n)) == safescape.__all__


def test_no_public_name_is_a_rooms() -> None:
    """Importing a room would put it in the place of the function."""
    import safescape

    assert not set(safescape.__all__) & {room_of(path) for path in SOURCE.rglob("*.py")}
