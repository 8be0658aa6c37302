"""A managed host: its own root file system over the machine's, its own processes and users, and OpenSSH's server.

It needs real root. Its task is JSON on standard input. It tells `{"ready": true}` or `{"error": ...}`, and then
stays: it is process 1 of the host, and its end is the host's.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import kernel

FIRST_USER_NUMBER = 61001
OF_THE_LAB = ("/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf")
LIBCRYPT = ("libcrypt.so.1", "libcrypt.so.2")
PYTHON = re.compile(r"(python[0-9.]*|platform-python[0-9.]*)\Z")
PROGRAMS = ("/usr/bin", "/usr/local/bin", "/usr/libexec", "/bin")
# Without PAM's own modules of the machine: a password is a password, and a wrong one costs no delay.
PAM = "auth required pam_unix.so nodelay\naccount required pam_unix.so\nsession required pam_permit.so\n"
SSHD = """
Port {port}
HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PasswordAuthentication yes
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 200
MaxSessions 200
PidFile none
Subsystem sftp internal-sftp
"""
# OpenSSH 9.8 and newer refuse a client for a while that failed to log in, as tests do.
NO_PENALTIES = "PerSourcePenalties no\n"


def _hashed(password: str) -> str:
    """The password as the shadow file has it: crypt(3), SHA-512, few rounds because the lab is no place for secrets."""
    for name in LIBCRYPT:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.crypt.restype = ctypes.c_char_p
        hashed: bytes | None = library.crypt(password.encode(), b"$6$rounds=1000$lab$")
        if hashed:
            return hashed.decode()
    raise OSError(0, "no crypt(3) that knows SHA-512", LIBCRYPT[0])


def _make_root(directory: Path) -> Path:
    """An overlay over the machine's files, changes in memory; /root, /home, /tmp and /run are empty."""
    texts = {path: Path(path).read_bytes() for path in OF_THE_LAB if Path(path).exists()}
    kernel.mount("tmpfs", str(directory), "tmpfs", 0, "mode=755")
    upper, work, root = directory / "upper", directory / "work", directory / "root"
    for path in (upper, work, root):
        path.mkdir()
    kernel.mount("overlay", str(root), "overlay", 0, f"lowerdir=/,upperdir={upper},workdir={work}")
    kernel.mount("proc", str(root / "proc"), "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    kernel.mount("/dev", str(root / "dev"), "none", kernel.MS_BIND | kernel.MS_REC)
    for name, mode in (("root", "700"), ("home", "755"), ("run", "755"), ("tmp", "1777")):
        kernel.mount("tmpfs", str(root / name), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, f"mode={mode}")
    for name, text in texts.items():
        _write(root, name, text.decode(), 0o644)
    return root


def _write(root: Path, path: str, text: str, mode: int) -> None:
    place = root / path.lstrip("/")
    place.unlink(missing_ok=True)  # It may be a link to a place that the host has not.
    place.touch(mode=0o600)
    place.write_text(text, encoding="utf-8")
    place.chmod(mode)


def _add_users(root: Path, users: dict[str, dict[str, str | None]]) -> None:
    """Users with homes. The machine's own stay, for what runs under them, but none of them can log in."""
    kept = [line for line in (root / "etc/passwd").read_text(encoding="utf-8").splitlines() if line.split(":")[0] not in users]
    groups = [line for line in (root / "etc/group").read_text(encoding="utf-8").splitlines() if line.split(":")[0] not in users]
    shadow = [f"{line.split(':')[0]}:*:19000:0:99999:7:::" for line in kept]
    sudoers = ["Defaults secure_path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "root ALL=(ALL:ALL) ALL"]
    for offset, (name, user) in enumerate(users.items()):
        number, home = (0, "/root") if name == "root" else (FIRST_USER_NUMBER + offset, f"/home/{name}")
        kept.append(f"{name}:x:{number}:{number}::{home}:/bin/sh")
        groups.append(f"{name}:x:{number}:")
        shadow.append(f"{name}:{_hashed(user['password']) if user['password'] else '*'}:19000:0:99999:7:::")
        if user["sudo"]:
            sudoers.append(f"{name} ALL=(ALL:ALL) {user['sudo']}")
        place = root / home.lstrip("/")
        place.mkdir(mode=0o700, exist_ok=True)
        os.chown(place, number, number)
    _write(root, "/etc/passwd", "\n".join(kept) + "\n", 0o644)
    _write(root, "/etc/group", "\n".join(groups) + "\n", 0o644)
    _write(root, "/etc/shadow", "\n".join(shadow) + "\n", 0o600)
    _write(root, "/etc/sudoers", "\n".join(sudoers) + "\n", 0o440)
    if (root / "etc/pam.d").is_dir():
        _write(root, "/etc/pam.d/sudo", PAM, 0o644)


def _take_python_away(root: Path) -> None:
    for directory in PROGRAMS:
        place = root / directory.lstrip("/")
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if PYTHON.match(path.name):
                path.unlink()


def _start_server(task: dict[str, Any]) -> subprocess.Popen[str]:
    Path("/run/sshd").mkdir(mode=0o755)
    Path("/etc/ssh").mkdir(exist_ok=True)
    here = Path("/")
    _write(here, "/etc/ssh/host_key", task["host_key"], 0o600)
    _write(here, "/etc/ssh/authorized_keys", f"{task['authorized_key']}\n", 0o644)
    settings = SSHD.format(port=task["port"])
    _write(here, "/etc/ssh/lab_config", settings + NO_PENALTIES, 0o600)
    command = [task["sshd"], "-f", "/etc/ssh/lab_config"]
    if subprocess.run([*command, "-t"], capture_output=True, check=False).returncode:
        _write(here, "/etc/ssh/lab_config", settings, 0o600)
    return subprocess.Popen([*command, "-D", "-e"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")


def _be_host(task: dict[str, Any]) -> None:
    root = _make_root(Path(task["directory"]))
    _add_users(root, task["users"])
    if not task["python"]:
        _take_python_away(root)
    os.chroot(root)
    os.chdir("/")
    os.environ.clear()
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    server = _start_server(task)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Orphans of the host end up here; the kernel buries them.
    assert server.stderr is not None
    last = "OpenSSH's server ended at once"
    for line in server.stderr:
        if line.startswith("Server listening on"):
            _tell({"ready": True})
            break
        last = line.strip()
    else:
        raise OSError(0, last, "sshd")
    for _ in server.stderr:  # What it logs is read, or it would stand still.
        pass


def _tell(message: dict[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def main() -> int:
    """Be a managed host until the lab ends; returns the exit code where it could not be one."""
    task = json.load(sys.stdin)
    try:
        if not shutil.which(task["sshd"]):
            raise FileNotFoundError(2, "no such program", task["sshd"])
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWPID)
        child = os.fork()
        if child == 0:
            kernel.die_with_parent(signal.SIGKILL)
            _be_host(task)
    except OSError as error:
        _tell({"error": f"{error.filename or 'system'}: {error.strerror}"})
        return 1
    else:
        if child:
            os.waitpid(child, 0)
        return 1
