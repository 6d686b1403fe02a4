"""The store: a point completely or not at all, one process at a time, and a damaged file in one line."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from safescape import InputError, Outcome, Point, PromptProbe, RandomAxis, RunError, Survey
from safescape.store import SCHEMA_VERSION, Store, write_text
from safescape.survey import Answer, Finish, Lines, Position, Response, Verdict

PROMPTS = ("one", "two")


def survey_of(**changes: object) -> Survey:
    probe = PromptProbe(name="harmful", source="test", prompts=PROMPTS)
    given: dict[str, object] = {
        "model": "m",
        "model_fingerprint": "sha256:0",
        "subspace": Lines(axes=(RandomAxis(seed=0, span=0.5, steps=2),)),
    }
    return Survey.model_validate({**given, "probes": (probe,), **changes})


def answers(text: str = "no\0<b>\u2028😀") -> dict[str, list[Answer]]:
    refused, complied = Verdict(Outcome.REFUSED, "no"), Verdict(Outcome.COMPLIED)
    return {
        "harmful": [
            Answer(Response(text, Finish.SETTLED, 3), {"keyword": refused}),
            Answer(Response("", Finish.LENGTH, 64), {"keyword": complied}),
        ]
    }


def add(store: Store, point: Point, session: int) -> None:
    store.points.add(point, position=Position(point.coords, 0.0), seconds=1.5, session=session, answers=answers())


def begin(store: Store) -> int:
    return store.begin_session(origin="sha256:a", noise_device="cpu", versions={"torch": "x"})


def test_stored_points_are_read_back(tmp_path: Path) -> None:
    points = [Point(None, (0.0,)), Point(0, (-0.5,))]
    with Store.claim(tmp_path / "run", survey_of()) as store:
        session = begin(store)
        for point in points:
            add(store, point, session)
        store.end_session(session, origin="sha256:a")
    with Store.read(tmp_path / "run") as store:
        assert store.survey == survey_of()
        assert store.points.finished() == set(points)
        assert [entry.point for entry in store.points.measured()] == points
        (first, _) = store.points.measured()
        assert first.outcomes == {"keyword": (Outcome.REFUSED, Outcome.COMPLIED)}
        stored = store.points.answers(points[1], "harmful")
        assert [entry.answer for entry in stored] == answers()["harmful"]
        assert store.points.answers(Point(0, (0.5,)), "harmful") == []
        (session_read,) = store.sessions()
        assert session_read.closed
        assert session_read.origin_at_start == session_read.origin_at_close


def test_points_are_read_in_the_order_of_the_survey(tmp_path: Path) -> None:
    points = list(survey_of().points())
    with Store.claim(tmp_path, survey_of()) as store:
        session = begin(store)
        for point in reversed(points):
            add(store, point, session)
        assert [entry.point for entry in store.points.measured()] == points
        in_order = [answer.response for point in points for answer in store.evidence.missing(point)]
        assert [answer.response for answer in store.verdicts.exchanges()] == in_order


def test_a_point_that_failed_is_open_until_it_is_measured(tmp_path: Path) -> None:
    first, second, _ = survey_of().points()
    with Store.claim(tmp_path, survey_of()) as store:
        session = begin(store)
        store.points.add_failure(first, "died", session)
        store.points.add_failure(second, "died", session)
        store.points.add_failure(second, "died again", session)
        assert store.points.failures() == {first: "died", second: "died again"}
        assert store.points.finished() == set()
        add(store, first, session)
        assert store.points.failures() == {second: "died again"}
    with Store.claim(tmp_path, survey_of()) as store:
        assert store.points.failures() == {second: "died again"}


def test_a_run_without_a_table_of_failures_is_resumed(tmp_path: Path) -> None:
    with Store.claim(tmp_path, survey_of()) as store:
        store._database._connection.execute("DROP TABLE failures")
    with Store.claim(tmp_path, survey_of()) as store:
        assert store.points.failures() == {}
        add(store, Point(None, (0.0,)), begin(store))


def test_a_point_cannot_be_stored_twice(tmp_path: Path) -> None:
    with Store.claim(tmp_path, survey_of()) as store:
        session = begin(store)
        add(store, Point(None, (0.0,)), session)
        with pytest.raises(sqlite3.IntegrityError):
            add(store, Point(None, (0.0,)), session)
        assert len(store.points.answers(Point(None, (0.0,)), "harmful")) == 2


def test_a_point_is_stored_completely_or_not_at_all(tmp_path: Path) -> None:
    with Store.claim(tmp_path, survey_of()) as store:
        session = begin(store)
        broken = answers()
        broken["harmful"][1] = Answer(Response("x", Finish.STOP, "many"), {})  # type: ignore[arg-type]
        with pytest.raises(sqlite3.IntegrityError):
            store.points.add(
                Point(None, (0.0,)), position=Position((0.0,), 0.0), seconds=1, session=session, answers=broken
            )
        assert store.points.finished() == set()
        add(store, Point(None, (0.0,)), session)


def test_a_point_is_found_by_the_index(tmp_path: Path) -> None:
    def steps(points: int) -> int:
        """Return how many instructions SQLite needs to find the answers at one point."""
        survey = survey_of(subspace=Lines(axes=(RandomAxis(seed=0, span=0.5, steps=points),)))
        with Store.claim(tmp_path / f"{points}", survey) as store:
            session, taken = begin(store), 0
            for point in survey.points():
                add(store, point, session)

            def count() -> int:
                nonlocal taken
                taken += 1
                return 0

            store._database._connection.set_progress_handler(count, 1)
            last = Point(0, (0.5,))
            assert len(store.evidence.missing(last)) == len(store.points.answers(last, "harmful")) == len(PROMPTS)
            return taken

    assert steps(200) == steps(20)


def test_a_different_survey_is_refused_with_what_differs(tmp_path: Path) -> None:
    Store.claim(tmp_path, survey_of()).close()
    with pytest.raises(InputError, match=r"max_new_tokens: 64 here, 128 there.*another --out"):
        Store.claim(tmp_path, survey_of(max_new_tokens=64))
    other = PromptProbe(name="harmful", source="test", prompts=("one", "three"))
    with pytest.raises(InputError, match=r"probes\[0\]\.prompts\[1\]: 'three' here, 'two' there"):
        Store.claim(tmp_path, survey_of(probes=(other,)))
    Store.claim(tmp_path, survey_of()).close()


CLAIM = """
import sys
from pathlib import Path
from safescape import RunError, Survey
from safescape.store import SCHEMA_VERSION, Store
directory = Path(sys.argv[1])
try:
    Store.claim(directory, Survey.load(directory / "survey.json"))
