"""A Hugging Face Hub of a few repositories: the routes that its client asks when an adapter is pushed or pulled."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

COMMIT = re.compile(r"/api/models/(.+?)/commit/(.+)")
PREUPLOAD = re.compile(r"/api/models/(.+?)/preupload/(.+)")
INFO = re.compile(r"/api/models/(.+?)(?:/revision/(.+))?")
RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
BATCH = re.compile(r"/(.+)\.git/info/lfs/objects/batch")


class Hub:
    """What the server holds.

    Attributes:
        commits: repository -> its commits, oldest first: their number and all files.
        branches: name of a branch or tag -> number of a commit.
        requests: method, path and token of each request.
        large: endings of files that are uploaded as LFS objects, as the Hub does with safetensors.
        token: that writing needs.
    """

    def __init__(self) -> None:
        self.commits: dict[str, list[tuple[str, dict[str, bytes]]]] = {}
        self.branches: dict[str, str] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.objects: dict[str, bytes] = {}
        self.large: tuple[str, ...] = ()
        self.token = "hf_secret"
        self.url = ""

    def commit(self, repository: str, files: dict[str, bytes]) -> str:
        history = self.commits.setdefault(repository, [])
        merged = {**(history[-1][1] if history else {}), **files}
        number = hashlib.sha1(repr((len(history), sorted(merged))).encode()).hexdigest()
        history.append((number, merged))
        return number

    def files(self, repository: str, revision: str | None) -> tuple[str, dict[str, bytes]] | None:
        history = self.commits.get(repository, [])
        if revision in (None, "main"):
            return history[-1] if history else None
        wanted = self.branches.get(str(revision), revision)
        return next((entry for entry in history if entry[0] == wanted), None)


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serve on a free port of this machine."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self._begin()
            path = unquote(self.path)
            if path == "/api/validate-yaml":
                self._json({"errors": [], "warnings": []})
            elif self.headers.get("Authorization") != f"Bearer {hub.token}":
                self._json({"error": "Invalid username or password."}, 401)
            elif path == "/api/repos/create":
                asked = json.loads(body)
                name = f"{asked.get('organization', 'user')}/{asked['name']}"
                hub.commits.setdefault(name, [])
                self._json({"url": f"{hub.url}/{name}", "name": name})
            elif found := PREUPLOAD.fullmatch(path):
                modes = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(hub.large) and hub.large else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(body)["files"]
                ]
                self._json({"files": modes, "commitOid": None})
            elif BATCH.fullmatch(path):
                asked = json.loads(body)
                objects = [
                    {**each, "actions": {"upload": {"href": f"{hub.url}/objects/{each['oid']}", "header": {}}}}
                    for each in asked["objects"]
                ]
                self._json({"transfer": "basic", "objects": objects})
            elif found := COMMIT.fullmatch(path):
                files = {}
                for line in body.splitlines():
                    entry = json.loads(line)
                    value = entry["value"]
                    if entry["key"] == "file":
                        files[value["path"]] = base64.b64decode(value["content"])
                    elif entry["key"] == "lfsFile":
                        files[value["path"]] = hub.objects[value["oid"]]
                number = hub.commit(found[1], files)
                self._json({"commitUrl": f"{hub.url}/{found[1]}/commit/{number}", "commitOid": number})
            else:
                self._json({"error": "no such route"}, 404)

        def do_PUT(self) -> None:
            body = self._begin()
            name = self.path.rpartition("/")[2]
            right = hashlib.sha256(body).hexdigest() == name
            if right:
                hub.objects[name] = body
            self._json({}, 200 if right else 400)

        def do_GET(self) -> None:
            self._begin()
            path = unquote(self.path).partition("?")[0]
            if found := INFO.fullmatch(path):
                entry = hub.files(found[1], found[2])
                if entry is None:
                    self._missing("RevisionNotFound" if found[1] in hub.commits else "RepoNotFound")
                else:
                    names = [{"rfilename": name} for name in entry[1]]
                    self._json({"id": found[1], "sha": entry[0], "siblings": names})
            elif found := RESOLVE.fullmatch(path):
                entry = hub.files(found[1], found[2])
                if entry is None or found[3] not in entry[1]:
                    self._missing("EntryNotFound")
                    return
                content = entry[1][found[3]]
                self.send_response(200)
                self.send_header("X-Repo-Commit", entry[0])
                self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)
            else:
                self._json({"error": "no such route"}, 404)

        def do_HEAD(self) -> None:
            self.do_GET()

        def _begin(self) -> bytes:
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
            hub.requests.append((self.command, self.path, token))
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _missing(self, code: str) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", "not found")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _json(self, value: Any, status: int = 200) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
