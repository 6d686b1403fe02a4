"""`safescape view` over real sockets: allowed hosts, the pages it serves, and its error messages."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from helpers.behaviours import bowl
from helpers.command_line import run_command
from helpers.explorer_process import Viewed, viewing
from helpers.pages import data_in
from helpers.runs import make_run
from helpers.surveys import make_survey, random_plane
from safescape.store import Store
from safescape.survey import Point


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    make_run(directory / "first", make_survey(prompts=6, lines=1, steps=4)).close()
    make_run(directory / "deep" / "second", make_survey(prompts=6, lines=1, steps=4, model="other")).close()
    make_run(directory / "plane", make_survey(prompts=3, subspace=random_plane(2)), chance=bowl, points=5).close()
    Store.claim(directory / "begun", make_survey(prompts=3)).close()
    shutil.copytree(directory / "first", directory / "newer")
    with sqlite3.connect(directory / "newer" / "run.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    shutil.copytree(directory / "first", directory / "half")
    (directory / "half" / "survey.json").unlink()
    outside = tmp_path_factory.mktemp("outside") / "secret"
    make_run(outside, make_survey(prompts=2, lines=1, steps=2)).close()
    (directory / "link").symlink_to(outside)
    (directory / "linked-file").mkdir()
    (directory / "linked-file" / "run.sqlite").symlink_to(outside / "run.sqlite")
    shutil.copy(outside / "survey.json", directory / "linked-file" / "survey.json")
    return directory


@pytest.fixture(scope="module")
def viewed(shelf: Path) -> Iterator[Viewed]:
    with viewing(shelf) as found:
        yield found


def get(viewed: Viewed, path: str, **headers: str) -> httpx.Response:
    return httpx.get(viewed.address.rstrip("/") + path, headers=headers, timeout=30)


def raw(viewed: Viewed, request: str) -> str:
    """Send a request's bytes unchanged, and return the response."""
    with socket.create_connection(("127.0.0.1", viewed.port), timeout=10) as connection:
        connection.sendall(request.encode())
        received = b""
        while part := connection.recv(65536):
            received += part
    return received.decode(errors="replace")


def test_the_list_has_every_run_with_its_progress(viewed: Viewed, shelf: Path) -> None:
    page = get(viewed, "/").text
    for name in ("first", "deep/second", "plane", "begun", "newer", "half"):
        assert f'data-run="{name}"' in page
    assert "link" not in page.replace("<link", "")
    for words in ("6 harmful prompts on 1 random direction", "5 of 5 points", "5 of 9 points", "0 of 61 points"):
        assert words in page
    assert "version 99, this safescape reads version 3; use the safescape that wrote it" in page
    assert "half a run, survey.json is missing" in page
    until = time.monotonic() + 20
    while " of 6 harmful requests" not in page:
        assert time.monotonic() < until
        page = get(viewed, "/").text


def test_the_page_of_a_run_is_the_report_without_fetched_parts(viewed: Viewed, shelf: Path) -> None:
    page = get(viewed, "/run?run=first").text
    assert 'data-home="server"' in page
    assert 'id="plotly"' not in page
    data = data_in(page)
    assert data["run"] == "first"
    with Store.read(shelf / "first") as store:
        points = list(store.survey.points())
        for point in data["points"]:
            said = get(viewed, f"/answers?run=first&point={point['id']}").json()
            stored = store.points.answers(points[point["id"]], "harmful")
            texts = [said["texts"][row[0]] for row in said["answers"][0]]
            assert texts == [each.answer.response.text for each in stored]
    assert get(viewed, "/plotly.js").text.startswith("/**")


def test_two_runs_are_compared(viewed: Viewed) -> None:
    page = get(viewed, "/compare?run=first&run=deep/second").text
    assert "safety landscapes compared" in page
    assert len(data_in(page)["lines"]["runs"]) == 2


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_local_host_names_are_accepted(viewed: Viewed, host: str) -> None:
    assert get(viewed, "/", Host=f"{host}:{viewed.port}").status_code == 200


@pytest.mark.parametrize(
    "host", ["example.com", "example.com:{port}", "localhost", "localhost:1", "127.0.0.1.example.com:{port}", "", "x:y"]
)
@pytest.mark.parametrize("path", ["/", "/run?run=first", "/answers?run=first&point=0", "/events", "/plotly.js"])
def test_another_host_is_refused(viewed: Viewed, host: str, path: str) -> None:
    answer = raw(viewed, f"GET {path} HTTP/1.1\r\nHost: {host.format(port=viewed.port)}\r\nConnection: close\r\n\r\n")
    assert answer.split(" ")[1] in ("400", "403")
    assert "example/Model" not in answer


def test_no_host_or_two_are_refused(viewed: Viewed) -> None:
    own = f"Host: 127.0.0.1:{viewed.port}\r\n"
    for given in ("", own + own, own + "Host: example.com\r\n"):
        assert raw(viewed, f"GET / HTTP/1.1\r\n{given}Connection: close\r\n\r\n").split(" ")[1] in ("400", "403")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"])
def test_only_get_is_answered(viewed: Viewed, method: str) -> None:
    answer = httpx.request(method, viewed.address + "run?run=first")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize(
    "name", ["../outside", "first/../first", "/etc", "link", "linked-file", ".", "", "first/", "first%00", "..%2Ffirst"]
)
@pytest.mark.parametrize("path", ["/run?run=", "/answers?point=0&run=", "/compare?run=first&run="])
def test_only_runs_below_the_directory_are_served(viewed: Viewed, name: str, path: str) -> None:
    answer = get(viewed, path + name)
    assert answer.status_code == 404
    assert "no such run under" in answer.text or "select two or more runs" in answer.text


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/first/run.sqlite", "/run.sqlite", "//etc/passwd"]
)
def test_no_file_is_served(viewed: Viewed, path: str) -> None:
    host = f"Host: 127.0.0.1:{viewed.port}\r\n"
    answer = raw(viewed, f"GET {path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n")
    assert answer.split(" ")[1] == "404"
    assert "root:" not in answer


