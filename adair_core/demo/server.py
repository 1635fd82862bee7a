"""Serving the page until it is interrupted, and leaving nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adair_core.demo.limits import Limits
from adair_core.demo.offline import Offline, import_gradio
from adair_core.demo.restorer import Restorer
from adair_core.demo.sessions import Sessions
from adair_core.errors import UsageError


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Take a port.

    Args:
        host: address or name of this machine.
        port: 0 = any that is free.

    Raises:
        UsageError: it cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        # Names that are not found have numbers of their own.
        reason = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
        raise UsageError(f"cannot listen at {host}:{port}: {reason}; choose another --port, or --port 0") from error
    with listener:
        yield listener


@contextmanager
def app(restorer: Restorer, limits: Limits) -> Iterator[Any]:
    """Make the ASGI application; its photos and results are in a folder that is removed at the end.

    Args:
        restorer: the network.
        limits: what the page takes.

    Raises:
        UsageError: Gradio is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="adair-demo-", ignore_cleanup_errors=True) as root:
        sessions = Sessions(Path(root).resolve(), limits)
        gradio = import_gradio(sessions.uploads)
        from fastapi import FastAPI

        from adair_core.demo.page import CSS, HEAD, THEME, build_page

        page = build_page(restorer, sessions)
        mounted = gradio.mount_gradio_app(
            FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
            page,
            path="/",
            footer_links=[],
            run_history=False,
            allowed_paths=[],
            show_error=False,
            max_file_size=limits.upload_bytes,
            ssr_mode=False,
            enable_monitoring=False,
            pwa=False,
            mcp_server=False,
            theme=THEME,
            css=CSS,
            head=HEAD,
        )
        try:
            yield Offline(mounted)
        finally:
            sessions.close(None)


def serve(app: Any, listener: socket.socket, *, on_ready: Callable[[], None]) -> None:
    """Serve an application until Ctrl-C or SIGTERM.

    Args:
        app: of `app`.
        listener: of `listening`.
        on_ready: called when pages can be loaded.
    """
    import uvicorn

    class Server(uvicorn.Server):  # type: ignore[misc]
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            on_ready()

    # Browsers keep a connection open as long as the page is: the end does not wait for them.
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    with _interrupted_by_sigterm():
        try:
            Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            return


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, so that files are removed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
