"""Gradio without the network: no analytics, nothing fetched for anybody, and a page that asks no other host."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from adair_core.errors import UsageError

POLICY = "; ".join(
    [
        # Gradio's own page has inline scripts and compiles templates.
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    ]
)
"""What browsers let the page load: this host's things alone."""

HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


def require_gradio() -> None:
    """Check that Gradio is there, without importing it.

    Raises:
        UsageError: it is not.
    """
    if find_spec("gradio") is None:
        raise UsageError(
            "the web page is made with Gradio, which is not installed; install it: pip install 'adair[demo]' (or "
            "pip install gradio)"
        )


def import_gradio(cache: Path) -> Any:
    """Import Gradio with everything switched off that would use the network.

    Args:
        cache: folder for what browsers send and what is sent to them. It counts at the first import.

    Raises:
        UsageError: it is not installed.
    """
    require_gradio()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = str(cache)
    import gradio

    return gradio


class Offline:
    """Between the server and Gradio: fetches nothing for anybody, serves no other site, names no other host.

    Args:
        app: an ASGI application.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = _refusal(scope)
        if refusal:
            await send({"type": "http.response.start", "status": 403, "headers": [*HEADERS]})
            await send({"type": "http.response.body", "body": refusal.encode()})
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _refusal(scope: Any) -> str:
    """Why a request is not answered; empty if it is."""
    # Gradio would fetch `file=https://...` itself and hand it on.
    if "://" in unquote(unquote(scope["path"])) or "/proxy=" in scope["path"]:
        return "this page fetches nothing from elsewhere"
    # Browsers let any website send forms to a server on the visitor's own machine, and say that it was another site.
    site = dict(scope["headers"]).get(b"sec-fetch-site", b"none")
    if scope["method"] not in ("GET", "HEAD") and site not in (b"same-origin", b"none"):
        return "this page is used by itself alone"
    return ""
