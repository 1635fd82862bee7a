"""A table of named things that remembers who offered each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from adair_core.errors import DuplicateNameError, UnknownNameError


@dataclass(frozen=True)
class Provenance:
    """Who offered something.

    Attributes:
        package: distribution name, such as ``adair``.
        version: its version.
        entry_point: name of the entry point.
        module: the hook module.
        file: the hook module's file.
    """

    package: str
    version: str
    entry_point: str
    module: str
    file: str

    def __str__(self) -> str:
        return f"{self.package} {self.version} ({self.module})"


T = TypeVar("T")


def _own_name(record: Any) -> str:
    return str(record.name)


class Registry(Generic[T]):
    """Named records of one kind.

    Adding is atomic: if a batch holds a name that is taken, or the same name twice, nothing of it is added.

    Args:
        kind: what the records are, for messages: ``"degradation"``.
        key: the name of a record.
    """

    def __init__(self, kind: str, key: Callable[[T], str] = _own_name) -> None:
        self.kind = kind
        self.key = key
        self.failed_plugins = 0
        self._entries: dict[str, tuple[T, Provenance]] = {}
        self._reserved: dict[str, str] = {}

    def reserve(self, names: Iterable[str], owner: str) -> None:
        """Refuse names that are in use outside the registry.

        Args:
            names: what nobody may offer.
            owner: who has them, for messages.
        """
        self._reserved.update(dict.fromkeys(names, owner))

    def check(self, records: Iterable[T], source: Provenance) -> None:
        """Raise what `add` would raise.

        Raises:
            DuplicateNameError: a name is taken, reserved, or comes twice.
        """
        seen = self._reserved | {name: str(provenance) for name, (_, provenance) in self._entries.items()}
        for record in records:
            name = self.key(record)
            if name in seen:
                raise DuplicateNameError(self.kind, name, first=seen[name], second=str(source))
            seen[name] = str(source)

    def add(self, records: Iterable[T], source: Provenance) -> None:
        """Add a batch, or nothing of it.

        Raises:
            DuplicateNameError: a name is taken, or comes twice.
        """
        batch = list(records)
        self.check(batch, source)
        self._entries.update({self.key(record): (record, source) for record in batch})

    def __getitem__(self, name: str) -> T:
        """Look a record up.

        Raises:
            UnknownNameError: with the nearest known name.
        """
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, self._entries, failed_plugins=self.failed_plugins)
        return self._entries[name][0]

    def provenance(self, name: str) -> Provenance:
        """Who offered the record.

        Raises:
            UnknownNameError: with the nearest known name.
        """
        self[name]
        return self._entries[name][1]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def values(self) -> list[T]:
        """All records, by name."""
        return [self._entries[name][0] for name in self]