except RunError as error:
    print(error)
"""


def test_a_second_process_is_refused_and_a_later_one_is_not(tmp_path: Path) -> None:
    def other() -> str:
        command = [sys.executable, "-c", CLAIM, str(tmp_path)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    with Store.claim(tmp_path, survey_of()):
        assert "another process is measuring" in other()
    assert other() == ""


def test_reading_while_another_writes(tmp_path: Path) -> None:
    with Store.claim(tmp_path, survey_of()) as writer:
        session = begin(writer)
        add(writer, Point(None, (0.0,)), session)
        with Store.read(tmp_path) as reader:
            assert len(reader.points.finished()) == 1
            add(writer, Point(0, (0.5,)), session)
            assert len(reader.points.finished()) == 2
            with pytest.raises(RunError, match="readonly"):
                begin(reader)


def test_a_full_database_stops_the_run_and_keeps_what_was_stored(tmp_path: Path) -> None:
    with Store.claim(tmp_path, survey_of()) as store:
        session = begin(store)
        add(store, Point(None, (0.0,)), session)
        pages = store._database._connection.execute("PRAGMA page_count").fetchone()[0]
        store._database._connection.execute(f"PRAGMA max_page_count = {pages}")
        big = {"harmful": [Answer(Response("x" * 100_000, Finish.STOP, 1), {"keyword": Verdict(Outcome.COMPLIED)})]}
        with pytest.raises(RunError, match=r"disk is full.*free space.*resumes"):
            store.points.add(Point(0, (0.5,)), position=Position((0.5,), 0.0), seconds=1, session=session, answers=big)
        store._database._connection.execute("PRAGMA max_page_count = 100000")
        assert store.points.finished() == {Point(None, (0.0,))}
        add(store, Point(0, (0.5,)), session)


GARBAGE = b"not a database at all, but long enough to look like one " * 40


@pytest.mark.parametrize("content", [None, b"", GARBAGE])
def test_a_directory_without_a_run_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "run.sqlite").write_bytes(content)
        write_text(tmp_path / "survey.json", survey_of().model_dump_json())
    with pytest.raises(InputError, match=r"no run\.sqlite|not a run's database|run\.sqlite is empty; repeat"):
        Store.read(tmp_path)


def long_run(directory: Path) -> Path:
    """Return a database of some thirty pages."""
    with Store.claim(directory, survey_of()) as store:
        session = begin(store)
        for point in survey_of().points():
            long = {"harmful": [Answer(Response("x" * 20_000, Finish.STOP, 1), {})] * 2}
            store.points.add(point, position=Position((0.0,), 0.0), seconds=1, session=session, answers=long)
    return directory / "run.sqlite"


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.9])
def test_an_overwritten_page_is_found_before_a_run_goes_on(tmp_path: Path, place: float) -> None:
    path = long_run(tmp_path)
    whole = path.read_bytes()
    page = int(place * len(whole)) // 4096 * 4096
    damaged = whole[:page] + b"\xff" * 4096 + whole[page + 4096 :]
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=rf"{path}: damaged, or not a run's database \(.+\); put back a copy"):
        Store.claim(tmp_path, survey_of())
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("kept", [100, 4096, 0.3, 0.6, 0.9])
def test_a_truncated_database_is_refused_in_one_line_and_left_as_it_is(tmp_path: Path, kept: float) -> None:
    path = long_run(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    damaged = path.read_bytes()
    with pytest.raises(InputError, match=rf"{path}: damaged, or not a run's database \(.+\); put back a copy"):
        Store.claim(tmp_path, survey_of())
    assert path.read_bytes() == damaged
    with (
        pytest.raises(InputError, match=r"damaged, or not a run's database|cannot be read"),
        Store.read(tmp_path) as store,
    ):
        list(store.points.measured())


def test_bytes_that_are_no_database_are_refused_and_left_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    path.write_bytes(GARBAGE)
    with pytest.raises(InputError, match=r"damaged, or not a run's database \(file is not a database\)"):
        Store.claim(tmp_path, survey_of())
    assert path.read_bytes() == GARBAGE
    assert not (tmp_path / "survey.json").exists()


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION])
def test_the_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path, version: int) -> None:
    path = tmp_path / "run.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"CREATE TABLE bookmarks (url TEXT); PRAGMA user_version = {version};")
    theirs = path.read_bytes()
    for open_run in (Store.read, lambda directory: Store.claim(directory, survey_of())):
        write_text(tmp_path / "survey.json", survey_of().model_dump_json())
        with pytest.raises(InputError, match="not a run's database: its tables are bookmarks; give the directory"):
            open_run(tmp_path)
    assert path.read_bytes() == theirs


def test_a_directory_in_place_of_the_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.sqlite").mkdir()
    with pytest.raises(InputError, match=r"run\.sqlite: is a directory, not a run's database"):
        Store.claim(tmp_path, survey_of())


def test_a_database_without_permission_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite says the same to a user who may not open the file; tests may run as root, who may open any."""
    Store.claim(tmp_path, survey_of()).close()

    def refused(*_: object, **__: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(sqlite3, "connect", refused)
    with pytest.raises(RunError, match=r"run\.sqlite cannot be written \(unable to open database file\)"):
        Store.claim(tmp_path, survey_of())
    with pytest.raises(InputError, match=r"run\.sqlite cannot be read \(unable to open database file\)"):
        Store.read(tmp_path)


def test_a_refused_directory_is_free_for_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    path.write_bytes(GARBAGE)
    with pytest.raises(InputError):
        Store.claim(tmp_path, survey_of())
    path.unlink()
    Store.claim(tmp_path, survey_of()).close()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"{", b""])
