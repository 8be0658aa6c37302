"""Crafted probes and all evidence on a real path: what the record says was sent is what arrived at the destination."""

from __future__ import annotations

import base64
import json
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import IP, TCP, IPOption_NOP, IPOption_Router_Alert
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, PadN
from scapy.packet import Raw

from nornir_tcptraceroute import Trace
from nornir_tcptraceroute.analysis.crafted import crafted
from nornir_tcptraceroute.probe.wire import as_sent

if TYPE_CHECKING:
    from nornir_tcptraceroute.probe.options import TraceOptions

    from .conftest import Lab, LabFactory

ROOT = Path(__file__).resolve().parent.parent.parent
PROBE = [sys.executable, "-m", "nornir_tcptraceroute.probe"]

#: Prints each packet that this host receives as hexadecimal digits, until standard input ends.
LISTEN = """
import select, socket, sys
received = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
received.setblocking(False)
print("ready", flush=True)
while True:
    ready = select.select([received, sys.stdin], [], [])[0]
    while True:
        try:
            packet, place = received.recvfrom(65535)
        except BlockingIOError:
            break
        if place[2] == socket.PACKET_HOST:
            print(packet.hex())
    if sys.stdin in ready:
        break
"""


def trace_and_listen(lab: Lab, options: TraceOptions) -> tuple[Trace, list[bytes]]:
    """Trace from the client, and tell what of it the server received."""
    command = lab.command("server", [sys.executable, "-IS", "-c", LISTEN])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as listening:
        assert listening.stdout is not None
        assert listening.stdout.readline() == "ready\n"
        ended = lab.run("client", PROBE, stdin=None, input=json.dumps(options.to_dict()))
        heard, _ = listening.communicate("end\n")
    assert ended.returncode == 0, ended.stderr
    trace = Trace.from_dict(json.loads(ended.stdout))
    ports = struct.pack("!HH", trace.source_port, trace.port)
    packets = [bytes.fromhex(line) for line in heard.split()]
    return trace, [packet for packet in packets if packet[0] >> 4 == trace.family and ports in packet]


def arrived(packet: bytes, hops: int) -> bytes:
    """A packet as it is after so many routers."""
    at = 8 if packet[0] >> 4 == 4 else 7
    return as_sent(packet[:at] + bytes([packet[at] - hops]) + packet[at + 1 :])


TCP_OPTIONS: list[Any] = [("MSS", 1337), ("NOP", None), ("WScale", 3), ("SAckOK", b""), (253, b"\1\2\3\4"), ("EOL", None)]
SEGMENT = TCP(dport=80, flags="SEC", seq=1, ack=0x01020304, window=4321, urgptr=99, reserved=5, options=TCP_OPTIONS)
PACKETS: dict[str, Any] = {
    "IPv4": IP(tos=0xB9, flags="DF", id=7) / SEGMENT / Raw(b"GET / HTTP/1.0\r\n\r\n"),
    "IPv4 with options": IP(tos=4, options=[IPOption_NOP(), IPOption_Router_Alert()]) / SEGMENT,
    "IPv6": IPv6(tc=0xB9, fl=0xABCDE) / SEGMENT / Raw(b"GET / HTTP/1.0\r\n\r\n"),
    "IPv6 with extension headers": IPv6(fl=7)
    / IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))])
    / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])
    / SEGMENT,
    "ACK": IP() / TCP(dport=80, flags="A", ack=5),
    "IPv6 ACK": IPv6() / TCP(dport=80, flags="PA", ack=5) / Raw(b"data"),
    "no flags": IP() / TCP(dport=79, flags=0),
}


@pytest.mark.parametrize("name", PACKETS)
def test_a_crafted_packet_arrives_as_it_is_but_for_what_tells_probes_apart(lab: LabFactory, name: str) -> None:
    here = lab("chain")
    packet = PACKETS[name]
    family = packet.version
    path = here.truth.path("client", "server", family=family)
    options = crafted(packet, destination=here.truth.address("server", family), names="none", evidence="all")
    trace, received = trace_and_listen(here, options)
    assert [hop.address for hop in trace.hops] == list(path.addresses)
    assert (trace.reached, trace.stop_reason) == (True, "reached")
    syn = packet[TCP].flags == "SEC"
    assert trace.port_state == ("open" if syn else "unknown")
    assert trace.probe.tcp_options == "packet"
    # What the record says was sent is what arrived.
    assert trace.packets is not None
    sent = [base64.b64decode(one.data) for one in trace.packets if one.direction == "sent"]
    routers = len(path.addresses) - 1
    at = 8 if family == 4 else 7
    far = [arrived(one, routers) for one in sent if one[at] > routers]
    # The client's kernel knows of no connection and resets each that is offered.
    assert sorted(far) == sorted(one for one in received if not type(packet)(one)[TCP].flags & 4)
    assert len(far) >= 3
    # And that is the packet.
    for one in sent:
        probe = type(packet)(one)
        expected = packet.copy()
        expected.src, expected.dst = probe.src, probe.dst
        theirs = expected[TCP]
        theirs.sport, theirs.seq = trace.source_port, probe[TCP].seq
        if packet[TCP].flags & 0x10:
            theirs.ack = probe[TCP].ack
        if family == 4:
            expected.ttl, expected.id = probe.ttl, probe.id
        else:
            expected.hlim, theirs.window = probe.hlim, probe[TCP].window
        assert bytes(expected) == one


