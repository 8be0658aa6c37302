"""Privileges: what a process may do is told truly, and given up for good. Each case is a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence

import pytest

from nornir_tcptraceroute.probe.privileges import explain_missing, has_net_raw

ROOT = Path(__file__).parents[2]

#: Opens raw sockets, drops privileges and tells as JSON what the process can still do. Imports come first, see drop_privileges().
SCRIPT = """
import ctypes, errno, fcntl, json, os, select, socket, struct, sys, threading
from nornir_tcptraceroute.probe.errors import PrivilegeError
from nornir_tcptraceroute.probe.privileges import drop_privileges, has_net_raw

def outcome(action):
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def raw(family, protocol):
    return socket.socket(family, socket.SOCK_RAW, protocol)

def icmp_checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF

def echo(family, sock):
    # An echo request to this host: the kernel answers, if it went out and its answer comes in.
    if family == socket.AF_INET:
        body = struct.pack("!HH", os.getpid() & 0xFFFF, 7)
        sock.sendto(struct.pack("!BBH", 8, 0, icmp_checksum(b"\\x08\\x00\\x00\\x00" + body)) + body, ("127.0.0.1", 0))
        wanted, offset = 0, 20
    else:
        body = struct.pack("!HH", os.getpid() & 0xFFFF, 7)
        sock.sendto(struct.pack("!BBH", 128, 0, 0) + body, ("::1", 0))
        wanted, offset = 129, 0
    while select.select([sock], [], [], 30)[0]:
        packet = sock.recv(2048)
        if packet[offset] == wanted and packet[offset + 4:offset + 8] == body:
            return "answered"
    return "silence"

def status():
    with open("/proc/self/status") as file:
        return dict(line.rstrip("\\n").split(":\\t", 1) for line in file if ":\\t" in line)

def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", 0x49))

PRELUDE

facts = {"before": has_net_raw(), "uid": os.getuid()}
sockets = {}
if facts["before"]:
    sockets[socket.AF_INET] = raw(socket.AF_INET, socket.IPPROTO_ICMP)
    if os.path.exists("/proc/net/if_inet6"):
        sockets[socket.AF_INET6] = raw(socket.AF_INET6, socket.IPPROTO_ICMPV6)
try:
    drop_privileges()
    facts["dropped"] = "done"
except PrivilegeError as error:
    facts["dropped"] = str(error)
told = status()
facts["sets"] = [int(told[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")]
facts["bounding"] = int(told["CapBnd"], 16)
facts["no_new_privs"] = told["NoNewPrivs"]
facts["uids"] = told["Uid"].split()
facts["gids"] = told["Gid"].split()
facts["groups"] = told["Groups"].split()
facts["after"] = has_net_raw()
facts["echo"] = sorted({echo(family, sock) for family, sock in sockets.items()})
kinds = [(socket.AF_INET, socket.IPPROTO_TCP), (socket.AF_INET, socket.IPPROTO_RAW), (socket.AF_PACKET, 0x0300)]
if os.path.exists("/proc/net/if_inet6"):
    kinds.append((socket.AF_INET6, socket.IPPROTO_TCP))
facts["raw"] = sorted({outcome(lambda kind=kind: raw(*kind)) for kind in kinds})
facts["shadow"] = outcome(lambda: open("/etc/shadow").close())
facts["become root"] = outcome(lambda: os.setuid(0))
print(json.dumps(facts))
"""

ORDINARY = """
if os.getuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
"""
#: As setpriv --ambient-caps and systemd's AmbientCapabilities do: an ordinary user with one capability in every set.
ONE_CAPABILITY = """
libc = ctypes.CDLL(None, use_errno=True)
def called(result):
    assert result == 0, os.strerror(ctypes.get_errno())
called(libc.prctl(8, ctypes.c_ulong(1), 0, 0, 0))  # PR_SET_KEEPCAPS
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
called(libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)(*[1 << 13] * 3))))
called(libc.prctl(47, ctypes.c_ulong(2), ctypes.c_ulong(13), ctypes.c_ulong(0), ctypes.c_ulong(0)))  # PR_CAP_AMBIENT_RAISE
assert int(status()["CapAmb"], 16) == 1 << 13
"""
A_THREAD = """
ready = threading.Event()
threading.Thread(target=lambda: (ready.set(), threading.Event().wait()), daemon=True).start()
ready.wait()
"""
#: No capability any more, but a way back to root.
SAVED_ROOT = """
os.setresuid(65534, 65534, 0)
libc = ctypes.CDLL(None, use_errno=True)
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
assert libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)())) == 0, os.strerror(ctypes.get_errno())
"""
#: Root of a user and network namespace whose users and right to setgroups another process decides.
NAMESPACE = """
go, gone = os.pipe()
writer = os.fork()
if writer == 0:
    os.read(go, 1)
    for name, text in (("setgroups", "{setgroups}"), ("uid_map", "0 0 {users}"), ("gid_map", "0 0 {users}")):
        with open("/proc/%d/%s" % (os.getppid(), name), "w") as file:
            file.write(text)
    os._exit(0)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x50000000) == 0, os.strerror(ctypes.get_errno())  # CLONE_NEWUSER | CLONE_NEWNET