@pytest.mark.parametrize("point", ["-1", "5", "1e9", "", "0x1", "99999999999999999999", "½", "١"])
def test_only_points_of_the_survey_are_served(viewed: Viewed, point: str) -> None:
    answer = get(viewed, f"/answers?run=first&point={point}")
    assert (answer.status_code, "no such point" in answer.text) == (404, True)


@pytest.mark.parametrize(
    "path",
    ["/", "/run?run=first", "/run?run=none", "/compare?run=first", "/answers?run=first&point=0", "/plotly.js", "/x"],
)
def test_every_response_has_security_headers(viewed: Viewed, path: str) -> None:
    headers = get(viewed, path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in policy.get("script-src", "")
    assert policy.get("connect-src", "'self'") == "'self'"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/run?run=newer", "use the safescape that wrote it"),
        ("/run?run=half", "survey.json is missing"),
        ("/run?run=begun", "this page shows the first point as soon as it is finished"),
        ("/run?run=none", "it may have been moved or deleted"),
        ("/compare?run=first", "select two or more runs"),
        ("/compare?run=first&run=plane", "did not ask what"),
        ("/compare?run=first&run=begun", "no point was measured"),
    ],
)
def test_an_unusable_run_has_an_error_page(viewed: Viewed, path: str, words: str) -> None:
    assert words in get(viewed, path).text


def test_open_pages_are_notified_of_changes(viewed: Viewed, shelf: Path, tmp_path: Path) -> None:
    survey = make_survey(prompts=3, lines=1, steps=4)
    make_run(shelf / "grows", survey, points=2).close()
    with httpx.stream("GET", viewed.address + "events?run=grows", timeout=30) as stream:
        lines = (line for line in stream.iter_lines() if line)
        assert next(lines) == "event: version"
        first = next(lines)
        # the same run with more points
        make_run(tmp_path / "grown", survey).close()
        with Store.claim(shelf / "grows", survey) as store, Store.read(tmp_path / "grown") as grown:
            session = store.begin_session(origin="o", noise_device="cpu", versions={})
            point = next(point for point in survey.points() if point not in store.points.finished())
            answers = {"harmful": [each.answer for each in grown.points.answers(point, "harmful")]}
            position = next(entry.position for entry in grown.points.measured() if entry.point == point)
            store.points.add(point, position=position, seconds=1.0, session=session, answers=answers)
            assert next(lines) == "event: version"
            assert next(lines) != first
            assert len(data_in(get(viewed, "/run?run=grows").text)["points"]) == 3
        shutil.rmtree(shelf / "grows")
        assert "event: gone" in list(lines)
    assert get(viewed, "/run?run=grows").status_code == 404
    assert get(viewed, "/").status_code == 200


def test_a_run_is_opened_read_only(viewed: Viewed, shelf: Path) -> None:
    def files() -> dict[str, bytes]:
        there = (shelf / "first").iterdir()
        return {path.name: text for path in there if (text := path.read_bytes()) and not path.name.endswith("-shm")}

    before = files()
    for path in ("/", "/run?run=first", "/answers?run=first&point=0", "/compare?run=first&run=deep/second"):
        get(viewed, path)
    assert files() == before


def test_the_server_listens_only_on_loopback(viewed: Viewed) -> None:
    listening = [
        line.split()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].rpartition(":")[2], 16) == viewed.port
    ]
    assert listening == [f"0100007F:{viewed.port:04X}"]


def test_a_port_in_use_is_skipped_and_named(shelf: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with viewing(shelf, "--port", str(port)) as other:
            assert other.port != port
            assert other.printed[0] == f"port {port} is in use; took {other.port}\n"
            assert get(other, "/").status_code == 200


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_the_server_stops_without_output_while_a_page_is_open(shelf: Path, sent: signal.Signals) -> None:
    with viewing(shelf) as other, httpx.stream("GET", other.address + "events", timeout=30) as stream:
        next(stream.iter_lines())
        assert other.end(sent) == (0, "", "")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["nowhere"], "nowhere: no such directory; give the one that holds the run directories"),
        ([".", "--port", "70000"], "--port 70000: expected a number from 0 to 65535"),
    ],
)
def test_bad_input_is_refused_in_one_line(tmp_path: Path, given: list[str], words: str) -> None:
    done = run_command("view", "--no-open", *given, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert words in done.stderr


def test_a_directory_without_runs_says_what_to_type(tmp_path: Path) -> None:
    with viewing(tmp_path) as other:
        assert "0 runs" in other.printed[-1]
        assert "safescape scan demo --quick" in get(other, "/").text


def test_a_run_directory_itself_can_be_given(shelf: Path) -> None:
    with viewing(shelf / "first") as other:
        assert "1 run under" in other.printed[-1]
        assert data_in(get(other, "/run?run=first").text)["run"] == "first"


def test_points_have_the_same_number_in_the_explorer_and_the_report(viewed: Viewed, shelf: Path) -> None:
    with Store.read(shelf / "plane") as store:
        points = list(store.survey.points())
    for point in data_in(get(viewed, "/run?run=plane").text)["points"]:
        assert points[point["id"]] == Point(None, tuple(point["coords"]))
    assert json.dumps(points)