@pytest.mark.parametrize("family", [4, 6])
def test_all_evidence_holds_what_was_sent_and_received_with_its_times(lab: LabFactory, family: int) -> None:
    here = lab("chain")
    options = {"destination": here.truth.address("server", family), "evidence": "all", "names": "none"}
    ended = here.run("client", PROBE, stdin=None, input=json.dumps(options))
    assert ended.returncode == 0, ended.stderr
    trace = Trace.from_dict(json.loads(ended.stdout))
    assert trace.packets is not None
    by_direction = {kind: [one for one in trace.packets if one.direction == kind] for kind in ("sent", "received")}
    assert len(by_direction["sent"]) == trace.counters["sent"]
    matched = [trace.counters.get(name, 0) for name in ("matched", "late", "duplicate", "challenge_ack")]
    assert len(by_direction["received"]) == sum(matched)
    # Each reply of a hop is there as it is in the hop's evidence, behind the header that IPv6 sockets keep back.
    start = 0 if family == 4 else 40
    data = {base64.b64decode(one.data)[start:] for one in by_direction["received"]}
    evidence = {base64.b64decode(reply.evidence) for hop in trace.hops for reply in hop.replies if reply.evidence}
    assert evidence
    assert evidence <= data
    headers = {(IP if family == 4 else IPv6)(base64.b64decode(one.data)).src for one in by_direction["received"]}
    assert headers == {hop.address for hop in trace.hops}
    last = trace.packets[-1].at_ms
    assert trace.packets[0].at_ms <= last <= trace.packets[0].at_ms + trace.elapsed_ms + 1


def test_the_readme_s_example_traces_a_crafted_packet(lab: LabFactory) -> None:
    blocks = re.findall(r"^```py\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (example,) = (block for block in blocks if "crafted" in block)
    ended = lab("demo").run(lab("demo").topology.vantage, [sys.executable, "-c", example.replace("www.example.net", "server")])
    assert ended.returncode == 0, ended.stderr
    port_state, length, packets = ended.stdout.split()
    assert (port_state, length) == ("open", "45")
    assert int(packets) >= 2 * 3 * 7


ELSEWHERE: list[tuple[Any, str]] = [
    (
        IP(src="192.0.2.77", dst="10.12.0.2") / TCP(),
        "192.0.2.77 is not an address of this host: give one of its own as source, or none",
    ),
    (
        IPv6(src="2001:db8::77", dst="fd00:12::2") / TCP(),
        "2001:db8::77 is not an address of this host: give one of its own as source, or none",
    ),
    (IP(dst="224.0.0.1") / TCP(), "224.0.0.1 is never traced to: "),
    (IP(dst="255.255.255.255") / TCP(), "255.255.255.255 is never traced to: "),
    (IPv6(dst="ff02::1") / TCP(), "ff02::1 is never traced to: "),
]


@pytest.mark.parametrize(("packet", "sentence"), ELSEWHERE, ids=["source", "source6", "multicast", "broadcast", "multicast6"])
def test_a_crafted_packet_goes_from_no_other_host_and_to_no_group(lab: LabFactory, packet: Any, sentence: str) -> None:
    here = lab("chain")
    ended = here.run("client", PROBE, stdin=None, input=json.dumps(crafted(packet).to_dict()))
    assert ended.returncode == 4
    message = json.loads(ended.stdout)["error"]["message"]
    assert message.startswith(sentence)


BAD: list[tuple[str, Any, str]] = [
    ("packet", "RQ==", "packet: 'RQ==' is not a whole packet: an IPv4 header has at least 20 bytes, and it has 1\n"),
    ("packet", "no!", "packet: 'no!' is not base64 of an IPv4 or IPv6 packet with a TCP header, of at most 65535 bytes\n"),
]


@pytest.mark.parametrize(("name", "value", "sentence"), BAD)
def test_a_bad_packet_is_refused_before_anything_is_sent(lab: LabFactory, name: str, value: Any, sentence: str) -> None:
    here = lab("chain")
    before = here.run("client", ["cat", "/proc/net/dev"]).stdout
    ended = here.run("client", PROBE, stdin=None, input=json.dumps({name: value}))
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", sentence)
    assert here.run("client", ["cat", "/proc/net/dev"]).stdout == before
