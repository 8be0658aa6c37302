"""The tracer in virtual time: one table of paths with exact expectations, and properties over random networks."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nornir_tcptraceroute.probe.options import TraceOptions
from nornir_tcptraceroute.probe.records import Reply, Trace
from nornir_tcptraceroute.probe.wire import IcmpError, Quote, TcpReply

from .virtual_network import (
    ACK,
    DESTINATION,
    PORT,
    RST,
    SOURCE,
    SOURCE_PORT,
    SYN,
    Fate,
    Path,
    Router,
    VirtualNetwork,
    router_address,
)


def chain(length: int = 11, step: float = 0.005, **keywords: Any) -> Path:
    """Routers whose round trips grow by the same step, and a destination behind them."""
    return Path([Router(step * (ttl + 1)) for ttl in range(length)], step * (length + 1), **keywords)


def options(**keywords: Any) -> TraceOptions:
    """A request for the virtual destination."""
    return TraceOptions(**{"destination": DESTINATION[4], "port": PORT, **keywords})


def run(path: Path, seed: int = 0, family: int = 4, **keywords: Any) -> Tuple[VirtualNetwork, Trace]:
    """Trace a path once."""
    network = VirtualNetwork(path, options(destination=DESTINATION[family], **keywords), seed, family=family)
    return network, network.run()


def kinds(trace: Trace) -> List[str]:
    """The kind of the first reply of each hop."""
    return [hop.replies[0].kind for hop in trace.hops]


def known_after(network: VirtualNetwork, last_ttl: int) -> float:
    """Seconds from the first probe until each hop up to a TTL had answered once."""
    first: Dict[int, float] = {}
    for fate in network.fates:
        for when, _ in fate.answers:
            first[fate.probe.ttl] = min(first.get(fate.probe.ttl, when), when)
    return max(first[ttl] for ttl in range(1, last_ttl + 1)) - network.fates[0].sent_at


@pytest.mark.parametrize("family", [4, 6])
def test_a_clean_path_is_known_in_one_and_a_half_round_trips_and_measured_in_four(family: int) -> None:
    network, trace = run(chain(), family=family)
    rtt = 0.060
    assert (trace.stop_reason, trace.reached, trace.port_state, len(trace.hops)) == ("reached", True, "open", 12)
    assert [hop.address for hop in trace.hops] == [router_address(family, ttl) for ttl in range(1, 12)] + [DESTINATION[family]]
    assert all(reply.kind in ("time_exceeded", "tcp") for hop in trace.hops for reply in hop.replies)
    assert all(len(hop.replies) == 3 for hop in trace.hops)
    assert known_after(network, 12) <= 1.6 * rtt
    assert trace.elapsed_ms <= 4000 * rtt
    assert len(network.fates) <= 36 + 12


# Each row: what is special, the path, the options, and what the record must say.
ROWS: List[Tuple[str, Path, Dict[str, Any], Dict[str, Any]]] = [
    ("closed port", chain(port="closed"), {}, {"stop_reason": "reached", "port_state": "closed", "hops": 12}),
    ("destination next to the vantage", chain(0), {}, {"stop_reason": "reached", "port_state": "open", "hops": 1}),
    ("one query", chain(), {"queries": 1}, {"stop_reason": "reached", "hops": 12, "most_sent": 20}),
    (
        "silent beyond 8",
        chain(8, port="filtered"),
        {},
        {"stop_reason": "max_ttl", "port_state": "filtered", "hops": 30, "most_ms": 2300},
    ),
    (
        "gap limit",
        chain(8, port="filtered"),
        {"gap_limit": 5},
        {"stop_reason": "gap_limit", "port_state": "filtered", "hops": 13},
    ),
    ("max_ttl too small", chain(), {"max_ttl": 5}, {"stop_reason": "max_ttl", "port_state": "unknown", "hops": 5}),
    ("first_ttl", chain(), {"first_ttl": 10}, {"stop_reason": "reached", "hops": 3}),
    ("first_ttl beyond the destination", chain(4), {"first_ttl": 20}, {"stop_reason": "reached", "hops": 1}),
    ("admin prohibited", chain(unreachable=(7, 3, 13)), {}, {"stop_reason": "unreachable", "port_state": "filtered", "hops": 7}),
    (
        "host unreachable",
        chain(unreachable=(7, 3, 1)),
        {},
        {"stop_reason": "unreachable", "port_state": "unreachable", "hops": 7},
    ),
    ("one at a time", chain(), {"parallel": 1}, {"stop_reason": "reached", "port_state": "open", "hops": 12, "most_sent": 36}),
    ("one at a time, filtered", chain(3, port="filtered"), {"parallel": 1, "max_ttl": 6}, {"stop_reason": "max_ttl", "hops": 6}),
    (
        "deadline",
        chain(8, port="filtered"),
        {"deadline": 0.5},
        {"stop_reason": "deadline", "port_state": "unknown", "most_ms": 500},
    ),
    ("full quotes", chain(quote=20), {}, {"stop_reason": "reached", "port_state": "open", "hops": 12}),
    ("ACK probes", chain(port="closed"), {"flags": "ACK"}, {"stop_reason": "reached", "port_state": "unknown", "hops": 12}),
    ("satellite", Path([Router(0.001), *[Router(0.6)] * 8], 0.65), {}, {"stop_reason": "reached", "hops": 10, "most_ms": 3000}),
]


@pytest.mark.parametrize(("path", "asked", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_the_record_says_what_the_path_is(path: Path, asked: Dict[str, Any], expected: Dict[str, Any]) -> None:
    network, trace = run(path, **asked)
    assert trace.stop_reason == expected["stop_reason"]
    assert trace.port_state == expected.get("port_state", trace.port_state)
    assert len(trace.hops) == expected.get("hops", len(trace.hops))
    assert len(network.fates) <= expected.get("most_sent", 200)
    assert trace.elapsed_ms <= expected.get("most_ms", 10_000)


def test_a_trace_ends_with_the_last_answer_that_it_needs() -> None:
    network, trace = run(chain(), queries=1)
    # Four windows' steps of 5 ms until the destination is asked, and its round trip; what was asked beyond it is not waited for.
    assert max(fate.probe.ttl for fate in network.fates) > len(trace.hops)
    assert trace.elapsed_ms <= 4 * 5 + 60 + 5


def test_three_silent_hops_cost_one_adaptive_wait_for_all() -> None:
    clean_network, clean = run(chain())
    path = chain()
    for router in path.routers[4:7]:
        router.silent = True
    network, trace = run(path)
    assert [hop.ttl for hop in trace.hops if hop.address is None] == [5, 6, 7]
    assert {hop.silence for hop in trace.hops} == {None, "silent"}
    assert trace.elapsed_ms - clean.elapsed_ms <= 130
    assert len(network.fates) <= len(clean_network.fates)


def test_routers_that_answer_ten_times_a_second_still_answer_every_query() -> None:
    path = chain()
    for router in path.routers:
        router.rate = 10
    _, trace = run(path)
    assert all(hop.loss == 0 for hop in trace.hops)
    assert {hop.silence for hop in trace.hops[:-1]} == {"rate_limited"}
    assert trace.elapsed_ms <= 800


@pytest.mark.parametrize("tokens", [0.0, 0.5, 0.9])
def test_routers_whose_limit_was_spent_on_others_answer_every_query(tokens: float) -> None:
    # Round trips far shorter than the limit: all first probes of a hop come within 20 ms, and one at most is answered.
    _, trace = run(Path([Router(0.0002 * ttl, rate=10, tokens=tokens) for ttl in range(1, 12)], rtt=0.0025))
    answered = [hop for hop in trace.hops[:-1] if hop.address]
    assert answered
    assert all(hop.loss == 0 for hop in answered)


def test_a_silent_hop_before_the_destination_is_asked_again_before_the_distance_is_believed() -> None:
    path = chain()
    path.routers[-1].silent = True
    network, trace = run(path, queries=1)
    assert len(trace.hops) == 12
    assert sum(fate.probe.ttl == 11 for fate in network.fates) >= 3


def test_a_lost_first_probe_does_not_shift_the_distance() -> None:
    network = VirtualNetwork(chain(), options(queries=1))
    send = network._travel
    lost: List[int] = []

    def lose_the_first(fate: Any) -> None:
        if fate.probe.ttl == 12 and not lost:
            lost.append(12)
            return
        send(fate)

    network._travel = lose_the_first  # type: ignore[method-assign]
    trace = network.run()
    assert (len(trace.hops), trace.hops[-1].address, trace.hops[-1].loss) == (12, DESTINATION[4], 0)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("shift_from", "queries"), [(1, 3), (4, 3), (11, 3), (11, 1)])
def test_behind_a_firewall_that_shifts_sequence_numbers_the_path_is_whole(shift_from: int, queries: int, family: int) -> None:
    # IPv6 has no identification: the window stands for it, which every router quotes (RFC 4443 section 2.4).
    _, trace = run(chain(shift=0x80000000, shift_from=shift_from, quote=8 if family == 4 else 20), family=family, queries=queries)
    assert [hop.address for hop in trace.hops[:-1]] == [router_address(family, ttl) for ttl in range(1, 12)]
    for hop in trace.hops[:-1]:
        assert {reply.altered for reply in hop.replies} == {("sequence",) if hop.ttl >= shift_from else ()}
    assert trace.port_state == "open"


def test_behind_a_translation_the_path_is_whole_and_says_so() -> None:
    _, trace = run(chain(translated=6))
    assert len(trace.hops) == 12
    assert [hop.replies[0].altered for hop in trace.hops[:-1]] == [()] * 5 + [("address", "port")] * 6
    assert trace.hops[5].replies[0].quoted is not None
    assert trace.hops[5].replies[0].quoted.address == "203.0.113.77"


def forgery(network: VirtualNetwork, kind: str, ttl: int) -> Any:
    """A reply by one who knows the flow but neither sequence nor identification of a probe."""
    guess = network.random
    sequence, identification = guess.getrandbits(32), guess.getrandbits(16)
    segment = network.builder.segment(sequence, 0, identification)[:8]
    flow: Dict[str, Any] = {"source": SOURCE[4], "source_port": SOURCE_PORT, "address": DESTINATION[4], "port": PORT}
    wrong = {"source": "192.0.2.99", "source_port": 1, "address": "203.0.113.1", "port": 1}
    if kind in wrong:
        flow[kind] = wrong[kind]
    if kind in ("syn_ack", "rst", "ack", "rst_without_ack"):
        flags = {"syn_ack": SYN | ACK, "rst": RST | ACK, "ack": ACK, "rst_without_ack": RST}[kind]
        return TcpReply(DESTINATION[4], PORT, SOURCE[4], SOURCE_PORT, flags, sequence, sequence, 64, b"")
    quote = Quote(**flow, sequence=sequence, ttl=ttl, tos=0, identification=identification, segment=segment)
    icmp = {"unreachable": ("unreachable", 3, 13)}.get(kind, ("time_exceeded", 11, 0))
    return IcmpError(icmp[0], "203.0.113.66", icmp[1], icmp[2], 64, None, quote, b"")


FORGERIES = ("sequence", "source", "source_port", "address", "port", "unreachable", "syn_ack", "rst", "ack", "rst_without_ack")


@pytest.mark.parametrize("kind", FORGERIES)
def test_ten_thousand_forged_replies_change_no_hop(kind: str) -> None:
    _, honest = run(chain(), seed=7)
    network = VirtualNetwork(chain(), options(), seed=7)
    # What was sent so far tells how many more to forge, so that 10,000 arrive while probes are out.
    network.forged = lambda net, probe: [forgery(net, kind, probe.ttl) for _ in range(300)]
    trace = network.run()
    forged = 300 * len(network.fates)
    assert forged >= 10_000
    assert sum(count for name, count in trace.counters.items() if name.startswith("ignored_")) == forged
    assert [(hop.address, hop.addresses, len(hop.replies), hop.loss) for hop in trace.hops] == [
        (hop.address, hop.addresses, len(hop.replies), hop.loss) for hop in honest.hops
    ]
    assert (trace.port_state, trace.stop_reason) == (honest.port_state, honest.stop_reason)


def test_a_rst_that_follows_a_syn_ack_of_the_flow_does_not_close_the_port() -> None:
    network = VirtualNetwork(chain(3), options())
    arrive = network._arrive

    def answer_and_reset(fate: Any) -> None:
        arrive(fate)
        if fate.probe.ttl > 4:
            network._tcp(fate, RST | ACK, fate.probe.sequence + 1)

    network._arrive = answer_and_reset  # type: ignore[method-assign]
    assert network.run().port_state == "open"


def test_time_exceeded_from_the_destination_itself_does_not_end_a_trace() -> None:
    path = chain(5)
    network = VirtualNetwork(path, options())
    icmp = network._icmp

    def as_the_destination(fate: Any, ttl: int, kind: int, code: int, rtt: float) -> None:
        icmp(fate, ttl, kind, code, rtt)

    deliver = network._deliver

    def renamed(fate: Any, packet: Any, delay: float) -> None:
        if isinstance(packet, IcmpError) and fate.probe.ttl == 3:
            packet = packet._replace(address=DESTINATION[4])
        deliver(fate, packet, delay)

    network._icmp, network._deliver = as_the_destination, renamed  # type: ignore[method-assign]
    trace = network.run()
    assert (len(trace.hops), trace.stop_reason, trace.hops[2].address) == (6, "reached", DESTINATION[4])


@pytest.mark.parametrize(("at", "most_hops"), [(0.0, 0), (0.012, 3), (0.3, 8)])
def test_an_interrupted_trace_keeps_what_is_known(at: float, most_hops: int) -> None:
    network = VirtualNetwork(chain(8, port="filtered"), options())
    trace = network.run(interrupt_at=at)
    assert trace.stop_reason == "interrupted"
    assert len(trace.hops) <= most_hops
    assert [hop.address for hop in trace.hops] == [router_address(4, ttl) for ttl in range(1, len(trace.hops) + 1)]


def test_three_send_errors_in_a_row_end_the_trace_and_are_not_called_loss() -> None:
    _, trace = run(chain(send_errors=1.0))
    assert trace.stop_reason == "error"
    assert {reply.kind for hop in trace.hops for reply in hop.replies} == {"send_error"}
    assert {reply.error for hop in trace.hops for reply in hop.replies} == {"ENOBUFS"}
    assert all(hop.loss is None for hop in trace.hops)


@pytest.mark.parametrize("asked", [{}, {"parallel": 1, "wait": 0.2, "max_ttl": 12}])
def test_hops_are_told_in_order_once_and_as_the_record_has_them(asked: Dict[str, Any]) -> None:
    for path in (chain(), chain(8, port="filtered"), chain(unreachable=(7, 3, 13)), chain(loss=0.2)):
        network = VirtualNetwork(path, options(**asked), watched=True)
        trace = network.run()
        told = [event.hop for event in network.events if event.kind == "hop"]
        assert [hop.ttl for hop in told if hop] == [hop.ttl for hop in trace.hops]
        assert [hop.address for hop in told if hop] == [hop.address for hop in trace.hops]


ROUTERS = st.builds(
    Router,
    rtt=st.floats(0.0001, 0.3),
    silent=st.sampled_from([False, False, False, True]),
    rate=st.sampled_from([None, None, None, 10.0, 1.0]),
    branches=st.sampled_from([1, 1, 1, 3]),
)


@st.composite
def paths(draw: st.DrawFn) -> Path:
    """Random networks: any mixture of what a path can do."""
    routers = draw(st.lists(ROUTERS, max_size=14))
    unreachable = draw(st.sampled_from([None, None, None, (3, 13), (3, 1), (3, 3)]))
    return Path(
        routers,
        rtt=draw(st.floats(0.0001, 0.3)),
        port=draw(st.sampled_from(["open", "open", "closed", "filtered"])),
        unreachable=None if unreachable is None else (draw(st.integers(2, 14)), *unreachable),
        loss=draw(st.sampled_from([0.0, 0.0, 0.05, 0.2, 0.5])),
        duplicates=draw(st.sampled_from([0.0, 0.0, 0.3])),
        jitter=draw(st.sampled_from([0.0, 0.0, 0.01, 0.5])),
        shift=draw(st.sampled_from([0, 0, 12345, 0x80000000])),
        shift_from=draw(st.integers(1, 14)),
        translated=draw(st.sampled_from([0, 0, 3])),
        quote=draw(st.sampled_from([8, 20])),
        send_errors=draw(st.sampled_from([0.0, 0.0, 0.0, 0.2])),
    )


ASKED = st.fixed_dictionaries(
    {},
    optional={
        "queries": st.integers(1, 5),
        "parallel": st.sampled_from([1, 2, 8, 30]),
        "first_ttl": st.integers(1, 6),
        "max_ttl": st.integers(6, 30),
        "wait": st.sampled_from([0.1, 1.0, 3.0]),
        "deadline": st.sampled_from([0.2, 1.0, 5.0]),
        "gap_limit": st.integers(0, 6),
        "flags": st.sampled_from(["SYN", "ACK", "SYN,ECE,CWR"]),
        "evidence": st.sampled_from(["none", "notable", "all"]),
    },
)


Fates = Dict[Tuple[int, int], List[Fate]]


def check_reply(reply: Reply, asked_here: List[Fate], path: Path) -> None:
    """What is told of a query was measured, by a probe of this very query; what is called silent had no answer to believe."""
    delivered = [(1000 * (when - fate.sent_at), packet) for fate in asked_here for when, packet in fate.answers]
    if reply.kind == "send_error":
        assert not asked_here
    elif reply.kind == "timeout":
        # The only answer with that shifted number is not believed, and a challenge ACK answers another probe.
        assert not delivered or path.shift or all(isinstance(packet, TcpReply) for _, packet in delivered)
    elif reply.tcp_flags == "ACK":
        # It acknowledges this probe, and was sent for another: there is no time.
        assert (reply.address, reply.rtt_ms) == (DESTINATION[4], None)
    else:
        assert reply.attempts == len(asked_here)
        times = [rtt for rtt, packet in delivered if packet.address == reply.address]
        assert times
        # (A late SYN/ACK may be a retransmission.)
        untimed = reply.kind == "tcp" and reply.late and reply.rtt_ms is None
        assert untimed or min(abs(reply.rtt_ms - rtt) for rtt in times if reply.rtt_ms is not None) < 0.002


def check_distance(trace: Trace, network: VirtualNetwork) -> None:
    """The distance is never too small, and too large only where nothing came back from nearer, however often it was asked."""
    path, request = network.path, network.tracer.options
    last = trace.hops[-1].ttl
    assert last >= max(path.distance, request.first_ttl)
    nearer = [fate for fate in network.fates if path.distance <= fate.probe.ttl < last]
    # (A challenge ACK names the probe that came first, not the one that it answers.)
    told = [packet for fate in nearer for _, packet in fate.answers]
    assert all(isinstance(packet, TcpReply) and packet.flags == ACK for packet in told)
    if last - 1 >= max(path.distance, request.first_ttl):
        assert sum(fate.probe.ttl == last - 1 for fate in nearer) >= max(request.queries, 3)


def check_port(trace: Trace, path: Path) -> None:
    """The port's state and the end are the path's."""
    assert trace.port_state != "open" or path.port == "open"
    assert trace.port_state != "closed" or path.port == "closed"
    assert not trace.reached or path.port in ("open", "closed")


@settings(max_examples=400, deadline=None)
@given(path=paths(), asked=ASKED, seed=st.integers(0, 2**16))
def test_for_every_network_the_record_says_what_really_happened(path: Path, asked: Dict[str, Any], seed: int) -> None:
    network, trace = run(path, seed, **asked)
    request = options(**asked)
    assert Trace.from_dict(trace.to_dict()) == trace
    # Nothing hangs: the wall time stays within the deadline, or within what the waits add up to.
    rounds = (request.queries + 10) * (30 if request.parallel == 1 else 2)
    assert trace.elapsed_ms / 1000 <= (request.deadline or rounds * (request.wait + 1)) + 1e-6
    assert trace.counters.get("sent", 0) == len(network.fates)
    assert [hop.ttl for hop in trace.hops] == list(range(request.first_ttl, request.first_ttl + len(trace.hops)))
    fates: Fates = {}
    for fate in network.fates:
        fates.setdefault((fate.probe.ttl, fate.probe.query), []).append(fate)
    for hop in trace.hops:
        firsts = [reply for reply in hop.replies if not reply.duplicate]
        assert [reply.query for reply in firsts] == list(range(1, len(firsts) + 1))
        for reply in firsts:
            check_reply(reply, fates.get((hop.ttl, reply.query), []), path)
        if trace.stop_reason in ("reached", "unreachable", "max_ttl", "gap_limit"):
            assert len(firsts) == request.queries
    check_port(trace, path)
    if trace.stop_reason == "reached":
        check_distance(trace, network)
        prompt = all(router.rtt < 0.24 for router in path.routers) and request.wait > 0.3
        if prompt and not any((path.loss, path.jitter, path.send_errors, path.shift)):
            silent = {ttl for ttl, router in enumerate(path.routers, 1) if router.silent}
            assert {hop.ttl for hop in trace.hops if hop.address is None} == {hop.ttl for hop in trace.hops} & silent
