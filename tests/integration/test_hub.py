"""Models from the Hub, against a small server that speaks the Hub's endpoints for reading a repository.

The real Hub cannot be part of a test; this is the one stand-in of the suite. The client is the real one.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "a" * 40


class HubHandler(BaseHTTPRequestHandler):
    """Serves one repository, `owner/tiny`, from a directory; `owner/locked` asks for a login."""

    directory: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/owner/tiny/tree/"):
            entries = [
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": "0" * 40}
                for file in sorted(self.directory.iterdir())
            ]
            self._send(json.dumps(entries).encode(), "application/json")
        elif path.startswith("/api/models/owner/tiny"):
            files = [{"rfilename": file.name} for file in sorted(self.directory.iterdir())]
            self._send(json.dumps({"id": "owner/tiny", "sha": COMMIT, "siblings": files}).encode(), "application/json")
        elif path.startswith("/owner/tiny/resolve/"):
            self.asked.append(path.rpartition("/")[2])
            self._send((self.directory / self.asked[-1]).read_bytes(), "application/octet-stream")
        else:
            code, reason = (401, "GatedRepo") if "locked" in path else (404, "RepoNotFound")
            self.send_response(code)
            self.send_header("X-Error-Code", reason)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "ETag": f'"{hashlib.sha1(body).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(tiny_model: Path) -> Iterator[ThreadingHTTPServer]:
    HubHandler.directory, HubHandler.asked = tiny_model, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), HubHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def resolved(server: ThreadingHTTPServer, home: Path, name: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from safescape.weights import *; print(inspect(resolve(sys.argv[1]).weights))"
    code = f"from safescape import InputError\ntry:\n exec({code!r})\nexcept InputError as e: print('refused:', e)"
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
    }
    return subprocess.run([sys.executable, "-c", code, name], env=environment, capture_output=True, text=True)


def test_a_model_from_the_hub_has_the_weights_of_the_directory(
    hub: ThreadingHTTPServer, tiny_model: Path, tmp_path: Path
) -> None:
    from safescape.weights import inspect, resolve

    done = resolved(hub, tmp_path, "owner/tiny")
    assert done.stdout.strip() == inspect(resolve(str(tiny_model)).weights), done.stderr
    assert "model.safetensors" in HubHandler.asked
    HubHandler.asked.clear()
    again = resolved(hub, tmp_path, "owner/tiny@main")
    assert again.stdout == done.stdout
    assert "model.safetensors" not in HubHandler.asked, "the second time it comes from the cache"


@pytest.mark.parametrize(
    ("name", "message"),
    [("owner/absent", "not on this disk and not on the Hub"), ("owner/locked", "its owner asks for a login")],
)
def test_what_the_hub_refuses(hub: ThreadingHTTPServer, tmp_path: Path, name: str, message: str) -> None:
    done = resolved(hub, tmp_path, name)
    assert done.stdout.startswith(f"refused: {name}: {message}"), done.stdout + done.stderr


def test_a_hub_that_cannot_be_reached(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    hub.shutdown()
    hub.server_close()
    done = resolved(hub, tmp_path, "owner/tiny")
    assert "not on this disk, and the Hub cannot be reached" in done.stdout, done.stdout + done.stderr
