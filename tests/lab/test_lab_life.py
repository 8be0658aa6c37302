"""A lab lives as long as its block, or its parent, and leaves nothing; what runs in it runs as it would outside."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nornir_tcptraceroute.lab import Lab, LabError, load_topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import LabFactory

SECONDS_FOR_THE_KERNEL = 20.0
LINGERING = ["sh", "-c", "sleep 1000 & echo started; exec sleep 1001"]

PARENT = f"""
import json, os, subprocess, sys, time
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from nornir_tcptraceroute.lab import Lab, load_topology
lab = Lab(load_topology("demo"))
lab.start()
lingering = lab.popen("server", {LINGERING!r}, stdout=subprocess.PIPE)
lingering.stdout.readline()
print("up", flush=True)
time.sleep(1000)
"""

REFUSED = f"""
import ctypes, os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from nornir_tcptraceroute.lab import Lab, NamespaceError, load_topology
from nornir_tcptraceroute.lab.inside import kernel
user, group, inside = os.geteuid(), os.getegid(), int(sys.argv[1])
kernel.unshare(kernel.CLONE_NEWUSER)
open("/proc/self/setgroups", "w").write("deny")
open("/proc/self/uid_map", "w").write(f"{{inside}} {{user}} 1")
open("/proc/self/gid_map", "w").write(f"{{inside}} {{group}} 1")
open("/proc/sys/user/max_user_namespaces", "w").write("0")
ctypes.CDLL(None).prctl(24, 21, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_SYS_ADMIN
try:
    Lab(load_topology("chain")).start()
except NamespaceError as error:
    print(error)
"""


def processes() -> dict[int, tuple[int, str]]:
    """Parent and start time of every process."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] != "Z":
            found[int(directory.name)] = (int(fields[1]), fields[19])
    return found


def descendants(ancestor: int) -> set[tuple[int, str]]:
    """Number and start time of every process that stems from one."""
    known, found = processes(), {ancestor}
    while True:
        further = {process for process, (parent, _) in known.items() if parent in found} - found
        if not further:
            return {(process, known[process][1]) for process in found - {ancestor}}
        found |= further


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that the kernel does in its own time."""
    end = time.monotonic() + SECONDS_FOR_THE_KERNEL
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def gone(which: set[tuple[int, str]]) -> bool:
    return not which & {(process, started) for process, (_, started) in processes().items()}


def namespaces(of: set[tuple[int, str]]) -> set[str]:
    """The network, mount and PID namespaces that processes are in, other than our own."""
    ours = {str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in ("net", "mnt", "pid")}
    found = set()
    for process, _ in of:
        found |= {str(Path(f"/proc/{process}/ns/{kind}").readlink()) for kind in ("net", "mnt", "pid")}
    return found - ours


def namespaces_of_all() -> set[str]:
    found = set()
    for process in processes():
        for kind in ("net", "mnt", "pid"):
            try:
                found.add(str(Path(f"/proc/{process}/ns/{kind}").readlink()))
            except (PermissionError, FileNotFoundError, ProcessLookupError):
                continue  # Another user's, or gone.
    return found


def machine() -> dict[str, object]:
    """What of this machine a lab could spoil."""
    named = Path("/run/netns")
    return {
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "interfaces": socket.if_nameindex(),
        "named namespaces": sorted(named.iterdir()) if named.is_dir() else None,
        "files": {
            name: Path(name).read_bytes()
            for name in ("/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf")
            if Path(name).exists()
        },
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "descriptors": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "threads": threading.active_count(),
    }


@pytest.fixture
def parent(lab: LabFactory) -> Iterator[subprocess.Popen[str]]:
    """A process that has a lab up, with a command and its background job in it."""
    lab("demo")  # Or skip.
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def test_nothing_is_left_after_sigkill_of_the_parent(parent: subprocess.Popen[str]) -> None:
    before = machine()
    left = descendants(parent.pid)
    spaces = namespaces(left)
    # Keeper, first process, a service, the command's parent, the command and its background job; mount and PID
    # namespace, the keeper's network and the server's.
    assert len(left) >= 6
    assert len(spaces) >= 4
    parent.kill()
    wait_until(lambda: gone(left))
    assert not spaces & namespaces_of_all()
    assert {**machine(), "descriptors": before["descriptors"]} == before


@pytest.mark.parametrize("seconds", [0.2, 0.3, 0.4, 0.5, 0.6])
def test_nothing_is_left_whenever_the_parent_is_killed(lab: LabFactory, seconds: float) -> None:
    """The moments are spread over the time that a lab takes to come up; which step each hits doesn't matter."""
    lab("demo")
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.DEVNULL) as process:
        time.sleep(seconds)
        left = descendants(process.pid)
        process.kill()
    wait_until(lambda: gone(left))