os.write(gone, b".")
assert os.waitpid(writer, 0)[1] == 0
loopback_up()
"""
NOTHING = [0, 0, 0, 0]
NOBODY = ["65534"] * 4


def real_root() -> bool:
    """Whether this is root with every capability in a user namespace that has other users."""
    with Path("/proc/self/uid_map").open() as lines:
        mapped = any(int(first) <= 65534 < int(first) + int(count) for first, _, count in map(str.split, lines))
    return os.geteuid() == 0 and mapped and has_net_raw()


needs_root = pytest.mark.skipif(not real_root(), reason="needs root, in a user namespace that has other users")


def process(prelude: str, *command: str) -> Dict[str, Any]:
    """What the script tells, run by a command that sets its privileges up."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = SCRIPT.replace("PRELUDE", prelude)
    done = subprocess.run(
        [*command, sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    facts: Dict[str, Any] = json.loads(done.stdout)
    return facts


def usable(*command: str) -> Sequence[str]:
    """The command, if it works here; else the test is skipped and says why."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    tried = subprocess.run([*command, sys.executable, "-c", ""], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(
            f"'{' '.join(command)}' does not work here: {(tried.stderr.strip() or str(tried.returncode)).splitlines()[-1]}"
        )
    return command


def of(facts: Dict[str, Any], *names: str) -> Dict[str, Any]:
    return {name: facts[name] for name in names}


#: What no process may still do once its privileges are dropped.
POWERLESS = {"dropped": "done", "sets": NOTHING, "no_new_privs": "1", "after": False, "raw": ["EPERM"]}


def powerless(facts: Dict[str, Any]) -> Dict[str, Any]:
    return of(facts, *POWERLESS)


@needs_root
def test_root_becomes_nobody_and_its_sockets_go_on() -> None:
    facts = process("os.setgroups([0, 4, 27])")
    assert facts["before"] is True
    assert powerless(facts) == POWERLESS
    assert of(facts, "uids", "gids", "groups", "bounding") == {"uids": NOBODY, "gids": NOBODY, "groups": [], "bounding": 0}
    assert facts["echo"] == ["answered"]
    assert facts["shadow"] == ("EACCES" if Path("/etc/shadow").exists() else "ENOENT")
    assert facts["become root"] == "EPERM"


@needs_root
def test_root_under_sudo_becomes_nobody_too() -> None:
    facts = process("os.environ.update(SUDO_UID='1000', SUDO_GID='1000', SUDO_USER='someone')")
    assert powerless(facts) == POWERLESS
    assert of(facts, "uids", "gids") == {"uids": NOBODY, "gids": NOBODY}


def test_an_ordinary_user_has_nothing_to_drop() -> None:
    facts = process(ORDINARY)
    assert facts["before"] is False
    assert powerless(facts) == POWERLESS
    assert facts["become root"] == "EPERM"
    assert facts["uids"] == [str(facts["uid"])] * 4


@needs_root
def test_a_user_with_one_capability_loses_it() -> None:
    facts = process(ONE_CAPABILITY)
    assert facts["before"] is True
    assert powerless(facts) == POWERLESS
    assert facts["uids"] == NOBODY
    assert facts["echo"] == ["answered"]
    assert facts["become root"] == "EPERM"


@needs_root
def test_a_user_whom_setpriv_gave_one_capability_loses_it() -> None:
    command = usable("setpriv", "--ambient-caps", "+net_raw", "--inh-caps", "+net_raw", "--reuid", "65534", "--clear-groups")
    facts = process("", *command)
    assert facts["before"] is True
    assert powerless(facts) == POWERLESS
    assert facts["echo"] == ["answered"]


def test_root_of_a_user_namespace_without_other_users_drops_capabilities_alone() -> None:
    facts = process("loopback_up()", *usable("unshare", "-Urn"))
    assert facts["before"] is True
    assert powerless(facts) == POWERLESS
    assert of(facts, "uids", "bounding", "echo") == {"uids": ["0"] * 4, "bounding": 0, "echo": ["answered"]}


@needs_root
@pytest.mark.parametrize(
    ("users", "setgroups", "uids"),
    [(1, "allow", ["0"] * 4), (65534, "allow", ["0"] * 4), (65535, "deny", ["0"] * 4), (65535, "allow", NOBODY)],
)
def test_root_of_a_user_namespace_becomes_nobody_where_there_is_one(users: int, setgroups: str, uids: List[str]) -> None:
    usable("unshare", "-Ur")
    facts = process(NAMESPACE.replace("{users}", str(users)).replace("{setgroups}", setgroups))
    assert facts["before"] is True
    assert powerless(facts) == POWERLESS
    assert of(facts, "uids", "echo") == {"uids": uids, "echo": ["answered"]}


@needs_root
def test_root_that_may_not_change_its_user_drops_capabilities_alone() -> None:
    facts = process("", *usable("setpriv", "--bounding-set", "-setuid,-setgid"))
    assert facts["before"] is True
    assert powerless(facts) == POWERLESS
    assert of(facts, "uids", "echo") == {"uids": ["0"] * 4, "echo": ["answered"]}


@needs_root
def test_a_bounding_set_that_may_not_be_emptied_is_no_privilege() -> None:
    facts = process("", *usable("setpriv", "--bounding-set", "-setpcap"))
    assert powerless(facts) == POWERLESS
    assert facts["bounding"] != 0
    assert facts["become root"] == "EPERM"


@needs_root
def test_root_without_any_capability_has_nothing_to_drop() -> None:
    facts = process("", *usable("setpriv", "--bounding-set", "-all"))
    assert facts["before"] is False
    assert powerless(facts) == POWERLESS


@needs_root
@pytest.mark.parametrize("prelude", ["os.seteuid(65534)", SAVED_ROOT], ids=["effective user", "saved user"])
def test_a_process_that_could_become_root_again_does_not_go_on(prelude: str) -> None:
    facts = process(prelude)
    assert facts["dropped"] == (
        "privileges could not be dropped (the process could become root again), so nothing was sent: start with fewer privileges"
    )


@needs_root
def test_a_thread_that_was_there_before_is_not_overlooked() -> None:
    facts = process(A_THREAD)
    assert facts["dropped"].startswith("privileges could not be dropped (thread ")
    assert "is without no_new_privs" in facts["dropped"]


def test_a_thread_that_keeps_its_capabilities_is_not_overlooked() -> None:
    facts = process("loopback_up()" + A_THREAD, *usable("unshare", "-Urn"))
    assert facts["dropped"].startswith("privileges could not be dropped (thread ")
    assert "still has capabilities" in facts["dropped"]


NO_CTYPES = "sys.modules['ctypes'] = None\n"


@needs_root
def test_without_ctypes_a_process_with_privileges_does_not_go_on() -> None:
    facts = process(NO_CTYPES)
    assert facts["dropped"].startswith("privileges can't be dropped because this Python has no working ctypes (")
    assert facts["dropped"].endswith("): use a Python with ctypes, or give this one no privilege")
    assert facts["uids"] == ["0"] * 4


def test_without_ctypes_an_ordinary_user_goes_on() -> None:
    facts = process(NO_CTYPES + ORDINARY)
    assert of(facts, "dropped", "sets", "raw") == {"dropped": "done", "sets": NOTHING, "raw": ["EPERM"]}


@needs_root
def test_dropping_twice_is_dropping_once() -> None:
    assert powerless(process("drop_privileges()")) == POWERLESS


def test_without_proc_privileges_are_unknown() -> None:
    # In namespaces of its own, /proc is covered by an empty directory.
    script = """
from nornir_tcptraceroute.probe.errors import PrivilegeError
from nornir_tcptraceroute.probe.privileges import drop_privileges, has_net_raw
for action in (has_net_raw, drop_privileges):
    try:
        action()
        print("went on")
    except PrivilegeError as error:
        print(error)
"""
    if shutil.which("mount") is None:
        pytest.skip("mount is not installed")
    command = usable("unshare", "-m" if os.geteuid() == 0 else "-Urm")
    done = subprocess.run(
        [*command, "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    sentence = "the privileges of this process are unknown (/proc/self/status: No such file or directory): mount /proc"
    assert (done.stdout.splitlines(), done.stderr) == ([sentence, sentence], "")


def test_the_capability_is_told_as_the_kernel_tells_it() -> None:
    lines: List[str] = Path("/proc/self/status").read_text().splitlines()
    effective = int(next(line for line in lines if line.startswith("CapEff:")).split()[1], 16)
    assert has_net_raw() is bool(effective >> 13 & 1)


def test_the_missing_privilege_is_explained_in_one_sentence() -> None:
    sentence = explain_missing()
    assert sentence.isascii()
    assert "\n" not in sentence
    assert f"(uid {os.geteuid()})" in sentence
    for way in ("CAP_NET_RAW", "root", "sudo", "become: true", "--cap-add=NET_RAW", "AmbientCapabilities=CAP_NET_RAW"):
        assert way in sentence
    # Both would hand the right to every script of every user.
    for danger in ("setuid", "setcap", "chmod"):
        assert danger not in sentence
