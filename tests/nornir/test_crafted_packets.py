"""Scapy packets as probes of the task: from the controller, and from managed hosts, which have no Scapy."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from nornir_tcptraceroute import Trace
from nornir_tcptraceroute.analysis.crafted import packet_text
from nornir_tcptraceroute.lab import Lab
from tests.nornir.conftest import Run, managed

#: Runs the task with a Scapy packet that leaves its destination open, over two hosts.
SCRIPT = """
import json, sys
from nornir.core import Nornir
from nornir.core.inventory import Defaults, Groups, Host, Hosts, Inventory
from nornir.plugins.runners import SerialRunner
from scapy.layers.inet import IP, TCP
from scapy.packet import Raw
from nornir_tcptraceroute.plugins.tasks import tcptraceroute

hosts = Hosts({name: Host(name=name, hostname=name) for name in ("service", "core")})
nornir = Nornir(inventory=Inventory(hosts=hosts, groups=Groups(), defaults=Defaults()), runner=SerialRunner())
packet = IP(tos=184) / TCP(flags="SEC", options=[("MSS", 1000)]) / Raw(b"hello")
told = nornir.run(task=tcptraceroute, packet=packet, port=80, family=4, names="none", evidence="all")
print(json.dumps({name: several[0].result for name, several in told.items()}))
"""


def sent(trace: Trace) -> list[Any]:
    """The probes of a trace, read by Scapy."""
    assert trace.packets is not None
    data = [base64.b64decode(packet.data) for packet in trace.packets if packet.direction == "sent"]
    return [(IP if trace.family == 4 else IPv6)(each) for each in data]


def test_a_scapy_packet_is_sent_to_each_host_of_the_inventory(fleet: Lab) -> None:
    ended = fleet.run("controller", [sys.executable, "-c", SCRIPT])
    assert ended.returncode == 0, ended.stderr
    told = {name: Trace.from_dict(record) for name, record in json.loads(ended.stdout).items()}
    assert {name: trace.address for name, trace in told.items()} == {
        name: fleet.truth.address(name, 4) for name in ("service", "core")
    }
    assert told["service"].port_state == "open"
    for trace in told.values():
        probes = sent(trace)
        assert len(probes) == trace.counters["sent"] > 0
        for probe in probes:
            assert (probe.tos, probe.dst, str(probe[TCP].flags), probe[TCP].dport) == (184, trace.address, "SEC", 80)
            assert (probe[TCP].options, bytes(probe[Raw])) == ([("MSS", 1000)], b"hello")


@pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed: openssh-client")
@pytest.mark.parametrize("family", [4, 6])
def test_a_managed_host_sends_it_too(fleet: Lab, run_on_controller: Run, family: int) -> None:
    address = fleet.truth.address("service", family)
    packet = (IP(dst=address, tos=4) if family == 4 else IPv6(dst=address, tc=4, fl=7)) / TCP(dport=443, urgptr=3) / Raw(b"hi")
    hosts = {"alpha": managed("alpha", "root", "openssh", evidence="all")}
    single: Any = run_on_controller(hosts, packet=packet_text(packet))["alpha"][0]
    assert not single.failed, single.result
    trace = single.trace
    assert (trace.destination, trace.port, trace.port_state, trace.reached) == (address, 443, "open", True)
    assert (trace.probe.tcp_options, trace.probe.tos, trace.probe.length) == ("packet", 4, len(packet))
    for probe in sent(trace):
        assert (probe[TCP].urgptr, bytes(probe[Raw])) == (3, b"hi")


WRONG = [
    ({"packet": "RQ=="}, ["packet: 'RQ==' is not a whole packet"]),
    ({"packet": packet_text(IP(dst="192.0.2.1") / TCP()), "tos": 4}, ["tos: 4 contradicts the packet, which has 0"]),
    (
        {"packet": packet_text(IP(dst="192.0.2.1") / TCP()), "destination": ["192.0.2.1", "192.0.2.2"], "queries": 0},
        ["queries: 0 is not", "destination: '192.0.2.2' contradicts the packet, which has '192.0.2.1'"],
    ),
    ({"packet": packet_text(IP() / TCP()), "vantage": "host"}, ["destination: is needed with vantage 'host'"]),
]


@pytest.mark.parametrize(("call", "problems"), WRONG, ids=["bytes", "tos", "several", "host"])
def test_what_is_wrong_is_told_at_once(run_on_controller: Run, call: dict[str, Any], problems: list[str]) -> None:
    (single,) = run_on_controller({"here": {"hostname": "service"}}, **call)["here"]
    assert single.failed
    lines = single.result.splitlines()
    assert len(lines) == len(problems)
    assert all(line.startswith("here: ") and problem in line for line, problem in zip(lines, problems, strict=True)), lines
