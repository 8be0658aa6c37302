"""The lab's first process: makes the namespaces, brings the network up in them, and takes it all down by ending.

Two processes. The keeper, a child of the process that wants the lab, is in the lab's user, mount and network namespace, and ends
the lab when that process ends. Its child is process 1 of the lab's PID namespace: it brings the network up and holds it; with it,
the kernel ends every process of the lab, and with the last of them the namespaces with all interfaces, routes and mounts go.

Standard input: the blueprint as one line of JSON; its end ends the lab. Standard output: lines of JSON: `refused`, or
`first_process`; then `namespaces`, or `error`.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from . import kernel

NAMESPACES = kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC
REFUSALS = {
    "kernel/unprivileged_userns_clone": ("0", "1"),
    "kernel/apparmor_restrict_unprivileged_userns": ("1", "0"),
    "user/max_user_namespaces": ("0", "10000"),
}
NAME_CACHES = ("/run/nscd/socket", "/var/run/nscd/socket")
SECONDS_FOR_LINKS = 10.0


def _how_to_get_namespaces(reason: str) -> str:
    """One sentence: why there are no user namespaces, and what to do."""
    settings = []
    for path, (refused, allowed) in REFUSALS.items():
        file = Path("/proc/sys", path)
        if file.exists() and file.read_text(encoding="ascii").strip() == refused:
            settings.append(f"sysctl -w {path.replace('/', '.', 1)}={allowed}")
    advice = (
        f"allow user namespaces with '{' and '.join(settings)}'"
        if settings
        else "allow user namespaces (in a container: its security profile)"
    )
    return f"this system refuses the namespaces that a lab is made of ({reason}): run as root, or {advice}"


def _enter_user_namespace() -> None:
    """Become root of a user namespace of one's own. user_namespaces(7)."""
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(kernel.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="ascii")


def enter_namespaces() -> bool:
    """Move this process to namespaces of its own, and its children to come to a PID namespace.

    Returns:
        Whether a user namespace was needed.

    Raises:
        OSError: the system refuses them.
    """
    if os.geteuid() == 0:
        try:
            kernel.unshare(NAMESPACES)
        except PermissionError:
            pass  # Root of a container, without the capability: a user namespace may still be allowed.
        else:
            kernel.mount("none", "/", "none", kernel.MS_REC | kernel.MS_PRIVATE)
            return False
    _enter_user_namespace()
    kernel.unshare(NAMESPACES)
    kernel.mount("none", "/", "none", kernel.MS_REC | kernel.MS_PRIVATE)
    return True


