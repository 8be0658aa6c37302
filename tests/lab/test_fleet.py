"""Managed hosts: both SSH servers, their users, and their end with the lab."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from nornir_tcptraceroute.lab import Lab, LabError, NamespaceError, TopologyError, parse_topology

if TYPE_CHECKING:
    from .conftest import LabFactory

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed: openssh-client")
SSH = ["ssh", "-F", "/var/opt/fleet/ssh_config"]
TEXT = """
description: Managed hosts with either server
vantage: client
hosts:
  client:
  auto: {managed: true}
  embedded: {managed: {server: embedded}}
  bare: {managed: {server: embedded, python: false}}
routers:
  router:
links:
  - [client, router, auto]
  - [router, embedded]
  - [router, bare]
"""
CASES: list[tuple[str, str, dict[str, Any], tuple[int, str, str]]] = [
    ("root", "hostname; echo error >&2; exit 7", {}, (7, "{host}\n", "error\n")),
    ("netops", "cat", {"stdin": None, "input": "a\nb\n"}, (0, "a\nb\n", "")),
    ("operator", "echo a; exec >&-; echo b >&2; exit 3", {}, (3, "a\n", "b\n")),
    ("guest", "grep CapEff /proc/self/status", {}, (0, "CapEff:\t0000000000000000\n", "")),
    ("netops", "kill -TERM $$", {}, (255, "", "")),
]


@pytest.mark.parametrize("host", ["auto", "embedded"])
@pytest.mark.parametrize(("user", "command", "options", "wanted"), CASES, ids=[command for _, command, _, _ in CASES])
def test_a_session_carries_what_the_command_says(
    lab: LabFactory, host: str, user: str, command: str, options: dict[str, Any], wanted: tuple[int, str, str]
) -> None:
    ended = lab(TEXT).run("client", [*SSH, f"{user}@{host}", command], timeout=60, **options)
    assert (ended.returncode, ended.stdout, ended.stderr) == (wanted[0], wanted[1].format(host=host), wanted[2])


@pytest.mark.parametrize("host", ["auto", "embedded"])
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["-o", "PubkeyAuthentication=no", "-o", "BatchMode=yes"], "Permission denied"),
        (["-l", "stranger", "-o", "BatchMode=yes"], "Permission denied"),
        (["-o", "HostKeyAlias=other"], "Host key verification failed"),
    ],
)
def test_a_login_is_refused(lab: LabFactory, host: str, options: list[str], sentence: str) -> None:
    ended = lab(TEXT).run("client", ["ssh", *options, *SSH[1:], host, "true"], timeout=60)
    assert ended.returncode == 255
    assert sentence in ended.stderr


@pytest.mark.parametrize(("host", "status"), [("auto", 0), ("embedded", 0), ("bare", 127)])
def test_a_host_has_python_unless_told_otherwise(lab: LabFactory, host: str, status: int) -> None:
    assert lab(TEXT).run("client", [*SSH, f"root@{host}", "python3 -I -c pass"], timeout=60).returncode == status


def test_the_servers_end_with_the_lab() -> None:
    lab = Lab(parse_topology(TEXT))
    try:
        lab.start()
    except NamespaceError as error:
        pytest.skip(str(error))
    session = lab.popen(
        "client", [*SSH, "root@embedded", "echo up; exec sleep 1000"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"up\n"
        lab.close()
        assert session.wait(60) != 0
    with pytest.raises(LabError, match="not up"):
        lab.command("client", ["true"])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("managed: true, services: [22]", "is its SSH server's"),
        ("managed: {server: telnet}", "server"),
        ("managed: {shell: zsh}", "is not a key that may stand here"),
        ("managed: 3", "managed"),
    ],
)
def test_what_a_managed_host_cannot_be(options: str, problem: str) -> None:
    text = f"description: x\nvantage: a\nhosts:\n  a:\n  b: {{{options}}}\nlinks:\n  - [a, b]\n"
    with pytest.raises(TopologyError, match=problem):
        parse_topology(text)
