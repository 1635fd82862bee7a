"""Repositories of the Hugging Face Hub, through its own client; imported where one is named, and nowhere else.

The client reads ``HF_ENDPOINT``, ``HF_TOKEN`` and its other variables.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adair_core.errors import UsageError, WeightsError
from adair_core.model.sharing import Fetched


def import_hub() -> Any:
    """Import the client.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise UsageError(
            "the Hugging Face Hub is reached with huggingface_hub, which is not installed; install it: pip install "
            "'adair[hub]'; a folder needs nothing"
        ) from error
    return huggingface_hub


class HubPlace:
    """A model repository.

    Args:
        repository: ``user/name``.
        private: whether it is not public, if it is made now.

    Raises:
        UsageError: the client is not installed.
    """

    def __init__(self, repository: str, *, private: bool = False) -> None:
        self._client = import_hub()
        self.title, self._private = repository, private

    def put(self, files: Mapping[str, bytes], *, message: str) -> str:
        """Make the repository if it is not there, and add the files in one commit.

        Raises:
            WeightsError: the Hub refuses, or cannot be reached.
        """
        with self._told("written"):
            api = self._client.HfApi()
            api.create_repo(self.title, private=self._private or None, exist_ok=True)
            added = [self._client.CommitOperationAdd(name, content) for name, content in files.items()]
            made = api.create_commit(self.title, added, commit_message=message)
            return str(made.commit_url)

    def get(self, names: Sequence[str], *, revision: str | None) -> Fetched:
        """Read files, all of one commit.

        Raises:
            WeightsError: there is no such repository or revision, or the Hub cannot be reached.
        """
        with self._told("read"), tempfile.TemporaryDirectory() as folder:
            api = self._client.HfApi()
            info = api.model_info(self.title, revision=revision)
            found = [entry.rfilename for entry in info.siblings or []]
            files = {}
            for name in names:
                if name in found:
                    path = api.hf_hub_download(self.title, name, revision=info.sha, local_dir=folder)
                    files[name] = Path(path).read_bytes()
        return Fetched(files, info.sha, tuple(name for name in found if name not in names))

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        from huggingface_hub.errors import HTTPError

        # Which library HTTPError comes from depends on the client's version; what is no HTTP error is an OSError
        # (offline, no connection, a full disk), a ValueError (a name), or a RuntimeError around another (uploads).
        try:
            yield
        except (HTTPError, OSError, ValueError, RuntimeError) as error:
            causes = [str(each) or type(each).__name__ for each in (error, error.__cause__) if each is not None]
            reason = " ".join(": ".join(causes).split())
            hint = "HF_TOKEN or 'hf auth login' says who you are, HF_ENDPOINT which hub"
            raise WeightsError(f"{self.title}: cannot be {what} on the Hub: {reason} ({hint})") from error
