"""What is said between the controller and a managed host, without any I/O: bytes in, bytes out, and what they mean.

The host speaks first: sudo asks for its password on standard error, the first stage tells on standard output that it is ready.
Only then does it get what it asks for, so that neither a password nor the probe can end up where it was not meant for.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ..probe.errors import RecordError
from ..probe.records import Trace
from .errors import HostPrivilegeError, RemoteError

LONGEST_OUTPUT = 16 << 20
KEPT_ERRORS = 64 << 10
LONGEST_TOLD = 300
LARGEST_PLAN = 64 << 10


def shown(text: str) -> str:
    """The last line of what a host said, in printable ASCII and not too long."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = "".join(character if " " <= character <= "~" else "?" for character in (lines[-1] if lines else ""))
    return last if len(last) <= LONGEST_TOLD else last[: LONGEST_TOLD - 3] + "..."


class Conversation:
    """One run of the probe on a managed host.

    Arguments:
        token: the same that the command line has.
        password: for sudo, if it asks.
        payload: what the probe reads, once it is ready.

    Attributes:
        outgoing: what is to be sent; whoever sends it takes it off.
        complete: whether all was put into `outgoing`, so that standard input is to be closed after it.
        failure: why it is pointless to go on.
    """

    def __init__(self, token: str, password: str | None, payload: bytes) -> None:
        self._token = token.encode()
        self._password = password
        self._payload = payload
        self._asked = 0
        self._ready = False
        self._output = bytearray()
        self._errors = bytearray()
        self._answer_from = 0
        self.outgoing = bytearray()
        self.complete = False
        self.failure: RemoteError | None = None

    def take_output(self, data: bytes) -> None:
        """The host said this on standard output."""
        self._output += data
        if len(self._output) > LONGEST_OUTPUT:
            self._output.clear()
            self._fail(
                RemoteError(f"the host sent more than {LONGEST_OUTPUT >> 20} MiB: fewer destinations in one run, or check it")
            )
        elif not self._ready:
            ready = self._token + b" ready"
            position = self._output.find(ready)
            end = self._output.find(b"\n", position) if position >= 0 else -1
            if end >= 0:
                self._ready = self.complete = True
                self._answer_from = end + 1
                self.outgoing += self._payload

    def take_errors(self, data: bytes) -> None:
        """The host said this on standard error."""
        self._errors += data
        asked = self._errors.count(self._token + b" password:")
        if asked > self._asked and not self._ready:
            self._asked = asked
            if self._password is None:
                self._fail(HostPrivilegeError("sudo asks for a password: give become_password, or allow the user in sudoers"))
            elif asked == 1:
                self.outgoing += self._password.encode() + b"\n"
            else:
                self._fail(HostPrivilegeError("sudo refused the password: check become_password"))
        if len(self._errors) > 2 * KEPT_ERRORS and self._ready:
            del self._errors[:-KEPT_ERRORS]
        elif len(self._errors) > LONGEST_OUTPUT:
            self._errors.clear()
            self._fail(RemoteError("the host writes to standard error without end: check what its shell runs at login"))

    def _fail(self, error: RemoteError) -> None:
        self.failure = self.failure or error
        self.complete = True
        self.outgoing.clear()

    @property
    def errors(self) -> str:
        """What the host said on standard error, without what this conversation caused."""
        text = self._errors.decode("utf-8", "replace")
        return re.sub(re.escape(self._token.decode()) + r" password:", "", text)

    @property
    def ready(self) -> bool:
        """Whether the host's Python asked for the probe."""
        return self._ready

    def finish(self, status: int | None) -> None:
        """Judge how the run ended.

        Arguments:
            status: the exit status, or None if the host told none.

        Raises:
            RemoteError: it ended in a way that leaves no answers.
        """
        if self.failure is not None:
            raise self.failure
        errors = self.errors
        token = self._token.decode()
        old = re.search(re.escape(token) + r" old ([0-9.]+)", errors)
        if f"{token} no-python" in errors:
            raise RemoteError("the host has no such Python: install python3 (3.8 or newer) there, or name it with interpreter")
        if f"{token} no-sudo" in errors:
            raise HostPrivilegeError("the host has no sudo: install it, log in as root, or set become to false")
        if old:
            raise RemoteError(f"the host's Python is {old[1]}, and 3.8 or newer is needed: name another with interpreter")
        if not self._ready and status is not None:
            kind = HostPrivilegeError if "sudo" in errors else RemoteError
            raise kind(f"the probe could not be started on the host (exit status {status}): {shown(errors) or 'it said nothing'}")
        if status is None or status < 0:
            raise RemoteError("the connection was closed before the probe had ended: try again")
        if status == 3:
            raise HostPrivilegeError(
                "raw sockets need CAP_NET_RAW, which the user does not have on the host: set become to true, or log in as root"
            )
        if status not in {0, 4, 130, 143}:
            raise RemoteError(f"the probe failed on the host (exit status {status}): {shown(errors) or 'it said nothing'}")

    def answers(self) -> list[dict[str, Any]]:
        """The host's lines, each a JSON object.

        Raises:
            RecordError: a line is none.
        """
        told = []
        for line in bytes(self._output[self._answer_from :]).splitlines():
            try:
                document = json.loads(line)
            except (ValueError, RecursionError):
                document = None
            if not isinstance(document, dict):
                raise RecordError(f"the host sent a line that is no record: {shown(line.decode('utf-8', 'replace'))!r}")
            told.append(document)
        return told


def trace_of(document: dict[str, Any]) -> Trace | RemoteError:
    """A line as the trace that it is, or as the reason why there is none.

    Raises:
        RecordError: it is neither.
    """
    error = document.get("error")
    if isinstance(error, dict):
        message = shown(str(error.get("message", "")))
        return HostPrivilegeError(message) if error.get("type") == "PrivilegeError" else RemoteError(message)
    return Trace.from_dict(document)
