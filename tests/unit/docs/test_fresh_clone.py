"""A clone of the repository in an empty directory: every documented command parses there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last commit, cloned into a directory with nothing beside it."""
    directory = tmp_path_factory.mktemp("stranger") / "safescape"
    if not (ROOT / ".git").exists():
        pytest.skip("an unpacked archive has no history to clone")
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(directory)], check=True)
    assert list(directory.parent.iterdir()) == [directory]
    return directory


def pytest_in(clone: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in the clone, on the clone's own code, without data sets but for what `variables` set."""
    absent = ("SAFESCAPE_DATA", "CI", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_ADDOPTS")
    environment = {name: value for name, value in os.environ.items() if name not in absent}
    environment["PYTHONPATH"] = os.pathsep.join([str(clone / "src"), str(clone / "tests")])
    environment |= {"SAFESCAPE_HOME": str(clone.parent / "home"), **variables}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)


def test_every_documented_command_parses_in_a_clone_with_nothing_beside_it(clone: Path) -> None:
    done = pytest_in(clone, "tests/unit/docs/test_documented_commands.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_tests_without_their_public_sets_are_skipped_and_one_line_says_how_to_fetch_them(clone: Path) -> None:
    done = pytest_in(clone, "tests/unit/probes/test_public_sets.py", "tests/unit/judges/test_keyword.py")
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "safescape data fetch" in line]
    assert re.match(r"\d+ tests did not run, for want of public data sets", line)
    assert line.endswith(
        "safescape data fetch advbench identity-shift mmlu:abstract_algebra mmlu:high_school_us_history "
        "mmlu:us_foreign_policy mt-bench self-instruct xstest xstest-completions"
    )


def test_a_public_set_that_ci_lacks_fails_its_tests(clone: Path) -> None:
    done = pytest_in(clone, "tests/unit/judges/test_keyword.py", CI="true", SAFESCAPE_DATA=str(clone.parent))
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"SAFESCAPE_DATA={clone.parent} lacks xstest-completions" in done.stdout
    assert "2 errors" in done.stdout


def test_no_page_of_the_clone_has_a_path_outside_the_repository(clone: Path) -> None:
    pages = [clone / "README.md", *(clone / "docs").rglob("*.md")]
    assert [page.name for page in pages if "../shared" in page.read_text(encoding="utf-8")] == []