def test_a_damaged_survey_is_one_line(tmp_path: Path, content: bytes) -> None:
    Store.claim(tmp_path, survey_of()).close()
    (tmp_path / "survey.json").write_bytes(content)
    for open_run in (Store.read, lambda directory: Store.claim(directory, survey_of())):
        with pytest.raises(InputError, match=r"survey\.json: .*give a survey\.json of this version"):
            open_run(tmp_path)


def test_a_run_of_a_newer_version(tmp_path: Path) -> None:
    with Store.claim(tmp_path, survey_of()) as store:
        store._database._connection.execute("PRAGMA user_version = 99")
    for open_run in (Store.read, lambda directory: Store.claim(directory, survey_of())):
        with pytest.raises(InputError, match=f"has version 99, this safescape reads version {SCHEMA_VERSION}"):
            open_run(tmp_path)


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        Store.claim(tmp_path / "file" / "run", survey_of())


def test_a_file_is_written_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.json", "old")

    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(RunError, match=r"a\.json: cannot be written \(No space left on device\)"):
        write_text(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_survey_is_equal_after_writing_and_loading(tmp_path: Path) -> None:
    survey = survey_of(chat_template="{{ x }}", whole_answers=True)
    write_text(tmp_path / "survey.json", survey.model_dump_json(indent=1))
    assert Survey.load(tmp_path / "survey.json") == survey
    (tmp_path / "survey.json").write_text('{"model": 3}')
    with pytest.raises(InputError, match=r"survey\.json: .*give a survey\.json of this version"):
        Survey.load(tmp_path / "survey.json")
