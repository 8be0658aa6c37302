# BSD-3-Clause, see LICENSE
"""What this process may do, and giving all of it up once the raw sockets are open.

Sockets keep the rights that they were opened with, so that nothing is lost by having none when the first packet is parsed.
"""

from __future__ import annotations

import errno
import os
from typing import Any, Dict, Iterator, Optional, Tuple

from .errors import PrivilegeError

__all__ = ("drop_privileges", "explain_missing", "has_net_raw")

# From capabilities(7) and linux/capability.h.
_CAP_SETGID, _CAP_SETUID, _CAP_NET_RAW = 6, 7, 13
_CAPABILITY_VERSION_3 = 0x20080522
# From linux/prctl.h.
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38

_NOBODY = 65534
_SETS = ("CapPrm", "CapEff", "CapInh", "CapAmb")


def explain_missing() -> str:
    """Say in one sentence which privilege is missing, and the ways to get it."""
    return (
        "raw sockets need CAP_NET_RAW, which this process (uid {}) does not have: run it as root or with sudo, in Ansible with "
        "'become: true', in a container with '--cap-add=NET_RAW', in a systemd unit with 'AmbientCapabilities=CAP_NET_RAW'"
    ).format(os.geteuid())


def has_net_raw() -> bool:
    """Whether this process may open raw sockets, told from its effective capabilities without opening one.

    Raises:
        PrivilegeError: /proc can't be read.
    """
    return _may(_status(), _CAP_NET_RAW)


def drop_privileges() -> None:
    """Give up, for good, every privilege that this process has; raw sockets that are open keep working.

    Sets no_new_privs; empties the bounding set where it may; as root, becomes the user and group 65534 (nobody) with no other
    groups, unless the user namespace has no such user or forbids setgroups, or the capabilities for it are missing; empties
    the effective, permitted, inheritable and ambient sets. Then it reads back what the kernel says of every thread of the
    process. It is for a command's own process: a library must not do this to its caller.

    Import before this call whatever is needed after it: nobody may not be able to read the interpreter's own files. As the
    user changes, the process also becomes one that can't be dumped: /proc/self/status stays readable, but /proc/self/fd and
    what leads through it (/dev/stdout) does not.

    Raises:
        PrivilegeError: something could not be given up, or threads that were started before still have it; then the process
            must not go on. A process that had no privilege never sees this.
    """
    status = _status()
    powerless = _is_powerless(status) and 0 not in os.getresuid()
    try:
        kernel = _Kernel()
    except (ImportError, OSError, AttributeError) as error:
        if powerless:
            return
        raise PrivilegeError(
            "privileges can't be dropped because this Python has no working ctypes ({}): "
            "use a Python with ctypes, or give this one no privilege".format(error)
        ) from None
    _refuse_error(kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1), "set no_new_privs")
    if powerless:
        return
    _empty_bounding_set(kernel)
    if _may_become_nobody(status):
        _become_nobody()
    _refuse_error(kernel.capset_nothing(), "empty the capability sets")
    _verify()


