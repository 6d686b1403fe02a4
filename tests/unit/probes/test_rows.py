"""Rows of CSV and JSON Lines files: where a line ends, how long a cell may be, and what is said of a broken file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from safescape import InputError
from safescape.finetuning import conversations_of
from safescape.probes import csv_table, is_file, json_lines, load_prompts, load_questions, read_text

BREAKS = "\u2028 \u2029 \x85 \x0b \x0c \x1c \x1d \x1e"
"""Characters at which `str.splitlines` splits, and JSON Lines does not."""


def test_only_a_line_feed_ends_a_json_line() -> None:
    # control characters must be escaped in JSON, the others may be raw
    text = json.dumps({"q": f"one {BREAKS} two"}, ensure_ascii=False) + "\r\n\n" + '{"q": "three"}'
    assert list(json_lines(text, "here")) == [(1, {"q": f"one {BREAKS} two"}), (3, {"q": "three"})]


def test_a_raw_line_separator_in_a_jsonl_file_is_part_of_its_string(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    rows = [{"prompt": f"one {BREAKS} two", "response": f"three {BREAKS} four"}]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert load_prompts(f"{path}:prompt") == (f"one {BREAKS} two",)
    (found,) = conversations_of(str(path))
    assert [message.content for message in found.messages] == [f"one {BREAKS} two", f"three {BREAKS} four"]
    messages = [{"role": "user", "content": f"a{BREAKS}"}, {"role": "assistant", "content": f"b{BREAKS}"}]
    path.write_text(json.dumps({"messages": messages}, ensure_ascii=False) + "\n", encoding="utf-8")
    (found,) = conversations_of(str(path))
    assert [message.content for message in found.messages] == [f"a{BREAKS}", f"b{BREAKS}"]


def test_a_cell_may_be_longer_than_the_csv_modules_own_limit(tmp_path: Path) -> None:
    long = "word " * 40_000
    path = tmp_path / "set.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("prompt", "response"), (long, "yes"), ("no", long)])
    csv.field_size_limit(131_072)
    assert load_prompts(f"{path}:prompt") == (long, "no")
    csv.field_size_limit(131_072)
    assert [found.messages[1].content for found in conversations_of(str(path))] == ["yes", long]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("question", "choice0", "choice1", "choice2", "choice3", "answer")])
        csv.writer(file).writerow([long, "a", "b", "c", "d", 2])
    csv.field_size_limit(131_072)
    (question,) = load_questions(path)
    assert long.strip() in question.context


def test_a_long_first_line_without_a_header_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_text("x" * 140_000, encoding="utf-8")
    with pytest.raises(InputError, match="no column 'prompt'"):
        load_prompts(f"{path}:prompt")


def test_line_endings_of_any_kind_end_a_row_and_nul_is_a_character() -> None:
    table = csv_table('a,b\r\n1,"2\r\n3"\n4\x00,5\r6\n')
    assert table.columns == ("a", "b")
    assert list(table.rows) == [{"a": "1", "b": "2\r\n3"}, {"a": "4\x00", "b": "5"}, {"a": "6", "b": None}]


def test_json_that_is_nested_too_deeply_is_refused_with_its_line() -> None:
    with pytest.raises(InputError, match="--data x: line 2 is not JSON"):
        list(json_lines("1\n" + "[" * 200_000, "--data x"))


def test_a_text_that_is_no_valid_path_is_not_a_file(tmp_path: Path) -> None:
    assert not is_file("a long prompt in place of a set's name " * 200)
    assert not is_file("nul \0")
    assert not is_file(tmp_path)
    with pytest.raises(InputError, match="no such file or set"):
        load_prompts("How do I bake bread? " * 500)


def test_a_file_that_cannot_be_opened_or_decoded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--data here: cannot be read \(Is a directory\); check the path"):
        read_text(tmp_path, "--data here")
    (tmp_path / "latin.csv").write_bytes("prompt\nf\xfcr\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"cannot be read as UTF-8 text \(.*\); convert it first"):
        load_prompts(f"{tmp_path / 'latin.csv'}:prompt")
