"""A local server that answers as the Hugging Face Hub and as GitHub do when files are read from a repository."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "a" * 40


class HubServer(ThreadingHTTPServer):
    """Serves model repositories from directories, and single files of data sets or of GitHub by their path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models: dict[str, Path] = {}
        """Directories by OWNER/NAME. A name with `locked` in it asks for a login; any other one is absent."""
        self.files: dict[str, bytes] = {}
        """Contents by path: `/datasets/OWNER/NAME/resolve/COMMIT/FILE` or `/OWNER/NAME/COMMIT/FILE`."""
        self.requested: list[str] = []
        """The paths of the files that were read, in order."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving() -> Iterator[HubServer]:
    """Run a server until the block ends."""
    server = HubServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        if path in self.server.files:
            self.server.requested.append(path)
            self._send(self.server.files[path], "application/octet-stream")
            return
        for name, directory in self.server.models.items():
            if path.startswith(f"/api/models/{name}/tree/"):
                entries = [
                    {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": "0" * 40}
                    for file in sorted(directory.iterdir())
                ]
                self._send(json.dumps(entries).encode(), "application/json")
                return
            if path.startswith(f"/api/models/{name}"):
                files = [{"rfilename": file.name} for file in sorted(directory.iterdir())]
                self._send(json.dumps({"id": name, "sha": COMMIT, "siblings": files}).encode(), "application/json")
                return
            if path.startswith(f"/{name}/resolve/"):
                self.server.requested.append(path)
                self._send((directory / path.rpartition("/")[2]).read_bytes(), "application/octet-stream")
                return
        code, reason = (401, "GatedRepo") if "locked" in path else (404, "RepoNotFound")
        self.send_response(code)
        self.send_header("X-Error-Code", reason)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""
