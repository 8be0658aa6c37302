"""Shows on a terminal how many targets were traced: with rich where it is installed, plain otherwise, not at all elsewhere."""

from __future__ import annotations

import importlib.util
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

__all__ = ("Progress", "progress_of")

_CLEAR_LINE = "\r\x1b[2K"


class Progress(Protocol):
    """Counts on one line, which makes room for other output. All its calls are made by one thread at a time."""

    def hide(self) -> None:
        """Clear the line, so that other output can take its place."""

    def show(self, told: int) -> None:
        """Draw the line.

        Arguments:
            told: how many were traced.
        """


def progress_of(total: int, stream: TextIO | None) -> Progress:
    """Load all that is needed and draw the line for the first time: afterwards Python's own library may be out of reach.

    Arguments:
        total: how many are to be traced.
        stream: where to; nothing is shown on what is no terminal, or none at all.
    """
    if stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb":
        return _Silent()
    shown: Progress = _Rich(total, stream) if importlib.util.find_spec("rich") is not None else _Plain(total, stream)
    shown.show(0)
    return shown


class _Silent:
    def hide(self) -> None:
        """Nothing is shown."""

    def show(self, told: int) -> None:
        """Nobody looks."""


class _Plain:
    def __init__(self, total: int, stream: TextIO) -> None:
        self._total = total
        self._stream = stream

    def hide(self) -> None:
        _draw(self._stream, "")

    def show(self, told: int) -> None:
        _draw(self._stream, f"{told} of {self._total} targets")


class _Rich:
    def __init__(self, total: int, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

        self._stream = stream
        self._console = Console(file=stream)
        # Drawn by hand: a bar that refreshed itself would write into the other output.
        self._bars: Bars = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            auto_refresh=False,
        )
        self._bar = self._bars.add_task("", total=total)

    def hide(self) -> None:
        _draw(self._stream, "")

    def show(self, told: int) -> None:
        self._bars.update(self._bar, completed=told)
        with self._console.capture() as drawn:
            self._console.print(self._bars.get_renderable(), end="")
        _draw(self._stream, drawn.get().rstrip("\n"))


def _draw(stream: TextIO, line: str) -> None:
    # A terminal that has gone away is no reason to end.
    with suppress(OSError):
        stream.write(_CLEAR_LINE + line)
        stream.flush()
