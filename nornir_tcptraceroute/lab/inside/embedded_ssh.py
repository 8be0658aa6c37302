"""A managed host's SSH server where OpenSSH's can't run: asyncssh, in a process on the host's node.

Its task is JSON on standard input. All users are root of the lab; one that sudo does nothing for has no
capabilities. It tells `{"ready": true}` or `{"error": ...}` and serves until the lab ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import asyncssh

from . import enter

CHUNK = 32 << 10
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: All that a host without Python has.
BARE_PROGRAMS = ("cat", "env", "id", "ls", "sh", "true")


class _Login(asyncssh.SSHServer):
    """Who may log in with what."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._users: dict[str, dict[str, str | None]] = task["users"]
        self._key = asyncssh.import_public_key(task["authorized_key"])

    def begin_auth(self, username: str) -> bool:
        return bool(username)

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return username in self._users and self._users[username]["password"] == password

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username in self._users and key == self._key


def _environment(task: dict[str, Any], user: str) -> dict[str, str]:
    home = Path(task["directory"], user)
    home.mkdir(exist_ok=True)
    path = f"{SYSTEM_PATH}:{os.environ.get('PATH', '')}"
    if not task["python"]:
        programs = Path(task["directory"], "bin")
        programs.mkdir(exist_ok=True)
        for name in BARE_PROGRAMS:
            found = shutil.which(name, path=path)
            if found and not (programs / name).exists():
                (programs / name).symlink_to(Path(found).resolve() if name == "sh" else found)
        path = str(programs)
    return {"HOME": str(home), "USER": user, "LOGNAME": user, "PATH": path, "SHELL": "/bin/sh", "PS1": "$ "}


def _command(command: str | None) -> list[str]:
    return ["/bin/sh", "-i"] if command is None else ["/bin/sh", "-c", command]


async def _run(task: dict[str, Any], process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run a command, or a shell on a terminal of its own, for one session."""
    user = process.get_extra_info("username")
    argv = _command(process.command)
    environment = _environment(task, user)
    options: dict[str, Any] = {"env": environment, "cwd": environment["HOME"], "start_new_session": True}
    if user != "root" and not task["users"][user]["sudo"]:
        options["preexec_fn"] = enter.drop_capabilities
    pipe = asyncio.subprocess.PIPE
    if process.term_type is not None:
        controller, terminal = pty.openpty()
        child = await asyncio.create_subprocess_exec(*argv, stdin=terminal, stdout=terminal, stderr=terminal, **options)
        os.close(terminal)
        await process.redirect(stdin=os.dup(controller), stdout=controller)
        _exit(process, await child.wait())
        await process.wait_closed()
        return
    child = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe, **options)
    await process.redirect(stdin=child.stdin)
    assert child.stdout is not None
    assert child.stderr is not None
    # By hand: asyncssh ends the channel for both outputs when the first of them ends.
    pumping = asyncio.gather(_pump(child.stdout, process.stdout), _pump(child.stderr, process.stderr))
    leaving = asyncio.ensure_future(process.channel.wait_closed())
    await asyncio.wait((pumping, leaving), return_when=asyncio.FIRST_COMPLETED)
    if leaving.done() or pumping.exception():
        # The client has gone, as when its time limit was over.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await asyncio.gather(pumping, return_exceptions=True)
        await child.wait()
    else:
        _exit(process, await child.wait())
    await process.wait_closed()


async def _pump(source: asyncio.StreamReader, target: asyncssh.SSHWriter[bytes]) -> None:
    while data := await source.read(CHUNK):
        target.write(data)
        await target.drain()


def _exit(process: asyncssh.SSHServerProcess[bytes], status: int) -> None:
    if status < 0:
        process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
    else:
        process.exit(status)


class _Files(asyncssh.SFTPServer):
    """Files as the user sees them: relative paths begin at home."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], task: dict[str, Any]) -> None:
        super().__init__(channel)
        self._home = _environment(task, channel.get_extra_info("username"))["HOME"].encode()

    def map_path(self, path: bytes) -> bytes:
        return os.path.join(self._home, path)  # noqa: PTH118 - bytes, which pathlib does not take


async def _serve(task: dict[str, Any]) -> None:
    async def run(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await _run(task, process)

    await asyncssh.listen(
        "",
        task["port"],
        server_factory=lambda: _Login(task),
        server_host_keys=[asyncssh.import_private_key(task["host_key"])],
        process_factory=run,
        sftp_factory=lambda channel: _Files(channel, task),
        allow_scp=True,
        encoding=None,
        line_editor=False,
        backlog=128,
    )
    _tell({"ready": True})
    await asyncio.Event().wait()


def _tell(message: dict[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def main() -> int:
    """Serve until the lab ends; returns the exit code where it can't."""
    task = json.load(sys.stdin)
    try:
        asyncio.run(_serve(task))
    except OSError as error:
        _tell({"error": error.strerror or str(error)})
    return 1
