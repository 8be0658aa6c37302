"""Run a test elsewhere, in a forked child: in a network namespace of its own, with its loopback up, or as an ordinary user."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import traceback
import warnings
from functools import lru_cache, wraps
from typing import Any, Callable, Optional, Tuple, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., None])

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # linux/sched.h
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1  # linux/sockios.h, linux/if.h


def _unshare(what: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(what):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:  # noqa: PTH123 -- a path of /proc
        file.write(text)


def _enter() -> None:
    user, group = os.geteuid(), os.getegid()
    try:
        _unshare(_NEW_NETWORK)
    except PermissionError:
        _unshare(_NEW_USER | _NEW_NETWORK)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", "0 {} 1".format(user))
        _write("/proc/self/gid_map", "0 {} 1".format(group))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        request = fcntl.ioctl(asked, _GET_FLAGS, struct.pack("16s24x", b"lo"))
        flags = struct.unpack_from("=H", request, 16)[0] | _UP
        fcntl.ioctl(asked, _SET_FLAGS, struct.pack("16sH22x", b"lo", flags))


def _become_ordinary() -> None:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)


def _in_child(prepare: Callable[[], None], refused: str, work: Callable[[], None]) -> Tuple[str, str]:
    """Run this in a forked child that prepares itself; how it ended: passed, skipped or failed, with its text."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        # A thread of an earlier test that still waits for a resolver is no danger to a child that leaves by _exit.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        told = "failed", "the child could not tell why"
        try:
            try:
                prepare()
            except OSError as error:
                told = "skipped", "{}: {}".format(refused, error)
            else:
                work()
                told = "passed", ""
        except pytest.skip.Exception as skipped:
            told = "skipped", str(skipped)
        except BaseException:  # noqa: BLE001 -- whatever it is, the parent has to hear of it
            told = "failed", traceback.format_exc()
        finally:
            os.write(write_end, json.dumps(told).encode()[:60000])
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        kind, text = json.loads(pipe.read())
    os.waitpid(child, 0)
    return kind, text


def _elsewhere(test: Test, prepare: Callable[[], None], refused: str) -> Test:
    @wraps(test)
    def run(*arguments: Any, **keywords: Any) -> None:
        kind, text = _in_child(prepare, refused, lambda: test(*arguments, **keywords))
        if kind == "skipped":
            pytest.skip(text)
        if kind == "failed":
            pytest.fail(text, pytrace=False)

    return run  # type: ignore[return-value]


def isolated(test: Test) -> Test:
    """Decorate a test that needs a network of its own; it is skipped, with the reason, where none may be made."""
    return _elsewhere(test, _enter, "no network namespace may be made here, neither as this user nor in a user namespace")


def unprivileged(test: Test) -> Test:
    """Decorate a test that needs to be without CAP_NET_RAW: it runs here, or else as user nobody."""
    return _elsewhere(test, _become_ordinary, "root may not become another user here") if _may_open_raw_sockets() else test


@lru_cache(maxsize=None)
def _may_open_raw_sockets() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP).close()
    except PermissionError:
        return False
    return True


def privileged(test: Test) -> Test:
    """Decorate a test that needs CAP_NET_RAW and no more than the loopback: it runs here, or else isolated."""
    return test if _may_open_raw_sockets() else isolated(test)


def ip(*commands: str, program: str = "ip") -> None:
    """Change the namespace's network by commands of iproute2, such as ``link add left type veth peer right``."""
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        pytest.skip("the program {} (iproute2) is not installed, and the network of this test is made with it".format(program))
    for command in commands:
        done = subprocess.run([path, *command.split()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, "{} {}: {}".format(program, command, done.stdout.decode())


def reason_without_ipv6() -> Optional[str]:
    """Why IPv6 can't be tried here, or None."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as tried:
            tried.bind(("::1", 0))
    except OSError as error:
        return "this host has no IPv6 loopback: {}".format(errno.errorcode.get(error.errno or 0, str(error)))
    return None
