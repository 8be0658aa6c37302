"""Every packet of a trace in its record: the probes as they left, the answers as they came, and nothing else."""

from __future__ import annotations

import base64
from typing import Any, Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_tcptraceroute.probe import recording, tracer, wire
from nornir_tcptraceroute.probe.options import TraceOptions
from nornir_tcptraceroute.probe.records import Trace
from nornir_tcptraceroute.probe.wire import IcmpError, TcpReply

from . import packets
from .packets import ICMPV6, ROUTER, TCP, VANTAGE
from .virtual_network import DESTINATION, PORT, SOURCE, SOURCE_PORT, Path, Router, VirtualNetwork

COUNTED = ("sent", "matched", "late", "duplicate", "challenge_ack")


def run(path: Path, seed: int = 0, family: int = 4, **keywords: Any) -> Tuple[VirtualNetwork, Trace]:
    asked = TraceOptions(**{"destination": DESTINATION[family], "port": PORT, "evidence": "all", **keywords})
    network = VirtualNetwork(path, asked, seed, family=family)
    return network, network.run()


def chain(**keywords: Any) -> Path:
    return Path([Router(0.005 * (ttl + 1)) for ttl in range(5)], 0.03, **keywords)


def bytes_of(trace: Trace, direction: str) -> List[bytes]:
    assert trace.packets is not None
    return [base64.b64decode(packet.data) for packet in trace.packets if packet.direction == direction]


@pytest.mark.parametrize("evidence", ["none", "notable"])
def test_only_all_evidence_holds_packets(evidence: str) -> None:
    _, trace = run(chain(), evidence=evidence)
    assert trace.packets is None
    assert "packets" not in trace.to_dict()


@pytest.mark.parametrize("family", [4, 6])
def test_every_probe_is_there_as_it_left(family: int) -> None:
    network, trace = run(chain(), family=family, tcp_options="linux", length=90, tos=184, dont_fragment=True)
    flow = SOURCE[family], DESTINATION[family]
    ports = SOURCE_PORT, PORT
    built = bytes_of(trace, "sent")
    assert len(built) == len(network.fates) == trace.counters["sent"]
    for data, fate in zip(built, network.fates):
        probe = fate.probe
        start = 20 if family == 4 else 40
        segment = packets.tcp(
            *flow,
            ports,
            probe.sequence,
            options=data[start + 20 : start + 40],
            payload=data[start + 40 :],
            window=64240 if family == 4 else probe.identification,
        )
        if family == 4:
            header: Dict[str, Any] = {"ttl": probe.ttl, "tos": 184, "identification": probe.identification, "fragment": 0x4000}
            assert data == packets.ipv4(*flow, TCP, segment, **header)
        else:
            label = int.from_bytes(data[:4], "big") & 0xFFFFF
            assert data == packets.ipv6(*flow, TCP, segment, hop_limit=probe.ttl, traffic_class=184, label=label)


@pytest.mark.parametrize("family", [4, 6])
def test_every_answer_is_there_as_it_came(family: int) -> None:
    network, trace = run(chain(), family=family)
    delivered = [packet for fate in network.fates for _, packet in fate.answers]
    assert len(bytes_of(trace, "received")) == len(delivered)
    start = 0 if family == 4 else 40
    assert {data[start:] for data in bytes_of(trace, "received")} == {b"evidence"}


@given(
    seed=st.integers(0, 2**32),
    family=st.sampled_from([4, 6]),
    loss=st.sampled_from([0.0, 0.2]),
    duplicates=st.sampled_from([0.0, 0.5]),
    jitter=st.sampled_from([0.0, 0.2]),
    port=st.sampled_from(["open", "closed", "filtered"]),
    shift=st.sampled_from([0, 77]),
)
def test_the_packets_are_those_that_the_counters_count_in_the_order_of_their_times(
    seed: int,
    family: int,
    loss: float,
    duplicates: float,
    jitter: float,
    port: str,
    shift: int,
) -> None:
    path = chain(loss=loss, duplicates=duplicates, jitter=jitter, port=port, shift=shift)
    network, trace = run(path, seed, family, max_ttl=8, wait=0.3)
    assert trace.packets is not None
    times = [packet.at_ms for packet in trace.packets]
    assert times == sorted(times)
    assert len(times) == sum(trace.counters.get(name, 0) for name in COUNTED)
    assert len(bytes_of(trace, "sent")) == trace.counters["sent"] == len(network.fates)
    assert Trace.from_dict(trace.to_dict()) == trace


