"""System calls that Python before 3.12 doesn't have: namespaces and mounts."""

from __future__ import annotations

import ctypes
import os

# linux/sched.h, linux/mount.h, linux/prctl.h
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x8, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def unshare(flags: int) -> None:
    """Move this process to new namespaces: the system call of this name.

    Raises:
        OSError: the kernel refused.
    """
    _check(_libc.unshare(flags), "unshare")


def set_namespace(descriptor: int, kind: int) -> None:
    """Move this process to a namespace, as setns(2) does.

    Raises:
        OSError: the kernel refused.
    """
    _check(_libc.setns(descriptor, kind), "setns")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Put a file system over a directory, or a file over a file: the system call of this name.

    Raises:
        OSError: the kernel refused; its file name is the target.
    """
    _check(_libc.mount(source.encode(), os.fsencode(target), kind.encode(), flags, data.encode()), target)


def unmount(target: str) -> None:
    """Take a mount away at once; what still uses it keeps it until it ends.

    Raises:
        OSError: the kernel refused; its file name is the target.
    """
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), target)


def die_with_parent(signal: int) -> None:
    """Have the kernel send this process a signal when the parent ends. The caller checks that it has not ended already.

    Raises:
        OSError: the kernel refused.
    """
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl")
