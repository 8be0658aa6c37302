"""Runs plays from the controller of the lab's fleet."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nornir_tcptraceroute.lab import Lab

ROOT = Path(__file__).resolve().parent.parent.parent
INVENTORY = ROOT / "examples" / "inventory" / "ansible.yaml"


@dataclass(frozen=True)
class Played:
    """What a run of ansible-playbook left: exit status, all that it printed, and each host's ``path`` where it was kept."""

    status: int
    printed: str
    kept: dict[str, Any]


class Controller:
    """Runs ansible-playbook on a node of a lab, by default the controller of the lab "fleet".

    Arguments:
        lab: the fleet, up.
        playbook: path of ansible-playbook.
        directory: for what the plays leave.
        node: of the lab.
        inventory: file, with a group "fleet".
    """

    def __init__(self, lab: Lab, playbook: str, directory: Path, node: str = "controller", inventory: Path = INVENTORY) -> None:
        self.lab = lab
        self.playbook = playbook
        self.directory = directory
        self.node = node
        self.inventory = inventory

    def play(self, *plays: dict[str, Any], options: tuple[str, ...] = (), **environment: str) -> Played:
        """Run plays; each keeps what it registered as ``path``, if anything."""
        book = self.directory / "book.json"
        book.write_text(json.dumps([self._play(each) for each in plays]))
        return self.run(str(book), *options, **environment)

    def _play(self, play: dict[str, Any]) -> dict[str, Any]:
        keep = {
            "name": "Keep",
            "ansible.builtin.copy": {
                "content": "{{ path | to_json }}",
                "dest": f"{self.directory}/kept-{{{{ inventory_hostname }}}}.json",
                "mode": "0600",
            },
            "delegate_to": "localhost",
            "become": False,
            "check_mode": False,
            "vars": {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"},
            "when": "path is defined",
        }
        whole = {"name": "Test", "hosts": "fleet", "gather_facts": False, "become": True, **play}
        return {**whole, "tasks": [*whole["tasks"], keep]}

    def run(self, *arguments: str, **environment: str) -> Played:
        """Run ansible-playbook with the inventory."""
        for old in self.directory.glob("kept-*"):
            old.unlink()
        # A path to a socket has at most 107 characters, which pytest's directories exceed.
        with tempfile.TemporaryDirectory(prefix="cp") as control:
            done = self.lab.run(
                self.node,
                [self.playbook, "-i", str(self.inventory), *arguments],
                env={
                    **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
                    "ANSIBLE_COLLECTIONS_PATH": os.environ.get("ANSIBLE_COLLECTIONS_PATH", str(ROOT)),
                    "ANSIBLE_HOME": str(self.directory / "home"),
                    "ANSIBLE_NOCOLOR": "1",
                    "ANSIBLE_SSH_CONTROL_PATH_DIR": control,
                    "LC_ALL": "C.UTF-8",
                    **environment,
                },
            )
        kept = {path.stem.removeprefix("kept-"): json.loads(path.read_text()) for path in self.directory.glob("kept-*.json")}
        return Played(done.returncode, done.stdout + done.stderr, kept)

    def segments_at_service(self) -> int:
        """TCP segments that have arrived at the traced service."""
        lines = self.lab.run("service", ["cat", "/proc/net/snmp"]).stdout.splitlines()
        names, values = (line.split() for line in lines if line.startswith("Tcp:"))
        return int(values[names.index("InSegs")])
