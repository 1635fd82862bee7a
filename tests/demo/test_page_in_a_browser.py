"""The page in a real Chromium, headless: what people see, from a photo to the download."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_photos import gradient

from adair_core.data.images import ImageFile, read_image, write_image
from adair_core.inference import Settings, plan, restore_files
from adair_core.model import load

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        # Without a sandbox, as containers have none; it shows our own page alone.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A tab with the page, and all that it asked for and complained about."""

    def __init__(self, browser: Any, served: Any, **how: Any) -> None:
        self.context = browser.new_context(**how)
        self.context.set_default_timeout(30_000)
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console", lambda message: self.complaints.append(message.text) if message.type == "error" else None
        )
        self.page.goto(served.url)
        self.button("Restore").wait_for()

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def give(self, path: Path) -> None:
        self.page.set_input_files("#photo input[type=file]", path)

    def said(self, text: str) -> str:
        """Wait for a message and read it."""
        found = self.page.locator("#status").get_by_text(text)
        found.wait_for()
        return str(found.inner_text())

    def download(self) -> tuple[Path, str]:
        with self.page.expect_download() as waiting:
            self.button("Download").click()
        return Path(waiting.value.path()), waiting.value.suggested_filename


@pytest.fixture
def visit(browser, served) -> Iterator[Any]:
    """Makes visits; those of a page must ask no other host and complain about nothing."""
    visits = []

    def begin(**how: Any) -> Visit:
        visits.append(Visit(browser, served, **how))
        return visits[-1]

    yield begin
    for each in visits:
        hosts = {url.split("/")[2] for url in each.asked if not url.startswith(("data:", "blob:"))}
        assert hosts == {served.url.split("/")[2]}
        assert each.complaints == []
        each.context.close()


@pytest.fixture
def deep(tmp_path) -> Path:
    """16 bit PNG."""
    write_image(tmp_path / "my photo.png", ImageFile(pixels=gradient(np.uint16)))
    return tmp_path / "my photo.png"


def by_restore(folder: Path, source: Path, to: Path, strength: float) -> bytes:
    model = load(folder / "tiny.safetensors")
    model.load_adapter(folder / "denoise")
    (result,) = restore_files(model, plan([source], to), Settings(strength=strength))
    assert result.status == "restored"
    return to.read_bytes()


def test_from_a_photo_to_its_download(visit, folder, deep, tmp_path):
    tab = visit(viewport=DESKTOP)
    tab.give(deep)
    tab.said("56 x 40 pixels, 16 bit PNG")
    assert tab.button("Download").is_disabled()
    assert tab.page.get_by_role("radio", name="auto").is_checked()
    tab.button("Restore").click()
    assert "noise (95%). Restored with denoise in" in tab.said("Found ")
    file, name = tab.download()
    assert name == "my photo.restored.png"
    assert file.read_bytes() == by_restore(folder, deep, tmp_path / "full.png", 1.0)
    assert read_image(file).pixels.dtype == np.uint16
    before, after = tab.page.locator("#compare img").all()
    assert [before.get_attribute("alt"), after.get_attribute("alt")] == ["The photo as it was", "The restored photo"]
    shown = after.get_attribute("src")
    tab.page.get_by_label("number input for Strength").fill("0.3")
    tab.page.wait_for_function("shown => document.querySelectorAll('#compare img')[1].src !== shown", arg=shown)
    file, _ = tab.download()
    assert file.read_bytes() == by_restore(folder, deep, tmp_path / "part.png", 0.3)


def test_the_strength_can_be_set_by_keys(visit, deep):
    tab = visit(viewport=DESKTOP)
    tab.give(deep)
    tab.said("56 x 40 pixels")
    tab.button("Restore").click()
    tab.said("Restored with")
    shown = tab.page.locator("#compare img").nth(1).get_attribute("src")
    tab.page.get_by_label("range slider for Strength").press("ArrowLeft")
    tab.page.wait_for_function("shown => document.querySelectorAll('#compare img')[1].src !== shown", arg=shown)
    assert tab.page.get_by_label("range slider for Strength").input_value() == "0.95"


