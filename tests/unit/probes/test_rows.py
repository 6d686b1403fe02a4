"""Rows of CSV, JSON Lines and JSON files: read as their formats define, or refused with the place of the error."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safescape import InputError
from safescape.finetuning import conversations_of
from safescape.probes import csv_table, is_file, json_lines, load_prompts, load_questions, read_text

BREAKS = "\u2028 \u2029 \x85 \x0b \x0c \x1c \x1d \x1e"
"""Characters at which `str.splitlines` splits, and JSON Lines does not."""


def test_only_a_line_feed_ends_a_json_line() -> None:
    # control characters must be escaped in JSON, the others may be raw
    text = json.dumps({"q": f"one {BREAKS} two"}, ensure_ascii=False) + "\r\n\n" + '{"q": "three"}'
    assert list(json_lines(text, "here")) == [("line 1", {"q": f"one {BREAKS} two"}), ("line 3", {"q": "three"})]


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


def cells(text: str) -> list[list[str]]:
    """Return the header and the rows that a CSV text is read as."""
    table = csv_table(text, "--prompts x.csv")
    return [list(table.columns or ()), *(list(row.value.values()) for row in table.rows)]


def test_line_ends_of_any_kind_end_a_row_and_are_kept_in_quotes() -> None:
    text = 'a,b\r\n1,"2\r\n3"\n\n4,5\r"6\n7",8\n\n'
    assert cells(text) == [["a", "b"], ["1", "2\r\n3"], ["4", "5"], ["6\n7", "8"]]
    assert [row.place for row in csv_table(text, "x").rows] == ["row 1 (line 2)", "row 2 (line 5)", "row 3 (line 6)"]


def test_a_file_as_spreadsheets_save_it(tmp_path: Path) -> None:
    path = tmp_path / "Saved.CSV"
    path.write_bytes('\ufeffgoal,note\r\n"One, two\nthree",\r\n"Say ""hi""",x\r\n'.encode())
    assert load_prompts(f"{path}:goal") == ("One, two\nthree", 'Say "hi"')


def test_an_index_column_of_pandas_has_no_name(tmp_path: Path) -> None:
    path = tmp_path / "frame.csv"
    path.write_text(",goal,target\n0,one,Sure\n1,two,Sure\n")
    assert load_prompts(f"{path}:goal") == ("one", "two")


QUOTES = 'put a cell that holds a comma, a quote or a line end in quotes, and write a quote inside it twice ("")'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("goal\nWrite a plan, then a letter, to him\n", f"row 1 (line 2) has 3 cells where the header has 1; {QUOTES}"),
        ("goal,target\n\none\n", f"row 1 (line 3) has 1 cell where the header has 2; {QUOTES}"),
        ('goal,target\n"a\nb",x\nc,d,e\n', "row 2 (line 4) has 3 cells where the header has 2"),
        ('goal,target\na,x\n"b,y\nc,z\n', f"line 3 begins a row with a quote that is never closed; {QUOTES}"),
        ('goal,target\na,"x', "line 2 begins a row with a quote that is never closed"),
        (
            'goal,target\n"a,x\nb,y\n"c, d",z\n',
            "line 4 has a quote out of place (',' expected after '\"'), in the row that begins in line 2",
        ),
        ('goal\n"a" and "b"\n', "line 2 has a quote out of place"),
        ('goal\nThe word "bomb"\n', f"line 2 has a quote inside a cell that does not begin with one; {QUOTES}"),
        ('goal,target\na, "b, c"\n', "line 2 has a quote inside a cell that does not begin with one"),
        ('"go""al",x"y\n', "line 1 has a quote inside a cell"),
        ("goal\na\0b\n", "line 2 holds a NUL character; convert the file to UTF-8, or fetch it again"),
        ("goal,goal\na,b\n", "its header has the name 'goal' twice; rename one of them"),
        ("goal,,\na,,\n", "column 2 of its header has no name; name it or remove it"),
        ("", "its first line is empty; expected the names of the columns"),
        ("\ngoal\nx\n", "its first line is empty; expected the names of the columns"),
        ("id;goal\n1;One, two\n", "its header 'id;goal' has no comma, and cells seem to be separated by semicolons"),
        ("id\tgoal\n1\tx\n", "sep='\\t').to_csv(NEW, index=False); if it is one name, put it in quotes"),
        (
            "sep=;\nid;goal\n1;x\n",
            "separated by semicolons; expected commas: in Python, pandas.read_csv(FILE, sep=';')",
        ),
    ],
)
def test_a_csv_that_does_not_fit_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        csv_table(text, "--prompts x.csv")
    assert f"--prompts x.csv: {said}" in str(refused.value) or (said.startswith("sep") and said in str(refused.value))
    assert "\n" not in str(refused.value)


def test_a_name_in_quotes_may_hold_what_separates_elsewhere() -> None:
    assert cells('"a;b"\n1;2\n') == [["a;b"], ["1;2"]]