def _mount_files(files: dict[str, str]) -> None:
    """Put private files over those of the machine. They lie in memory that only the mounts hold."""
    kernel.mount("tmpfs", "/tmp", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=1m")  # noqa: S108
    for number, (path, text) in enumerate(sorted({**files, **dict.fromkeys(NAME_CACHES, "")}.items())):
        # A bind mount needs a file to cover. Where there is none, the C library has nothing to read, and nobody to ask in here.
        if Path(path).exists():
            private = Path("/tmp", str(number))  # noqa: S108
            private.write_text(text, encoding="utf-8")
            private.chmod(0o644)
            kernel.mount(str(private), str(Path(path).resolve()), "none", kernel.MS_BIND)
    kernel.unmount("/tmp")  # noqa: S108


def _mount_proc() -> None:
    """Show the lab's own processes. A container that hides parts of /proc allows no new one; the old one serves as well."""
    try:
        kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    except PermissionError:
        return


def _set_sysctls(sysctls: dict[str, str], where_present: dict[str, str]) -> None:
    root = Path("/proc/sys")
    for path, value in {**sysctls, **{path: value for path, value in where_present.items() if (root / path).exists()}}.items():
        (root / path).write_text(value, encoding="ascii")


def _build(blueprint: dict[str, Any]) -> dict[str, int]:
    """Bring the network up. Returns the descriptors of the nodes' network namespaces."""
    # Only here: the keeper does without, and importing pyroute2 takes 0.2 s.
    from . import netlink

    links = netlink.Channel()
    namespaces: dict[str, int] = {}
    channels = {}
    for name, node in blueprint["nodes"].items():
        kernel.unshare(kernel.CLONE_NEWNET)
        namespaces[name] = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _set_sysctls(node["sysctls"], node["sysctls_where_present"])
        channels[name] = netlink.Channel(groups=netlink.RTMGRP_LINK), node
        if node["rules"]:
            rules = netlink.ruleset(node["rules"])
            transaction = netlink.Channel(netlink.NETLINK_NETFILTER)
            transaction.request(((f"{name}: {what}", message) for what, message in rules), chunk=len(rules))
            transaction.close()
    links.request(
        (f"link {left['node']} - {right['node']}", netlink.veth(left, right, namespaces)) for left, right in blueprint["links"]
    )
    links.close()
    for name, (channel, node) in channels.items():
        channel.request(
            (f"{name}: interface {index}", netlink.link_up(index)) for index in (netlink.LOOPBACK_INDEX, *node["interfaces"])
        )
        channel.request((f"{name}: address {address[2]}", netlink.address(*address)) for address in node["addresses"])
        channel.request((f"{name}: neighbour {entry[2]}", netlink.neighbour(*entry)) for entry in node["neighbours"])
    for name, (channel, node) in channels.items():
        channel.request((f"{name}: route to {route[1]}/{route[2]}", netlink.route(*route)) for route in node["routes"])
        channel.wait_until_up(node["interfaces"], SECONDS_FOR_LINKS)
        channel.close()
    return namespaces


def _start_services(blueprint: dict[str, Any], namespaces: dict[str, int]) -> None:
    """One process for each host that serves, listening before this function returns."""
    from . import services

    for name, node in blueprint["nodes"].items():
        if not node["services"]:
            continue
        kernel.set_namespace(namespaces[name], kernel.CLONE_NEWNET)
        listening = services.listen({int(port): line for port, line in node["services"].items()})
        if os.fork() == 0:
            try:
                services.serve(listening)
            finally:
                os._exit(1)
        for server, _ in listening:
            server.close()


def _start_simulators(blueprint: dict[str, Any], namespaces: dict[str, int]) -> None:
    """One process for each host that plays networks, receiving before this function returns."""
    for name, node in blueprint["nodes"].items():
        if not node["simulator"]:
            continue
        # Only here: most labs have none.
        from .simulator import open_simulator

        kernel.set_namespace(namespaces[name], kernel.CLONE_NEWNET)
        simulator = open_simulator(**node["simulator"])
        if os.fork() == 0:
            try:
                simulator.run()
            except BaseException:  # noqa: BLE001 - nobody else hears of it
                traceback.print_exc()
            finally:
                os._exit(1)
        simulator.close()


def _first_process(blueprint: dict[str, Any]) -> None:
    """Bring the lab up, say so, and hold it until standard input ends."""
    try:
        _mount_proc()
        _mount_files(blueprint["files"])
        namespaces = _build(blueprint)
        _start_services(blueprint, namespaces)
        _start_simulators(blueprint, namespaces)
    except OSError as error:
        _tell({"error": f"the lab can't be brought up: {error.filename or 'system'}: {error.strerror}"})
        return
    _tell({"namespaces": namespaces})
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Orphans of the lab end up here; the kernel buries them.
    while os.read(sys.stdin.fileno(), 1 << 16):
        pass


def _tell(message: dict[str, Any]) -> None:
    os.write(sys.stdout.fileno(), json.dumps(message).encode() + b"\n")


def _read_line() -> bytes:
    """One line of standard input, without reading ahead of what a poll can see."""
    line = bytearray()
    while not line.endswith(b"\n"):
        part = os.read(sys.stdin.fileno(), 1 << 16)
        if not part:
            break
        line += part
    return bytes(line)


def _descriptor_of(process: int) -> int | None:
    """A descriptor that can be read from once a process has ended, where the kernel (5.3) and Python have that."""
    try:
        return os.pidfd_open(process)
    except (AttributeError, OSError) as error:
        if getattr(error, "errno", errno.ENOSYS) != errno.ENOSYS:
            raise
        return None


def _keep(first_process: int, alive: int, parent: int | None) -> None:
    """Wait for the end of the lab's first process, and end it when the parent ends: that shows in the parent and in our input."""
    poll = select.poll()
    for descriptor in (sys.stdin.fileno(), alive, parent):
        if descriptor is not None:
            poll.register(descriptor, select.POLLIN | select.POLLHUP)
    poll.poll()
    os.kill(first_process, signal.SIGKILL)
    os.waitpid(first_process, 0)


def main(parent: int) -> int:
    """Be the keeper of a lab.

    Arguments:
        parent: process number of the one that wants the lab.

    Returns:
        The exit code.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command that runs in the lab; the parent ends the lab.
    if os.getppid() != parent:
        return 1
    watched = _descriptor_of(parent)
    if os.getppid() != parent:
        return 1
    line = _read_line()
    if not line.endswith(b"\n"):
        return 1
    blueprint = json.loads(line)
    try:
        user_namespace = enter_namespaces()
    except OSError as error:
        _tell({"refused": _how_to_get_namespaces(f"{error.filename or 'system'}: {error.strerror}")})
        return 1
    alive, held = os.pipe()
    first_process = os.fork()
    if first_process == 0:
        kernel.die_with_parent(signal.SIGKILL)
        os.close(alive)
        try:
            # In a new PID namespace a parent outside shows as 0: while it does, the keeper is there to die before us.
            if os.getppid() == 0:
                _first_process(blueprint)
        finally:
            os._exit(0)
    os.close(held)
    _tell({"first_process": first_process, "user_namespace": user_namespace})
    _keep(first_process, alive, watched)
    return 0