def test_nothing_is_left_after_sigkill_of_the_keeper(parent: subprocess.Popen[str]) -> None:
    known = processes()
    (keeper,) = [
        process
        for process, (ancestor, _) in known.items()
        if ancestor == parent.pid and b"inside.init" in Path(f"/proc/{process}/cmdline").read_bytes()
    ]
    below = {entry for entry in descendants(parent.pid) if entry[0] != keeper}
    os.kill(keeper, signal.SIGKILL)
    # The parent of the command is the parent's child, and becomes a zombie until the parent looks.
    wait_until(lambda: gone(below))


def test_nothing_is_left_after_close(lab: LabFactory) -> None:
    lab("demo")
    before = machine()
    with Lab(load_topology("demo")) as network:
        running = network.popen("server", LINGERING, stdout=subprocess.PIPE)
        assert running.stdout is not None
        running.stdout.readline()
        during = machine()
        left = {entry for entry in descendants(os.getpid()) if entry[0] in below(network)}
    assert len(left) >= 3
    assert gone(left)
    assert running.wait(SECONDS_FOR_THE_KERNEL) == -signal.SIGKILL
    running.stdout.close()
    assert machine() == before
    assert {key: during[key] for key in ("mounts", "interfaces", "files", "forwarding", "named namespaces")} == {
        key: before[key] for key in ("mounts", "interfaces", "files", "forwarding", "named namespaces")
    }


def below(network: Lab) -> set[int]:
    assert network._keeper is not None
    return {network._keeper.pid} | {process for process, _ in descendants(network._keeper.pid)}


