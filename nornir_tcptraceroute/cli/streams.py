"""Text to standard output and standard error at once, in ASCII, whatever the locale is and whatever became of the streams."""

from __future__ import annotations

import os

__all__ = ("OutputLostError", "open_missing_streams", "write_error", "write_output")


class OutputLostError(Exception):
    """Standard output takes no more; whatever else there is to print would be lost.

    Attributes:
        silent: whether its reader has gone away, so that nobody wants to hear of it.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output can't be written: {error.strerror}")
        self.silent = isinstance(error, BrokenPipeError)


def open_missing_streams() -> None:
    """Point the standard streams that the caller closed to nowhere, so that no socket takes their place and gets their text."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free descriptor is the one that is missing.
            os.open(os.devnull, os.O_RDWR)


def write_output(text: str) -> None:
    """Write to standard output.

    Raises:
        OutputLostError: it takes no more.
    """
    try:
        _write(1, text)
    except OSError as error:
        raise OutputLostError(error) from None


def write_error(text: str) -> None:
    """Write to standard error; what it does not take is lost, as there is no other place to tell that."""
    try:
        _write(2, text)
    except OSError:
        return


def _write(descriptor: int, text: str) -> None:
    data = text.encode("ascii", "backslashreplace")
    while data:
        data = data[os.write(descriptor, data) :]
