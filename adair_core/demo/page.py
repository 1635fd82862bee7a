"""The page: a photo goes in, a task is chosen, before and after are compared, the result is downloaded.

Gradio is imported here; `adair_core.demo.offline.import_gradio` comes first.
"""

from __future__ import annotations

import html
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from adair_core.data.images import READ_SUFFIXES
from adair_core.demo.restorer import Restorer
from adair_core.demo.session import GONE, Shown
from adair_core.demo.sessions import Sessions
from adair_core.errors import AdairError, DataError

CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
HEAD = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
# White on Gradio's own buttons, and its gray on white, are too faint to read: at least 4.5 : 1 (WCAG 2.2, 1.4.3).
THEME = gr.themes.Default(primary_hue="teal", neutral_hue="slate").set(
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_800",
    body_text_color_subdued="*neutral_600",
    block_info_text_color="*neutral_600",
    block_label_text_color="*neutral_600",
    block_title_text_color="*neutral_700",
)
FIRST = "Choose a photo. It stays on the computer that serves this page, and is forgotten when you leave."
DEFECT = "Something went wrong that is not your fault. Whoever runs this page finds in its terminal what it was."
CLOSED = "private"
"""Of an endpoint: not for programs, which have `adair restore`."""


def _close(component: Any) -> None:
    """Make a component take what browsers sent, and nothing else.

    Gradio's own fetch addresses that a request names, and copy any file of this machine that it names, while the page
    is served by a server of ours, to where it can be loaded from. (This is no class of its own, because Gradio writes a
    stub file beside the source of every such class.)
    """
    move = component.async_move_resource_to_block_cache

    async def move_what_was_sent(path: Any) -> Any:
        if not Path(path).resolve().is_relative_to(Path(component.GRADIO_CACHE).resolve()):
            raise gr.Error(GONE, print_exception=False)
        return await move(path)

    component.async_move_resource_to_block_cache = move_what_was_sent


def build_page(restorer: Restorer, sessions: Sessions) -> gr.Blocks:
    """Make the page.

    Args:
        restorer: the network.
        sessions: of the tabs that will be open.
    """
    limits = sessions.limits
    with gr.Blocks(title="adair: restore a photo", analytics_enabled=False) as page:
        gr.HTML(
            "<h1>Restore a photo</h1>"
            f"<p>PNG, JPEG, TIFF, WebP or AVIF, up to {limits.megapixels:g} megapixels and "
            f"{limits.upload_megabytes} MB; 16 bits stay 16 bits, and metadata is kept.</p>",
            elem_id="intro",
        )
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=2, min_width=300):
                photo = gr.File(label="Photo", file_types=sorted(READ_SUFFIXES), height=150, elem_id="photo")
                labels = restorer.labels
                task = gr.Radio(labels, value=labels[0], label="What to restore", elem_id="task")
                start = gr.Button("Restore", variant="primary", elem_id="restore")
                status = gr.HTML(_said(FIRST), elem_id="status")
            with gr.Column(scale=5, min_width=320):
                compare = gr.ImageSlider(
                    label="Before and after",
                    type="filepath",
                    interactive=False,
                    buttons=["fullscreen"],
                    max_height=640,
                    elem_id="compare",
                )
                strength = gr.Slider(
                    0, 1, 1, step=0.05, label="Strength", info="0 is the photo as it was, 1 the full restoration",
                    elem_id="strength",
                )  # fmt: skip
                download = gr.DownloadButton("Download", interactive=False, elem_id="download")
        outputs = [compare, download, status]
        for component in (photo, task, strength):  # all that values are taken from
            _close(component)

        def shown(made: Shown) -> dict[Any, Any]:
            found = None if made.download is None else str(made.download)
            return {
                compare: (str(made.before), str(made.after or made.before)),
                download: gr.DownloadButton(value=found, interactive=found is not None),
                status: _said(made.text),
            }

        def told(work: Callable[[], Shown | None]) -> dict[Any, Any]:
            """What the page shows of some work; an error is told in the place of other messages."""
            try:
                made = work()
            except AdairError as error:
                return {status: _said(str(error), is_error=True)}
            except Exception:  # a defect; people on the page cannot do anything about it
                traceback.print_exc()
                return {status: _said(DEFECT, is_error=True)}
            return gr.skip() if made is None else shown(made)

        def receive(sent: str | None, request: gr.Request) -> dict[Any, Any]:
            session = sessions.of(str(request.session_hash))
            empty = {compare: None, download: gr.DownloadButton(value=None, interactive=False)}
            return empty | told(lambda: session.receive(sessions.uploaded(sent or "")))

        def forget(request: gr.Request) -> dict[Any, Any]:
            try:
                sessions.of(str(request.session_hash)).forget()
            except DataError as error:
                return {status: _said(str(error), is_error=True)}
            return {
                compare: None,
                download: gr.DownloadButton(value=None, interactive=False),
                status: _said(FIRST),
            }

        def restore(
            label: str | None,
            share: float,
            request: gr.Request,
            progress: Any = gr.Progress(),  # noqa: B008 (Gradio finds it by its default)
        ) -> dict[Any, Any]:
            session = sessions.of(str(request.session_hash))
            return told(
                lambda: session.restore(
                    restorer, label or "", share, on_share=lambda done: progress(done, desc="restoring")
                )
            )

        def blend(share: float, request: gr.Request) -> dict[Any, Any]:
            return told(lambda: sessions.of(str(request.session_hash)).blend(share))

        def leave(request: gr.Request) -> None:
            sessions.close(str(request.session_hash))

        quick = {"concurrency_limit": 2, "api_visibility": CLOSED, "show_progress": "minimal"}
        photo.upload(receive, photo, outputs, **quick)
        photo.clear(forget, None, outputs, **quick)
        # `input` and not `change`: what people move, by mouse, finger or key. The last place counts.
        strength.input(blend, strength, outputs, trigger_mode="always_last", **quick)
        start.click(
            restore, [task, strength], outputs, concurrency_limit=1, concurrency_id="network", api_visibility=CLOSED,
            show_progress_on=[compare],
        )  # fmt: skip
        page.unload(leave)
    page.queue(max_size=limits.waiting, api_open=False)
    return page


def _said(text: str, *, is_error: bool = False) -> str:
    """A message that screen readers read out."""
    role = "alert" if is_error else "status"
    return f'<p role="{role}">{html.escape(text)}</p>'