def test_multiple_choice_questions_are_read_as_strictly(tmp_path: Path) -> None:
    path = tmp_path / "sums_test.csv"
    path.write_text("question,choice0,choice1,choice2,choice3,answer\nAdd 1, 2 and 3,5,6,7,8,1\n")
    with pytest.raises(InputError, match=r"row 1 \(line 2\) has 7 cells where the header has 6"):
        load_questions(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"q": "a"}\n{"q": "b", "q": "c"}\n',
            "line 2 is not JSON (the key 'q' twice in one object); mend or remove it",
        ),
        ('{"q": "a", "more": [{"x": 1, "x": 1}]}', "line 1 is not JSON (the key 'x' twice in one object)"),
        ('{"q": NaN}', "line 1 is not JSON (NaN is no JSON value)"),
        ('{"q": -Infinity}', "line 1 is not JSON (-Infinity is no JSON value)"),
        ('{"q": "a"}\n{"q": "a", }\n', "line 2 is not JSON (Expecting property name"),
        ('{"q": "a"} {"q": "b"}\n', "line 1 is not JSON (Extra data: column 12)"),
        (
            '[\n {"q": "a"},\n {"q": "b"}\n]\n',
            "is one JSON document over several lines, not one in each line; rename it to",
        ),
        ('[{"q": "a"}]\n', "line 1 has no text under 'q'; it has list"),
        ('{"q": ["a"]}\n', "line 1 has no text under 'q'; it has 'q'"),
        ('"q"\n', "line 1 has no text under 'q'; it has str"),
        ('{"q": " "}', "line 1 is empty; fill or remove it"),
        ('{"q": 1' + "0" * 5000 + "}", "line 1 is not JSON (Exceeds the limit"),
    ],
)
def test_json_lines_that_do_not_fit_are_refused_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        load_prompts(f"{path}:q")
    assert f"--prompts {path}:q: {said}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_json_file_is_a_list_of_objects(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"q": "one\u2028two", "turns": ["a", "b"]}, {"q": "three", "turns": ["c"]}], indent=1))
    assert load_prompts(f"{path}:q") == ("one\u2028two", "three")
    assert load_prompts(f"{path}:turns.0") == ("a", "c")
    for key, said in {
        "x": "row 1 has no text under 'x'; it has 'q', 'turns'",
        "turns.1": "row 2 has no text under 'turns.1'",
        "turns.²": "row 1 has no text",
        "turns." + "9" * 5000: "row 1 has no text",
    }.items():
        with pytest.raises(InputError, match=re.escape(said)):
            load_prompts(f"{path}:{key}")
    with pytest.raises(InputError, match=r"which column\? expected .*x\.json:COLUMN"):
        load_prompts(str(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"q": "a"}\n{"q": "b"}\n', "is not JSON (Extra data: line 2, column 1); mend it, or name it .jsonl if each"),
        ('[{"q": "a", "q": "b"}]', "is not JSON (the key 'q' twice in one object); mend it"),
        ('{"q": {"0": "a", "1": "b"}}', "is neither a list of objects nor a JailbreakBench artifact"),
        ('{"jailbreaks": [{"goal": "x"}]}', "is neither a list of objects nor a JailbreakBench artifact"),
        ('["a", "b"]', "row 1 has no text under 'q'; it has str"),
        ("[" * 100_000, "is not JSON (maximum recursion depth exceeded"),
    ],
)
def test_a_json_file_that_does_not_fit_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        load_prompts(f"{path}:q")
    assert f"--prompts {path}:q: {said}" in str(refused.value)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=";|"), min_size=1).filter(str.strip)


@given(data=st.data(), width=st.integers(1, 4), dialect=st.sampled_from(["excel", "unix"]))
def test_what_the_csv_module_writes_is_read_back_equal(data: st.DataObject, width: int, dialect: str) -> None:
    header = data.draw(st.lists(NAMES, min_size=width, max_size=width, unique=True))
    rows = data.draw(st.lists(st.lists(TEXTS, min_size=width, max_size=width)))
    file = io.StringIO(newline="")
    csv.writer(file, dialect).writerows([header, *rows])
    assert cells(file.getvalue()) == [header, *rows]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
)


@given(st.lists(JSON), st.booleans(), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_what_the_json_module_writes_is_read_back_equal(values: list[object], escaped: bool, end: str) -> None:
    text = "".join(json.dumps(value, ensure_ascii=escaped) + end for value in values)
    assert [row.value for row in json_lines(text, "x")] == values


WHOLE = {
    ".csv": 'goal,target\r\n"Write, ""now""\na plan",Sure\r\nTwo,"x"\r\n',
    ".jsonl": '{"goal": "Two", "target": "é\\u00e9", "turns": [1, {"a": null}]}\n{"goal": "x", "target": "y"}\n',
    ".json": '[{"goal": "a", "target": "b"}, {"goal": "c", "target": "d", "input": ""}]',
    ".ndjson": '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}\n',
}
PIECES = [
    *map(bytes, zip(range(256))),
    b'""',
    b"\r\n",
    b"\n\n",
    b'{"a":',
    b"[[",
    b"NaN",
    b"null",
    b'"from": ',
    b"\xe2\x80\xa8",
]


@pytest.mark.parametrize("suffix", WHOLE)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, 130), st.integers(0, 6), st.sampled_from(PIECES)), min_size=1, max_size=4)
)
def test_a_mutated_file_is_read_or_refused(tmp_path: Path, suffix: str, edits: list[tuple[int, int, bytes]]) -> None:
    content = WHOLE[suffix].encode()
    for place, removed, added in edits:
        content = content[:place] + added + content[place + removed :]
    path = tmp_path / f"mutated{suffix}"
    path.write_bytes(content)
    for read in (lambda: load_prompts(f"{path}:goal"), lambda: conversations_of(str(path))):
        with contextlib.suppress(InputError):
            read()


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
