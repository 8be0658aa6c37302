"""A crafted packet in a playbook: base64, traced from hosts that have no Scapy."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.packet import Raw

from nornir_tcptraceroute import Trace
from nornir_tcptraceroute.analysis.crafted import packet_text
from tests.ansible.controller import Controller

PACKET = IP(tos=184) / TCP(dport=443, flags="SEC", options=[("MSS", 1000)]) / Raw(b"hello")


def task(**arguments: Any) -> dict[str, Any]:
    return {"name": "Trace", "netprobe.path.tcptraceroute": {"names": "none", **arguments}, "register": "path"}


@pytest.mark.parametrize("told", [True, False], ids=["the packet tells the destination", "the task tells it"])
def test_a_host_traces_with_the_packet(controller: Controller, *, told: bool) -> None:
    address = controller.lab.truth.address("service", 4)
    packet = PACKET.copy()
    arguments = {"evidence": "all", "queries": 1}
    if told:
        packet.dst = address
    else:
        arguments["destination"] = "service"
    played = controller.play({"hosts": "alpha", "tasks": [task(packet=packet_text(packet), **arguments)]})
    assert played.status == 0, played.printed
    record = played.kept["alpha"]
    assert (record["address"], record["port"], record["port_state"]) == (address, 443, "open")
    assert record["destination"] == (address if told else "service")
    shape = {"flags": "SYN,ECE,CWR", "tcp_options": "packet", "length": len(PACKET), "tos": 184, "dont_fragment": False}
    assert record["probe"] == shape
    assert Trace.from_dict({"warnings": [], **record}).packets
    sent = [IP(base64.b64decode(one["data"])) for one in record["packets"] if one["direction"] == "sent"]
    assert {(probe[TCP].options[0], bytes(probe[Raw])) for probe in sent} == {(("MSS", 1000), b"hello")}


def test_a_bad_packet_is_one_sentence(controller: Controller) -> None:
    bad = task(packet=packet_text(PACKET)[:-4], destination="service")
    played = controller.play({"hosts": "alpha", "tasks": [{**bad, "ignore_errors": True}]})
    message = played.kept["alpha"]["msg"]
    assert "is not a whole packet: its IP header tells of 49 bytes, and it has 48" in message
    assert "Traceback" not in played.printed
