"""What the page answers to those who do not use a browser."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from demo_photos import sent_png

httpx = pytest.importorskip("httpx")  # comes with Gradio


def functions(served) -> dict[str, int]:
    """Endpoint -> its number, as the page knows it."""
    config = httpx.get(f"{served.url}config").json()
    names = {}
    for dependency in config["dependencies"]:
        for _, event in dependency["targets"]:
            names[event] = dependency["id"]
    return names


def call(served, event: str, data: list[Any], *, session: str = "somebody") -> dict[str, Any]:
    """Do what the page does; the last thing that the server says about it."""
    body = {"data": data, "fn_index": functions(served)[event], "session_hash": session}
    joined = httpx.post(f"{served.url}gradio_api/queue/join", json=body)
    assert joined.status_code == 200, joined.text
    with httpx.stream("GET", f"{served.url}gradio_api/queue/data?session_hash={session}", timeout=60) as events:
        for line in events.iter_lines():
            message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if message.get("msg") == "process_completed":
                return message
    raise AssertionError("no answer")


def upload(served, name: str, content: bytes) -> Any:
    return httpx.post(f"{served.url}gradio_api/upload", files={"files": (name, content)})


def photo_at(path: object) -> list[Any]:
    return [{"path": str(path), "meta": {"_type": "gradio.FileData"}, "orig_name": "photo.png"}]


def test_nothing_is_reported_to_anybody(served):
    config = httpx.get(f"{served.url}config").json()
    assert config["analytics_enabled"] is False
    assert not config.get("run_history")
    assert all(dependency["api_visibility"] == "private" for dependency in config["dependencies"][:-1])
    policy = httpx.get(served.url).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert "*" not in policy


def test_a_photo_goes_in_and_its_result_comes_out(served):
    (path,) = upload(served, "photo.png", sent_png()).json()
    received = call(served, "upload", photo_at(path), session="visitor")
    assert received["success"], received
    assert "56 x 40 pixels, 8 bit PNG" in str(received["output"])
    assert not Path(path).exists()  # it is the session's alone now
    restored = call(served, "click", ["auto", 1.0], session="visitor")
    assert "Restored with denoise" in str(restored["output"])
    assert "Please choose a photo first" in str(call(served, "click", ["auto", 1.0], session="other")["output"])


@pytest.mark.parametrize("where", ["{secret}", "{root}/uploads/../../secret.png", "/etc/passwd", "file://{secret}"])
def test_files_of_the_machine_are_no_photos(served, where):
    secret = served.root.parent / "secret.png"
    answer = call(served, "upload", photo_at(where.format(secret=secret, root=served.root)))
    assert not answer["success"] or "not here any more" in str(answer["output"])
    assert "56 x 40" not in str(answer)
    assert secret.exists()


@pytest.mark.parametrize(("event", "place"), [("upload", 0), ("click", 0), ("click", 1), ("input", 0)])
def test_no_value_copies_files_of_the_machine(served, event, place):
    secret = served.root.parent / "secret.png"
    data = {"upload": [None], "click": ["auto", 1.0], "input": [1.0]}[event]
    data[place] = photo_at(secret)[0]
    assert not call(served, event, data)["success"]
    assert not list(served.root.rglob("secret*"))


class Asked(BaseHTTPRequestHandler):
    """Remembers what it was asked for."""

    paths: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.send_error(404)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Address of another server."""
    with HTTPServer(("127.0.0.1", 0), Asked) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_addresses_are_not_fetched(served, elsewhere):
    (named,) = photo_at(f"{elsewhere}/photo.png")
    for event, data in (("upload", [named]), ("click", [named, 1.0]), ("click", ["auto", named]), ("input", [named])):
        answer = call(served, event, data)
        assert not answer["success"]
        assert "The photo is not here any more" in str(answer)  # of our own, before Gradio's download is asked
    for address in (f"file={elsewhere}/x.png", f"file={elsewhere}/y.png".replace(":", "%3A"), f"proxy={elsewhere}/x"):
        assert httpx.get(f"{served.url}gradio_api/{address}").status_code == 403
    assert Asked.paths == []


@pytest.mark.parametrize("path", ["{secret}", "/etc/passwd", "{root}/private", "{root}/uploads/../../secret.png"])
def test_files_of_the_machine_are_not_served(served, path):
    secret = served.root.parent / "secret.png"
    asked = path.format(secret=secret, root=served.root)
    for text in (asked, asked.replace("/", "%2f"), asked.replace("..", "%2e%2e")):
        assert httpx.get(f"{served.url}gradio_api/file={text}").status_code in (403, 404)


def test_the_photo_itself_is_never_served(served):
    (path,) = upload(served, "photo.png", sent_png()).json()
    call(served, "upload", photo_at(path), session="private")
    for file in (served.root / "private").rglob("*"):
        assert httpx.get(f"{served.url}gradio_api/file={file}").status_code == 403


def test_files_that_are_too_large_are_refused_while_they_come(served):
    answer = upload(served, "large.png", bytes(1_000_001))
    assert answer.status_code == 413
    assert not list(served.root.rglob("large.png"))


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_other_websites_cannot_send_photos(served, site, status):
    files, headers = {"files": ("photo.png", sent_png())}, {"Sec-Fetch-Site": site}
    assert httpx.post(f"{served.url}gradio_api/upload", files=files, headers=headers).status_code == status


@contextmanager
def held(served: Any) -> Iterator[None]:
    """While a restoration does not end."""
    served.running.unlink(missing_ok=True)
    served.hold.touch()
    try:
        yield
    finally:
        served.hold.unlink()


def test_a_defect_is_told_without_its_details(served):
    (path,) = upload(served, "photo.png", sent_png()).json()
    call(served, "upload", photo_at(path), session="unlucky")
    served.hold.write_text("break")
    try:
        answer = str(call(served, "click", ["auto", 1.0], session="unlucky"))
    finally:
        served.hold.unlink()
    assert "Something went wrong that is not your fault" in answer
    assert "made up" not in answer


def wait_for(path: Path) -> None:
    for _ in range(6000):
        if path.exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} does not come")


def test_one_restoration_at_a_time_and_a_bounded_queue(served):
    number = functions(served)["click"]
    for index in range(4):
        (path,) = upload(served, "photo.png", sent_png()).json()
        call(served, "upload", photo_at(path), session=f"busy{index}")

    def join(index: int) -> Any:
        body = {"data": ["auto", 1.0], "fn_index": number, "session_hash": f"busy{index}"}
        return httpx.post(f"{served.url}gradio_api/queue/join", json=body)

    with held(served):
        assert join(0).status_code == 200
        wait_for(served.running)
        assert [join(index).status_code for index in (1, 2, 3)] == [200, 200, 503]
    for index in (0, 1, 2):
        url = f"{served.url}gradio_api/queue/data?session_hash=busy{index}"
        with httpx.stream("GET", url, timeout=60) as events:
            assert any("process_completed" in line for line in events.iter_lines())
