"""`lab up` and `lab list`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nornir_tcptraceroute.lab import load_topology
from nornir_tcptraceroute.lab.reading import shipped

if TYPE_CHECKING:
    from .conftest import LabFactory

MAIN = f"""
import argparse, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from nornir_tcptraceroute.lab import command
parser = argparse.ArgumentParser()
command.add_arguments(parser)
sys.exit(command.run(parser.parse_args()))
"""


def lab_command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", MAIN, *arguments], capture_output=True, text=True, check=False, **options)


def test_list_tells_every_shipped_lab() -> None:
    ended = lab_command("list")
    assert ended.returncode == 0
    lines = [line.split(None, 1) for line in ended.stdout.splitlines()]
    assert lines == [[name, load_topology(name).description] for name in shipped()]
    assert {"chain", "demo", "ecmp", "loop", "loss", "mtu", "nat", "ports", "ratelimit", "rewrite", "sequence", "silent"} <= set(
        shipped()
    )


@pytest.mark.parametrize(
    ("arguments", "code", "output"),
    [
        (["chain", "--", "hostname"], 0, "client\n"),
        (["chain", "hostname"], 0, "client\n"),
        (["--on", "r3", "chain", "--", "hostname"], 0, "r3\n"),
        (["chain", "--", "sh", "-c", "echo -- $0 $1; exit 3", "-n", "x"], 3, "-- -n x\n"),
        (["chain", "--", "sh", "-c", "kill -9 $$"], 137, ""),
    ],
)
def test_up_runs_a_command(lab: LabFactory, arguments: list[str], code: int, output: str) -> None:
    lab("chain")
    ended = lab_command("up", *arguments)
    assert (ended.returncode, ended.stdout) == (code, output)
    on = "r3" if "--on" in arguments else "client"
    addresses = {"client": "10.1.0.1, fd00:1::1", "r3": "10.3.0.2, fd00:3::2"}[on]
    assert (
        ended.stderr == f"lab chain: 11 routers, 2 hosts; on {on}.lab ({addresses}); target server.lab (10.12.0.2, fd00:12::2)\n"
    )


def test_up_runs_a_file(lab: LabFactory, tmp_path: Path) -> None:
    lab("chain")
    path = tmp_path / "mine.yaml"
    path.write_text("{description: Mine, vantage: here, hosts: {here: , there: }, links: [[here, there]]}\n")
    ended = lab_command("up", str(path), "--", "getent", "hosts", "10.1.0.2")
    assert ended.stdout.split() == ["10.1.0.2", "there.lab", "there"]
    assert ended.stderr == f"lab {path}: 0 routers, 2 hosts; on here.lab (10.1.0.1, fd00:1::1)\n"


def test_up_without_a_command_is_a_shell(lab: LabFactory) -> None:
    lab("chain")
    ended = lab_command("up", "chain", input="hostname; exit 5\n", env={**os.environ, "SHELL": "/bin/sh"})
    assert (ended.returncode, ended.stdout) == (5, "client\n")


def test_ctrl_c_is_the_commands(lab: LabFactory) -> None:
    lab("chain")
    program = "import signal\ntry:\n    print('ready', flush=True)\n    signal.pause()\nexcept KeyboardInterrupt:\n    exit(9)"
    command = [sys.executable, "-c", MAIN, "up", "chain", "--", sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        os.killpg(running.pid, signal.SIGINT)
        _, errors = running.communicate()
    assert running.returncode == 9, errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["nowhere"], ["nornir-tcptraceroute: 'nowhere' is neither a file nor a shipped lab (chain, demo, ecmp, "]),
        (["--on", "r99", "chain"], ["nornir-tcptraceroute: 'r99' is not a node of chain: client, server, r1, "]),
        (
            ["{bad}"],
            [
                "nornir-tcptraceroute: {bad}:2: vantage: 'nobody' is not a host",
                "nornir-tcptraceroute: {bad}:4: links.0: 'else' is neither",
            ],
        ),
    ],
)
def test_up_refuses_in_sentences(tmp_path: Path, arguments: list[str], lines: list[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("description: Bad\nvantage: nobody\nhosts: {one: }\nlinks: [[one, else]]\n")
    ended = lab_command("up", *(argument.format(bad=bad) for argument in arguments), "--", "true")
    assert (ended.returncode, ended.stdout) == (2, "")
    told = ended.stderr.splitlines()
    assert len(told) == len(lines)
    assert all(line.startswith(beginning.format(bad=bad)) for line, beginning in zip(told, lines, strict=True))
