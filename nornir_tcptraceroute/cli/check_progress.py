"""Shows on a terminal how far a run of checks is: with rich where it is installed, plain otherwise, not at all elsewhere."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

from nornir_tcptraceroute.reports.table import printable

__all__ = ("Progress", "progress_of")

_Key = tuple[str, str | None]
#: So many checks are named as those that are waited for.
_MOST_NAMED = 3
_WIDTH = 78


class Progress(Protocol):
    """Hears of checks as they are settled, from any thread."""

    def settled(self, key: _Key, outcome: str, /) -> None:
        """A check is settled at a vantage."""


@contextmanager
def progress_of(keys: Iterable[_Key], stream: TextIO | None) -> Iterator[Progress]:
    """Show how checks are settled, as long as the ``with`` block lasts; the terminal is clean afterwards.

    Arguments:
        keys: name and vantage of every check.
        stream: where to; nothing is shown on what is no terminal, or none at all.
    """
    if stream is None or not stream.isatty():
        yield _Silent()
    elif importlib.util.find_spec("rich") is not None:
        with _rich_bar(list(keys), stream) as bar:
            yield bar
    else:
        plain = _Plain(list(keys), stream)
        try:
            yield plain
        finally:
            plain.clear()


class _Silent:
    def settled(self, key: _Key, outcome: str, /) -> None:
        """Nobody looks."""


class _Waiting:
    """What is still to be settled."""

    def __init__(self, keys: list[_Key]) -> None:
        self.total = len(keys)
        self._left = dict.fromkeys(keys)

    def without(self, key: _Key) -> str:
        """Take one away; returns a line on the rest."""
        self._left.pop(key, None)
        named = [printable(name if host is None else f"{name} from {host}") for name, host in [*self._left][:_MOST_NAMED]]
        rest = len(self._left) - len(named)
        return f"waiting for {', '.join(named)}{f' and {rest} more' if rest else ''}" if named else "done"

    @property
    def settled(self) -> int:
        return self.total - len(self._left)


class _Plain:
    """One line, written over and over."""

    def __init__(self, keys: list[_Key], stream: TextIO) -> None:
        self._waiting = _Waiting(keys)
        self._stream = stream
        self._lock = threading.Lock()
        self._write(f"0 of {len(keys)} checks")

    def settled(self, key: _Key, _outcome: str, /) -> None:
        with self._lock:
            told = self._waiting.without(key)
            self._write(f"{self._waiting.settled} of {self._waiting.total} checks, {told}")

    def clear(self) -> None:
        with self._lock:
            self._write("")

    def _write(self, text: str) -> None:
        self._stream.write(f"\r{text[:_WIDTH]:{_WIDTH}}\r")
        self._stream.flush()


@contextmanager
def _rich_bar(keys: list[_Key], stream: TextIO) -> Iterator[Progress]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns: list[Any] = [BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")]
    waiting, lock = _Waiting(keys), threading.Lock()
    with Bars(*columns, console=Console(file=stream), transient=True) as bars:
        bar = bars.add_task("", total=len(keys))

        class Shown:
            def settled(self, key: _Key, _outcome: str, /) -> None:
                with lock:
                    bars.update(bar, advance=1, description=escape(waiting.without(key)))

        yield Shown()
