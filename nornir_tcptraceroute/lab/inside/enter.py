"""Runs one command on a node of a lab. Started by path as `python -I -S enter.py`: it imports little, and nothing of the package.

It joins the lab's namespaces and becomes the parent of the command, because only a new process can be in another PID namespace;
it passes signals on, and ends as the command ends.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

# linux/sched.h, linux/prctl.h, linux/capability.h
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
CAPABILITY_VERSION_3 = 0x20080522
LAST_CAPABILITY = 63
SI_USER = 0
PASSED_ON = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)
NOT_FOUND, NOT_EXECUTABLE = 127, 126

_libc = ctypes.CDLL(None, use_errno=True)
_libc.sethostname.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def _join(first_process: int, network: int, *, user_namespace: bool) -> None:
    """Move to the namespaces of a lab and, for the network, of a node. The user namespace comes first: it allows the others."""
    kinds = [("ns/mnt", CLONE_NEWNS), ("ns/ipc", CLONE_NEWIPC), (f"fd/{network}", CLONE_NEWNET), ("ns/pid", CLONE_NEWPID)]
    if user_namespace:
        kinds.insert(0, ("ns/user", CLONE_NEWUSER))
    opened = [(os.open(f"/proc/{first_process}/{path}", os.O_RDONLY | os.O_CLOEXEC), kind) for path, kind in kinds]
    for descriptor, kind in opened:
        _check(_libc.setns(descriptor, kind), "setns")
        os.close(descriptor)


def drop_capabilities() -> None:
    """Give up all capabilities, and the bounding set too: else root would have them again after exec (capabilities(7))."""
    for capability in range(LAST_CAPABILITY + 1):
        if _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break  # The first number that the kernel doesn't know.
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def _execute(command: list[str]) -> None:
    try:
        os.execvp(command[0], command)
    except OSError as error:
        # Not the exception's kind: a directory of PATH that may not be searched looks like a command that may not be executed.
        places = [command[0]] if "/" in command[0] else [f"{directory}/{command[0]}" for directory in os.get_exec_path()]
        found = any(os.access(place, os.F_OK) for place in places)
        sys.stderr.write(f"{command[0]}: {error.strerror if found else 'no such command'}\n")
        os._exit(NOT_EXECUTABLE if found else NOT_FOUND)


def _follow(child: int) -> int:
    """Wait for the command and pass on what other processes send to us. A terminal's signals reach the command by themselves."""
    while True:
        information = signal.sigwaitinfo({signal.SIGCHLD, *PASSED_ON})
        if information.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status
        elif information.si_code <= SI_USER:
            os.kill(child, information.si_signo)


def _end_by(number: int, mask: set[int]) -> None:
    """End as the command did: by a signal, but without a second core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.kill(os.getpid(), number)


def main(first_process: int, network: int, host_name: str, flags: str, *command: str) -> None:
    """Join, fork, execute, and end in the same way.

    Arguments:
        first_process: process number of the lab's first process, as it is seen here.
        network: that process's descriptor of the node's network namespace.
        host_name: what the command is to find as the host's name.
        flags: words, joined by commas: `user-namespace` (the lab has one), `no-capabilities` (the command shall have none).
        command: an argument vector.
    """
    directory = os.getcwd()  # noqa: PTH109 - pathlib would double the time to start
    try:
        _join(first_process, network, user_namespace="user-namespace" in flags.split(","))
    except OSError as error:
        sys.stderr.write(f"the lab can't be entered, it may have ended: {error.filename or 'system'}: {error.strerror}\n")
        os._exit(NOT_EXECUTABLE)
    _check(_libc.unshare(CLONE_NEWUTS), "unshare")
    name = host_name.encode()
    _check(_libc.sethostname(name, len(name)), "sethostname")
    os.chdir(directory)
    signals = {signal.SIGCHLD, *PASSED_ON}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    child = os.fork()
    if child == 0:
        if "no-capabilities" in flags.split(","):
            drop_capabilities()
        _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
        if os.getppid() != 0:  # A parent outside the PID namespace shows as 0; else it has ended already.
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them; what it starts must not.
            signal.signal(number, signal.SIG_DFL)
        _execute(list(command))
    if os.getpgrp() != os.getpid():
        # Out of the command's process group: a signal for the group is not ours to pass on. The command has it already.
        os.setpgid(0, 0)
    status = _follow(child)
    if os.WIFSIGNALED(status):
        _end_by(os.WTERMSIG(status), before)
    os._exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