class _Kernel:
    """The two system calls that Python has no functions for. Each returns 0 or the number of its error."""

    def __init__(self) -> None:
        # Loading ctypes costs 5 ms, which only a process that drops privileges has to pay.
        import ctypes

        self._ctypes = ctypes
        library = ctypes.CDLL(None, use_errno=True)
        self._prctl: Any = library.prctl
        self._capset: Any = library.capset

    def prctl(self, operation: int, argument: int) -> int:
        # prctl() is variadic: an argument passed as int would leave the upper half of its register undefined.
        rest = [self._ctypes.c_ulong(value) for value in (argument, 0, 0, 0)]
        return self._ctypes.get_errno() if self._prctl(self._ctypes.c_int(operation), *rest) else 0

    def capset_nothing(self) -> int:
        """Empty effective, permitted and inheritable sets; the kernel takes from the ambient set what leaves the other two."""
        header = (self._ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        sets = (self._ctypes.c_uint32 * 6)()
        return self._ctypes.get_errno() if self._capset(self._ctypes.byref(header), self._ctypes.byref(sets)) else 0


def _not_dropped(why: str) -> PrivilegeError:
    return PrivilegeError("privileges could not be dropped ({}), so nothing was sent: start with fewer privileges".format(why))


def _refuse_error(number: int, doing: str) -> None:
    if number:
        raise _not_dropped("{}: {}".format(doing, os.strerror(number)))


def _empty_bounding_set(kernel: _Kernel) -> None:
    for capability in range(64):
        number = kernel.prctl(_PR_CAPBSET_DROP, capability)
        if number in (errno.EINVAL, errno.EPERM):
            # EINVAL: the kernel has no more capabilities. EPERM: CAP_SETPCAP is missing; no_new_privs makes up for what stays.
            return
        _refuse_error(number, "empty the bounding set")


def _may_become_nobody(status: Dict[str, str]) -> bool:
    if os.geteuid() != 0 or not (_may(status, _CAP_SETUID) and _may(status, _CAP_SETGID)):
        return False
    try:
        mapped = _is_mapped("/proc/self/uid_map") and _is_mapped("/proc/self/gid_map")
        return mapped and _text("/proc/self/setgroups").strip() == "allow"
    except FileNotFoundError:
        # A kernel without user namespaces has every user.
        return True


def _is_mapped(path: str) -> bool:
    """Whether a user or group map of user_namespaces(7) has the id of nobody."""
    for line in _text(path).splitlines():
        first, _outside, count = (int(number) for number in line.split())
        if first <= _NOBODY < first + count:
            return True
    return False


def _become_nobody() -> None:
    try:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    except OSError as error:
        raise _not_dropped("become user {}: {}".format(_NOBODY, error.strerror)) from None


def _verify() -> None:
    """Believe the kernel alone: read the state of every thread back, and try to become root again."""
    for thread, status in _threads():
        if not _is_powerless(status):
            raise _not_dropped("thread {} still has capabilities".format(thread))
        # Kernels before 4.10 do not tell it here.
        if status.get("NoNewPrivs", "1") != "1":
            raise _not_dropped("thread {} is without no_new_privs".format(thread))
    if os.geteuid() == 0:
        # No other user, or not allowed to become one: root without a capability, in a namespace or a container.
        return
    try:
        os.setuid(0)
    except OSError:
        return
    raise _not_dropped("the process could become root again")


def _threads() -> Iterator[Tuple[str, Dict[str, str]]]:
    for thread in os.listdir("/proc/self/task"):
        status = _thread_status(thread)
        if status is not None:
            yield thread, status


def _thread_status(thread: str) -> Optional[Dict[str, str]]:
    try:
        return _fields("/proc/self/task/{}/status".format(thread))
    except (FileNotFoundError, ProcessLookupError):
        # A thread that ended has no privilege.
        return None
    except OSError as error:
        raise _not_dropped("thread {} can't be checked: {}".format(thread, error.strerror)) from None


def _status() -> Dict[str, str]:
    try:
        return _fields("/proc/self/status")
    except OSError as error:
        raise PrivilegeError(
            "the privileges of this process are unknown (/proc/self/status: {}): mount /proc".format(error.strerror)
        ) from None


def _fields(path: str) -> Dict[str, str]:
    lines = _text(path).splitlines()
    return {name: value.strip() for name, _colon, value in (line.partition(":") for line in lines)}


def _text(path: str) -> str:
    with open(path, "rb") as file:
        return file.read().decode("ascii", "replace")


def _is_powerless(status: Dict[str, str]) -> bool:
    # Kernels before 4.3 have no ambient set; that another set is not told proves nothing, and so counts as not empty.
    return not any(int(status.get(name, "0" if name == "CapAmb" else "1"), 16) for name in _SETS)


def _may(status: Dict[str, str], capability: int) -> bool:
    return bool(int(status.get("CapEff", "0"), 16) >> capability & 1)