def test_before_and_after_are_compared_and_zoomed(visit, deep):
    tab = visit(viewport=DESKTOP)
    tab.give(deep)
    tab.said("56 x 40 pixels")
    tab.page.get_by_text("super-resolve").click()
    tab.button("Restore").click()
    tab.said("Restored with super-resolve")
    images = "Array.from(document.querySelectorAll('#compare img'), image => image.naturalWidth)"
    tab.page.wait_for_function(f"JSON.stringify({images}) === '[112,112]'")
    after = tab.page.locator("#compare img").nth(1)
    box = tab.page.locator("#compare .slider-wrap").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    clip = after.evaluate("image => image.style.clipPath")
    tab.page.mouse.move(*middle)
    tab.page.mouse.down()
    tab.page.mouse.move(middle[0] - 100, middle[1], steps=3)
    tab.page.mouse.up()
    assert after.evaluate("image => image.style.clipPath") != clip
    assert "scale(1)" in after.evaluate("image => image.style.transform")
    tab.page.mouse.move(box["x"] + 0.8 * box["width"], middle[1])
    tab.page.mouse.wheel(0, -300)
    tab.page.wait_for_function("!document.querySelectorAll('#compare img')[1].style.transform.includes('scale(1)')")


def test_it_fits_a_phone(visit, deep):
    tab = visit(viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    tab.give(deep)
    tab.said("56 x 40 pixels")
    tab.button("Restore").tap()
    tab.said("Restored with")
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 390
    for name in ("#photo", "#task", "#restore", "#status", "#compare", "#strength", "#download"):
        box = tab.page.locator(name).bounding_box()
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= 390, name
        assert box["height"] >= 24, name  # WCAG 2.2, 2.5.8
    order = [tab.page.locator(name).bounding_box()["y"] for name in ("#photo", "#task", "#restore", "#compare")]
    assert order == sorted(order)


def test_everything_that_can_be_used_has_a_name(visit, deep):
    tab = visit(viewport=DESKTOP)
    for state in ("empty", "restored"):
        if state == "restored":
            tab.give(deep)
            tab.said("56 x 40 pixels")
            tab.button("Restore").click()
            tab.said("Restored with")
        nameless = tab.page.evaluate(
            """Array.from(document.querySelectorAll("button, input:not([type=hidden]), img, fieldset"))
                .filter(e => !(e.getAttribute("aria-label") || e.alt || e.innerText || e.labels?.length))
                .map(e => e.outerHTML)"""
        )
        assert nameless == []
    assert tab.page.get_by_role("group", name="What to restore").count() == 1
    assert tab.page.evaluate("document.documentElement.lang") == "en"
    assert tab.page.get_by_role("heading", level=1).inner_text() == "Restore a photo"


def test_what_does_not_work_is_said_in_plain_words(visit, deep, tmp_path):
    tab = visit(viewport=DESKTOP)
    tab.button("Restore").click()
    tab.said("Please choose a photo first.")
    large, letter = tmp_path / "large.png", tmp_path / "letter.png"
    write_image(large, ImageFile(pixels=np.zeros((200, 200, 3), np.uint8)))
    letter.write_text("Dear all")
    for path, said in ((large, "This photo is too large, 200 x 200 pixels"), (letter, "cannot be used as a photo")):
        tab.give(path)
        tab.said(said)
        assert tab.page.get_by_role("alert").inner_text() == tab.page.locator("#status").inner_text()
        tab.button("Clear").click()
        tab.said("Choose a photo.")
    heavy = tmp_path / "heavy.png"
    heavy.write_bytes(bytes(1_000_001))
    tab.give(heavy)
    tab.page.get_by_text("maximum allowed size").wait_for()
    tab.complaints.clear()  # the browser itself reports the answer 413


def test_a_busy_page_says_so(visit, served, deep):
    served.running.unlink(missing_ok=True)
    served.hold.touch()
    first, last = visit(viewport=DESKTOP), visit(viewport=DESKTOP)
    try:
        for tab in (first, last):
            tab.give(deep)
            tab.said("56 x 40 pixels")
        with first.page.expect_request(lambda request: "queue/join" in request.url) as asked:
            first.button("Restore").click()
        while not served.running.exists():  # the first one has left the queue, the next two fill it
            first.page.wait_for_timeout(10)
        for other in ("one", "two"):
            body = asked.value.post_data_json | {"session_hash": other}
            assert first.page.request.post(f"{served.url}gradio_api/queue/join", data=body).ok
        last.button("Restore").click()
        last.page.get_by_text("currently busy").wait_for()
        last.complaints.clear()  # the browser itself reports the answer 503
    finally:
        served.hold.unlink()
    first.said("Restored with")


def test_a_closed_tab_leaves_nothing(visit, served, deep):
    tab = visit(viewport=DESKTOP)

    def files() -> set[Path]:
        return {path for path in served.root.rglob("*") if path.is_file() and path.stat().st_size}

    before = files()
    tab.give(deep)
    tab.said("56 x 40 pixels")
    tab.button("Restore").click()
    tab.said("Restored with")
    assert len(files() - before) == 4  # the photo, before, after, and the result
    tab.page.close()
    page = tab.context.new_page()
    for _ in range(1000):
        if not files() - before:
            break
        page.wait_for_timeout(10)
    assert files() - before == set()