def test_times_count_from_the_start_of_the_record() -> None:
    network = VirtualNetwork(chain(), TraceOptions(DESTINATION[4], port=PORT, evidence="all"), 0)
    network.run()
    record: Dict[str, Any] = {"vantage": "v", "interface": None, "method": "raw", "started_at": "2026-01-01T00:00:00.000Z"}
    earlier = network.tracer.record(**record, began=network.fates[0].sent_at - 0.2501234)
    assert earlier.packets is not None
    assert earlier.packets[0].at_ms == 250.123
    at_once = network.tracer.record(**record)
    assert at_once.packets is not None
    assert at_once.packets[0].at_ms == 0


def test_a_challenge_ack_is_there_and_what_was_ignored_is_not() -> None:
    network = VirtualNetwork(Path([Router(0.001)], 0.2), TraceOptions(DESTINATION[4], port=PORT, evidence="all"), 3)
    # A blind attacker's guess at the acknowledgment number.
    forged = TcpReply(DESTINATION[4], PORT, SOURCE[4], SOURCE_PORT, 0x12, 1, 12345, 60, b"forged")
    network.forged = lambda _network, _probe: [forged]
    trace = network.run()
    assert trace.counters["ignored_wrong_acknowledgment"] == len(network.fates)
    assert trace.counters["challenge_ack"] >= 1
    answered = trace.counters["matched"] + trace.counters.get("late", 0) + trace.counters.get("duplicate", 0)
    assert len(bytes_of(trace, "received")) == answered + trace.counters["challenge_ack"]
    assert b"forged" not in bytes_of(trace, "received")


def test_what_a_record_has_no_room_for_is_left_out_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    _, whole = run(chain())
    monkeypatch.setattr(recording, "MOST_PACKETS", 7)
    monkeypatch.setattr(tracer, "MOST_PACKETS", 7)
    _, trace = run(chain())
    assert whole.packets is not None
    assert trace.packets == whole.packets[:7]
    (warning,) = (text for text in trace.warnings if text.startswith("A record holds"))
    assert warning == f"A record holds 7 packets: the last {len(whole.packets) - 7} are left out."


# Single packets.


@given(options=st.binary(max_size=40).filter(lambda data: len(data) % 4 == 0), payload=st.binary(max_size=20))
def test_the_header_checksum_covers_the_options(options: bytes, payload: bytes) -> None:
    segment = packets.tcp(SOURCE[4], DESTINATION[4], (1, 2), 3, payload=payload)
    built = packets.ipv4(SOURCE[4], DESTINATION[4], TCP, segment, options=options, check=False)
    assert wire.as_sent(built) == packets.ipv4(SOURCE[4], DESTINATION[4], TCP, segment, options=options)


def test_an_ipv6_probe_leaves_as_it_is() -> None:
    built = packets.ipv6(SOURCE[6], DESTINATION[6], TCP, packets.tcp(SOURCE[6], DESTINATION[6], (1, 2), 3))
    assert wire.as_sent(built) is built


def test_an_ipv4_answer_comes_with_its_header() -> None:
    data = packets.ipv4(DESTINATION[4], SOURCE[4], TCP, packets.tcp(DESTINATION[4], SOURCE[4], (1, 2), 3, flags=0x12))
    read = wire.read_tcp_over_ipv4(data)
    assert isinstance(read, TcpReply)
    assert wire.as_received(read, 4, SOURCE[4]) == data


def test_the_header_of_an_ipv6_answer_is_rebuilt() -> None:
    segment = packets.tcp(DESTINATION[6], SOURCE[6], (1, 2), 3, flags=0x12)
    tcp = wire.read_tcp_over_ipv6(segment, DESTINATION[6], SOURCE[6], 57)
    assert isinstance(tcp, TcpReply)
    assert wire.as_received(tcp, 6, SOURCE[6]) == packets.ipv6(DESTINATION[6], SOURCE[6], TCP, segment, hop_limit=57)
    quoted = packets.ipv6(VANTAGE[6], DESTINATION[6], TCP, packets.tcp(VANTAGE[6], DESTINATION[6], (1, 2), 3))
    message = packets.icmpv6(ROUTER[6], VANTAGE[6], 3, 0, quoted)
    error = wire.read_icmpv6(message, ROUTER[6], 250)
    assert isinstance(error, IcmpError)
    assert wire.as_received(error, 6, VANTAGE[6]) == packets.ipv6(ROUTER[6], VANTAGE[6], ICMPV6, message, hop_limit=250)


def test_a_hop_limit_that_the_kernel_did_not_tell_is_zero() -> None:
    segment = packets.tcp(DESTINATION[6], SOURCE[6], (1, 2), 3, flags=0x12)
    read = wire.read_tcp_over_ipv6(segment, DESTINATION[6], SOURCE[6], None)
    assert isinstance(read, TcpReply)
    assert wire.as_received(read, 6, SOURCE[6])[7] == 0
