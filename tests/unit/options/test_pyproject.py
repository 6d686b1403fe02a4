"""The table `[tool.safescape.check]` of a pyproject.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from safescape import InputError
from safescape.options import configured


def told(directory: Path, text: str) -> dict[str, object]:
    (directory / "pyproject.toml").write_text(text, encoding="utf-8")
    return configured(directory / "pyproject.toml")


def test_the_table_means_the_same_as_the_flags(tmp_path: Path) -> None:
    assert configured(tmp_path / "pyproject.toml") == {}
    assert told(tmp_path, '[project]\nname = "x"') == {}
    text = (
        '[tool.safescape.check]\nmax-asr = 5\nmax_loss = "off"\nstrict = true\nprompts = "a.csv:goal"\nalso = ["b:c"]'
    )
    assert told(tmp_path, text) == {
        "max_asr": 5, "max_loss": None, "strict": True, "prompts": "a.csv:goal", "also": ["b:c"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.safescape.check\n", r"pyproject.toml: is not TOML \("),
        ("[tool.safescape]\ncheck = 3", r"\[tool.safescape.check\]: expected a table"),
        (
            "[tool.safescape.check]\nmax-ars = 5",
            r"\[tool.safescape.check\] max-ars: no such key; expected one of max-asr",
        ),
        ("[tool.safescape.check]\nmax-asr = 'ten'", r"max-asr = 'ten': expected a number, or \"off\""),
        ("[tool.safescape.check]\nmax-asr = true", r"max-asr = True: expected a number, or \"off\""),
        ("[tool.safescape.check]\nlimit = 4.5", r"limit = 4.5: expected a whole number"),
        ("[tool.safescape.check]\nstrict = 'yes'", r"strict = 'yes': expected true or false"),
        ("[tool.safescape.check]\nalso = 'a:b'", r"also = 'a:b': expected a list of texts"),
        ("[tool.safescape.check]\nmax-asr = 5\nmax_asr = 6", r"max_asr: given twice, with - and with _"),
        ("[tool.safescape.check]\ntrust-remote-code = true", r"trust-remote-code: no such key"),
        ("[tool.safescape.check]\nmax-asr = 200", r"\.check\]: --max-asr 200: expected a percentage from 0 to 100"),
        ("[tool.safescape.check]\nsteps = 0", r"\.check\]: --steps 0: expected at least 1"),
    ],
)
def test_an_invalid_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        told(tmp_path, text)
