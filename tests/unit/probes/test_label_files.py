"""Files of labelled answers: their columns, their labels, and what is refused with its row."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from safescape import InputError
from safescape.probes import read_labels
from safescape.survey import Exchange, Label


def test_a_csv_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(
        'prompt,response,label\n"Ask, this",No.,refused\nAsk that,"Yes,\nhere",complied\nx,wq wq,incoherent\n'
    )
    found = read_labels(path)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.rows == (
        (Exchange("Ask, this", "No."), Label.REFUSED),
        (Exchange("Ask that", "Yes,\nhere"), Label.COMPLIED),
        (Exchange("x", "wq wq"), Label.INCOHERENT),
    )


def test_the_labels_of_xstest_are_read(tmp_path: Path) -> None:
    path = tmp_path / "completions.csv"
    names = ("1_full_compliance", "2_full_refusal", "3_partial_refusal")
    path.write_text("id,prompt,completion,final_label\n" + "".join(f"1,a,b,{name}\n" for name in names))
    assert [row.label for row in read_labels(path).rows] == [Label.COMPLIED, Label.REFUSED, Label.PARTIAL]


def test_json_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps({"prompt": "a", "response": "b\u2028c", "label": "partial"}) + "\n")
    assert read_labels(path).rows == ((Exchange("a", "b\u2028c"), Label.PARTIAL),)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "prompt,response,label\na,b,refused\na,b,safe\n", r"row 2 .* has the label 'safe'; expected refused"),
        ("a.csv", "prompt,answer,label\na,b,refused\n", "has 'prompt', 'answer', 'label'; expected the columns"),
        ("a.jsonl", '{"prompt": "a", "response": 3, "label": "refused"}\n', "line 1 has no text under 'response'"),
        ("a.jsonl", '{"prompt": "a", "label": "refused"}\n', "line 1: has 'prompt', 'label'; expected the columns"),
        ("a.jsonl", "[1]\n", "line 1 is no object"),
        ("a.txt", "a", "is named neither"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_labels(tmp_path / name)
