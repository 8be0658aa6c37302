"""Ways to hold a conversation over SSH: a channel of Paramiko's, which Netmiko uses too, and OpenSSH's own `ssh`.

Both read the host's two outputs at the same time, send as much as the host takes, and end by a time limit whatever it does.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import selectors
import subprocess
import time
from collections.abc import Sequence
from typing import IO, Any, Protocol

from .conversation import Conversation, shown
from .errors import LoginError, RemoteError

CHUNK = 32 << 10
SSH_FAILED = 255
# What `ssh` says, and what to do about it.
SSH_REASONS = {
    r"Host key verification failed|host key.*changed": "the host's key is not the one in known_hosts: "
    "check it, then add it (ssh-keyscan shows it)",
    r"Permission denied|Too many authentication failures": "ssh could not log in: "
    "give it a key or an agent, because it asks for no password here",
    r"Could not resolve hostname": "its name has no address: check hostname in the inventory",
    r"Connection refused": "nothing listens on its SSH port: check that it is up, and its port in the inventory",
    r"timed out|No route to host|unreachable": "it does not answer on its SSH port: check that it is up, and the way to it",
}


class Connection(Protocol):
    """A way to run a command on a host."""

    def hold(self, conversation: Conversation, command: str, time_limit: float) -> int | None:
        """Run a command and hold the conversation with it.

        Arguments:
            conversation: what is said.
            command: for the host's shell.
            time_limit: seconds until it must have ended.

        Returns:
            The exit status; None if the host told none.

        Raises:
            RemoteError: no session, or not ended in time.
        """


def _too_late(time_limit: float) -> RemoteError:
    return RemoteError(f"the host did not finish within {time_limit:g} s: check it, or allow more with time_limit")


class ParamikoConnection:
    """A session of a logged-in Paramiko client.

    Arguments:
        client: the `paramiko.SSHClient`; it stays open.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def hold(self, conversation: Conversation, command: str, time_limit: float) -> int | None:
        """See Connection."""
        from paramiko import SSHException

        end = time.monotonic() + time_limit
        try:
            transport = self._client.get_transport()
            if transport is None or not transport.is_active():
                raise RemoteError("the connection to the host was closed: try again")
            channel = transport.open_session(timeout=time_limit)
            with contextlib.closing(channel):
                channel.settimeout(time_limit)
                channel.exec_command(command)
                return self._talk(channel, conversation, end, time_limit)
        except (SSHException, EOFError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise _too_late(time_limit) from None
            raise RemoteError(f"the connection to the host was closed ({shown(str(error)) or type(error).__name__})") from None

    @staticmethod
    def _talk(channel: Any, conversation: Conversation, end: float, time_limit: float) -> int | None:
        poll = select.poll()
        poll.register(channel.fileno(), select.POLLIN)
        closed = False
        while conversation.failure is None:
            # At the end of both outputs nothing more comes; told before reading, so that nothing is missed.
            last = channel.eof_received or channel.closed
            while channel.recv_ready():
                conversation.take_output(channel.recv(CHUNK))
            while channel.recv_stderr_ready():
                conversation.take_errors(channel.recv_stderr(CHUNK))
            if last:
                channel.status_event.wait(max(0.0, end - time.monotonic()))
                return None if channel.exit_status < 0 else int(channel.exit_status)
            while conversation.outgoing and channel.send_ready():
                del conversation.outgoing[: channel.send(bytes(conversation.outgoing[:CHUNK]))]
            if conversation.complete and not conversation.outgoing and not closed:
                closed = True
                channel.shutdown_write()
            left = end - time.monotonic()
            if left <= 0:
                raise _too_late(time_limit)
            # While the host's window is full, Paramiko has nothing to wait for that would wake us.
            poll.poll(1000 * min(left, 0.05 if conversation.outgoing else left))
        return None


class OpenSSHConnection:
    """A session of the user's own `ssh`: their configuration, jump hosts and agent. It never asks for anything.

    Arguments:
        host: name or address, as in the inventory.
        user: user name; None leaves it to the configuration.
        port: likewise.
        options: further arguments, such as `-F FILE` or `-J HOST`.
    """

    def __init__(self, host: str, user: str | None = None, port: int | None = None, options: Sequence[str] = ()) -> None:
        chosen = [*(["-l", user] if user else []), *(["-p", str(port)] if port else [])]
        self._command = ["ssh", "-T", "-o", "BatchMode=yes", *options, *chosen, "--", host]

    def hold(self, conversation: Conversation, command: str, time_limit: float) -> int | None:
        """See Connection."""
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen([*self._command, command], stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        except OSError as error:
            raise LoginError(f"ssh can't be started on the controller: {error.strerror}; install openssh-client") from None
        with process:
            try:
                self._talk(process, conversation, time.monotonic() + time_limit, time_limit)
            finally:
                process.kill()
        status = process.returncode
        if conversation.failure is None and status == SSH_FAILED and not conversation.ready:
            raise LoginError(self._reason(conversation.errors))
        # Killed after its outputs had ended, or 255, which is ssh's own: the host told no status.
        return None if status in {SSH_FAILED, -9} else status

    @staticmethod
    def _reason(errors: str) -> str:
        for pattern, advice in SSH_REASONS.items():
            if re.search(pattern, errors, re.IGNORECASE):
                return advice
        return f"ssh could not open a session: {shown(errors) or 'it said nothing'}"

    @staticmethod
    def _talk(process: subprocess.Popen[bytes], conversation: Conversation, end: float, time_limit: float) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        outputs = {process.stdout.fileno(): conversation.take_output, process.stderr.fileno(): conversation.take_errors}
        os.set_blocking(process.stdin.fileno(), False)
        with selectors.DefaultSelector() as selector:
            for output in outputs:
                selector.register(output, selectors.EVENT_READ)
            while outputs and conversation.failure is None:
                left = end - time.monotonic()
                if left <= 0:
                    raise _too_late(time_limit)
                for key, _ in selector.select(left):
                    if key.fileobj is process.stdin:
                        _send(process.stdin, conversation)
                    elif data := os.read(key.fd, CHUNK):
                        outputs[key.fd](data)
                    else:
                        selector.unregister(key.fd)
                        del outputs[key.fd]
                _wait_to_send(selector, process.stdin, conversation)
        if conversation.failure is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))


def _wait_to_send(selector: selectors.BaseSelector, stdin: IO[bytes], conversation: Conversation) -> None:
    """Wait for room while there is something to send, and close standard input after the last of it."""
    if stdin.closed:
        return
    waiting = stdin in selector.get_map()
    if conversation.outgoing and not waiting:
        selector.register(stdin, selectors.EVENT_WRITE)
    elif waiting and not conversation.outgoing:
        selector.unregister(stdin)
    if conversation.complete and not conversation.outgoing:
        stdin.close()


def _send(stdin: IO[bytes], conversation: Conversation) -> None:
    try:
        del conversation.outgoing[: os.write(stdin.fileno(), conversation.outgoing[:CHUNK])]
    except BrokenPipeError:
        # It ended before it had read all; its outputs tell why.
        conversation.outgoing.clear()