def test_a_killed_command_takes_nothing_with_it_and_leaves_nothing(lab: LabFactory) -> None:
    network = lab("chain")
    running = network.popen(
        "client", [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(1000)"], stdout=subprocess.PIPE
    )
    assert running.stdout is not None
    running.stdout.readline()
    left = descendants(running.pid)
    assert len(left) == 1
    running.kill()
    assert running.wait() == -signal.SIGKILL
    running.stdout.close()
    wait_until(lambda: gone(left))
    assert network.run("client", ["true"]).returncode == 0


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -TERM $$"], -signal.SIGTERM),
        (["no-such-command-anywhere"], 127),
        (["/etc/hosts"], 126),
    ],
)
def test_exit_codes_are_the_commands(lab: LabFactory, argv: list[str], code: int) -> None:
    assert lab("chain").run("client", argv).returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_command(lab: LabFactory, number: signal.Signals) -> None:
    program = f"import signal, sys; signal.signal({number}, lambda *_: sys.exit(42)); print('ready', flush=True); signal.pause()"
    running = lab("chain").popen("client", [sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert running.stdout is not None
    running.stdout.readline()
    running.send_signal(number)
    assert running.wait() == 42
    running.stdout.close()


def test_commands_have_the_signals_that_they_have_outside(lab: LabFactory) -> None:
    network = lab("chain")
    inside = network.run("client", ["cat", "/proc/self/status"]).stdout
    # By its path, as the lab's commands are started: Python 3.13 starts others in another way, with other signals.
    outside = subprocess.run([shutil.which("cat") or "", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    # SigQ counts signals that are queued for all processes of the user.
    blocked_ignored_caught = ("SigBlk", "SigIgn", "SigCgt")
    assert [line for line in inside.splitlines() if line.startswith(blocked_ignored_caught)] == [
        line for line in outside.splitlines() if line.startswith(blocked_ignored_caught)
    ]


def test_a_command_that_comes_too_late_says_so(lab: LabFactory) -> None:
    lab("chain")
    with Lab(load_topology("chain")) as network:
        argv = network.command("client", ["true"])
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ended.returncode == 126
    assert re.fullmatch(
        r"the lab can't be entered, it may have ended: /proc/\d+/ns/(user|mnt): No such file or directory\n", ended.stderr
    )


def test_input_directory_and_environment_are_passed_on(lab: LabFactory, tmp_path: Path) -> None:
    program = "import os, sys; print(sys.stdin.read(), os.getcwd(), os.environ['SOMETHING'])"
    options: dict[str, Any] = {"input": "typed", "cwd": tmp_path, "env": {**os.environ, "SOMETHING": "set"}}
    assert lab("chain").run("client", [sys.executable, "-c", program], **options).stdout == f"typed {tmp_path} set\n"


RIGHTS = """
import socket
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print({int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0})
try:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    print("raw")
except PermissionError:
    print("refused")
"""


@pytest.mark.parametrize(("capabilities", "told"), [(True, ["False", "raw"]), (False, ["True", "refused"])])
def test_capabilities(lab: LabFactory, *, capabilities: bool, told: list[str]) -> None:
    ended = lab("chain").run("client", [sys.executable, "-c", RIGHTS], capabilities=capabilities)
    assert ended.stdout.split() == told, ended.stderr


def test_a_lab_outlives_the_thread_that_started_it(lab: LabFactory) -> None:
    lab("chain")
    network = Lab(load_topology("chain"))
    starter = threading.Thread(target=network.start)
    starter.start()
    starter.join()
    try:
        assert network.run("client", ["true"]).returncode == 0
    finally:
        network.close()


def test_labs_beside_each_other_do_not_mix(lab: LabFactory) -> None:
    lab("chain")
    with Lab(load_topology("chain")) as first, Lab(load_topology("ports")) as second:
        program = [sys.executable, "-c", "import socket; print([name for _, name in socket.if_nameindex()])"]
        assert first.run("r1", program).stdout == "['lo', 'client', 'r2']\n"
        assert second.run("r1", program).stdout == "['lo', 'client', 'firewall']\n"
        assert first.run("r9", ["true"]).returncode == 0
        with pytest.raises(LabError, match="'r9' is not a node of this lab"):
            second.run("r9", ["true"])


def test_a_lab_can_be_started_again(lab: LabFactory) -> None:
    lab("chain")
    network = Lab(load_topology("chain"))
    for _ in range(2):
        with network:
            with pytest.raises(LabError, match="up already"):
                network.start()
            assert network.run("server", ["true"]).returncode == 0
        with pytest.raises(LabError, match="not up"):
            network.run("server", ["true"])
    network.close()


@pytest.mark.parametrize("user", [0, 1000])
def test_refused_namespaces_are_one_sentence(lab: LabFactory, user: int) -> None:
    lab("chain")
    ended = subprocess.run([sys.executable, "-c", REFUSED, str(user)], capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    (sentence,) = ended.stdout.splitlines()
    assert sentence.startswith("this system refuses the namespaces that a lab is made of (")
    assert sentence.endswith("run as root, or allow user namespaces with 'sysctl -w user.max_user_namespaces=10000'")


def test_a_network_that_the_kernel_refuses_is_one_sentence(lab: LabFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    lab("chain")
    network = Lab(load_topology("chain"))
    node = network.plan.nodes["r1"]
    monkeypatch.setattr(node, "routes", [*node.routes, node.routes[-1]])
    before = machine()
    with pytest.raises(LabError, match=r"^the lab can't be brought up: r1: route to \S+: File exists$"):
        network.start()
    assert machine() == before


def test_a_module_of_the_user_that_is_called_inside_is_not_the_labs(tmp_path: Path) -> None:
    (tmp_path / "inside.py").write_text("raise SystemExit('the wrong one')\n")
    script = "import sys; from nornir_tcptraceroute.lab import Lab, load_topology\nwith Lab(load_topology('chain')): print('up')"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    if "namespaces" in ended.stderr:
        pytest.skip(ended.stderr.splitlines()[-1])
    assert (ended.stdout, ended.stderr) == ("up\n", "")
