"""Managed hosts of a lab: each runs an SSH server and has users, and the lab's nodes find keys for all of them at one place.

What a node of the lab sees below /var/opt/fleet (a file system in memory, which nothing outside the lab sees):

    id_ed25519, id_ed25519.pub    the key that every user of every managed host accepts
    known_hosts                   the host keys, by name, name.lab and address
    ssh_config                    for `ssh -F`: that key, that file, and strict checking
    <host>/                       what the embedded server needs, and the homes of its users

Users, on every managed host:

    root       key only
    netops     key or password `netops-password`; sudo asks nothing
    operator   key or password `operator-password`; sudo asks for that password
    guest      key or password `guest-password`; no sudo, no privilege

The server is OpenSSH's where it is installed and this process is root: every host then has a root file system of its own (an
overlay over the machine's, in memory) with its own users, homes and /tmp, and sudo works if the machine has it. Elsewhere, and
for hosts with `managed: {server: embedded}`, it is asyncssh: all users are then the one who brought the lab up, whom the lab
makes root of itself, and files are shared; `guest` has no capability. There is no sudo, and root needs none.

Both listen at port 22. Each host's own name is the node's, and `managed: {python: false}` gives one without python3.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import LabError
from .topology import SSH_PORT, Host

if TYPE_CHECKING:
    from .lab import Lab

HERE = Path(__file__).parent
COVERED = "/var/opt"  # The Filesystem Hierarchy Standard requires it, and nothing that a lab needs lies there.
DIRECTORY = f"{COVERED}/fleet"
# What runs inside is imported without what is around it.
START = "import json, sys; sys.path[:0] = json.loads(sys.argv[1]); from inside.{} import main; sys.exit(main())"
#: Each user with a password, and what sudo does for it.
USERS: dict[str, dict[str, str | None]] = {
    "root": {"password": None, "sudo": None},
    "netops": {"password": "netops-password", "sudo": "NOPASSWD: ALL"},
    "operator": {"password": "operator-password", "sudo": "ALL"},
    "guest": {"password": "guest-password", "sudo": None},
}


def start_fleet(lab: Lab, *, user_namespace: bool) -> Fleet | None:
    """Start the SSH servers of a lab's managed hosts, if it has any.

    Arguments, Raises: as for Fleet and its `start`.
    """
    fleet = Fleet(lab, user_namespace=user_namespace)
    if not fleet.hosts:
        return None
    try:
        fleet.start()
    except BaseException:
        fleet.close()
        raise
    return fleet


class Fleet:
    """The SSH servers of a lab's managed hosts. The lab starts and ends them.

    Arguments:
        lab: a lab that is up.
        user_namespace: whether it needed one: its root may not change users then.

    Attributes:
        hosts: what the topology says of each managed host, by name.
    """

    def __init__(self, lab: Lab, *, user_namespace: bool) -> None:
        self._lab = lab
        self.hosts = {
            name: node.managed for name, node in lab.topology.nodes.items() if isinstance(node, Host) and node.managed is not None
        }
        self._sshd = (
            None if user_namespace else shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        )
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start all servers. Each listens when this returns.

        Raises:
            LabError: one could not be started.
        """
        # asyncssh takes 0.3 s to import, which only a lab with managed hosts pays.
        import asyncssh

        keys = {name: asyncssh.generate_private_key("ssh-ed25519") for name in ("", *self.hosts)}
        private = {name: key.export_private_key().decode() for name, key in keys.items()}
        public = {name: " ".join(key.export_public_key().decode().split()[:2]) for name, key in keys.items()}
        self._place_files(private[""], public)
        started = {}
        for name, managed in self.hosts.items():
            task = {
                "directory": f"{DIRECTORY}/{name}",
                "host_key": private[name],
                "authorized_key": public[""],
                "users": USERS,
                "python": managed.python,
                "port": SSH_PORT,
                "sshd": self._sshd if managed.server == "auto" else None,
            }
            started[name] = self._start(name, task)
        for name, process in started.items():
            assert process.stdout is not None
            line = process.stdout.readline()
            told: dict[str, Any] = json.loads(line) if line else {"error": "its SSH server ended at once"}
            if "error" in told:
                message = f"the managed host {name} can't be brought up: {told['error']}"
                raise LabError(message)

    def _start(self, name: str, task: dict[str, Any]) -> subprocess.Popen[bytes]:
        if task["sshd"]:
            command = [sys.executable, "-I", "-S", "-c", START.format("managed_host"), json.dumps([str(HERE)])]
        else:
            command = [sys.executable, "-c", START.format("embedded_ssh"), json.dumps([str(HERE), *sys.path])]
        process = self._lab.popen(name, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._processes.append(process)
        assert process.stdin is not None
        with process.stdin:
            process.stdin.write(json.dumps(task).encode())
        return process

    def _place_files(self, private_key: str, public_keys: dict[str, str]) -> None:
        truth = self._lab.truth
        names = {name: [name, f"{name}.lab", *truth.addresses(name, 4), *truth.addresses(name, 6)] for name in self.hosts}
        files = {
            "id_ed25519": private_key,
            "id_ed25519.pub": f"{public_keys['']}\n",
            "known_hosts": "".join(f"{','.join(names[name])} {public_keys[name]}\n" for name in self.hosts),
            "ssh_config": f"IdentityFile {DIRECTORY}/id_ed25519\nIdentitiesOnly yes\nUserKnownHostsFile {DIRECTORY}/known_hosts\n"
            "GlobalKnownHostsFile none\nStrictHostKeyChecking yes\n",
        }
        task = json.dumps({"covered": COVERED, "directory": DIRECTORY, "files": files, "directories": list(self.hosts)})
        script = [sys.executable, "-I", "-S", "-c", START.format("place_files"), json.dumps([str(HERE)])]
        placed = self._lab.run(next(iter(self.hosts)), script, input=task)
        if placed.returncode:
            message = f"the fleet's keys can't be placed: {placed.stderr.strip()}"
            raise LabError(message)

    def close(self) -> None:
        """End the servers; the end of the lab has done so already."""
        for process in self._processes:
            process.terminate()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        self._processes.clear()
