"""Where a port is blocked: every verdict from traces in virtual time, and no verdict of a block where there is none."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP

from nornir_tcptraceroute import Hop, OptionError, ProbeError, Reply, Trace, TraceOptions
from nornir_tcptraceroute.analysis.blocking import (
    REASONS,
    VERDICTS,
    Block,
    doubtful,
    goes_further,
    incomparable,
    locate_block,
    locate_block_in_records,
)
from nornir_tcptraceroute.analysis.tcp_answers import open_answer
from nornir_tcptraceroute.measurements import measure_block
from tests.strategies import EXAMPLE, replies, traces
from tests.unit.virtual_network import DESTINATION, Path, Router, VirtualNetwork, router_address

BLOCKED, WORKING = 5432, 443
TIMES = [0.001 * (ttl + 1) for ttl in range(12)]


def path_of(count: int, silent: Sequence[int] = (), **end: Any) -> Path:
    """A path of so many routers; those at some TTLs are silent."""
    routers = [Router(TIMES[ttl - 1], silent=ttl in silent) for ttl in range(1, count + 1)]
    return Path(routers, TIMES[count - 1] + 0.001 if count else 0.001, **end)


def dropped_behind(path: Path, last: int) -> Path:
    """The same path for a port that the router at a TTL drops as it forwards."""
    routers = [replace(router, silent=router.silent or ttl > last) for ttl, router in enumerate(path.routers, 1)]
    return replace(path, routers=routers, port="filtered")


def answered_behind(path: Path, last: int, port: str) -> Path:
    """The same path for a port that the router at a TTL answers in the destination's name."""
    return replace(path, routers=path.routers[:last], rtt=path.routers[last - 1].rtt if last else 0.001, port=port)


def take(path: Path, port: int, seed: int = 0, *, family: int = 4, longer: int = 0, **options: Any) -> Trace:
    """Trace a path in virtual time. Answers come with the TTLs that systems beginning with 64 give them, less `longer`."""
    asked = TraceOptions(destination=DESTINATION[family], port=443, **{"max_ttl": 16, "wait": 0.5, **options})
    traced = VirtualNetwork(path, asked, seed, family=family).run()
    hops = tuple(
        replace(hop, replies=tuple(arrived(reply, 64 - (hop.ttl - 1) - longer * (reply.kind == "tcp")) for reply in hop.replies))
        for hop in traced.hops
    )
    return replace(traced, port=port, hops=hops)


def arrived(reply: Reply, ttl: int) -> Reply:
    return reply if reply.address is None else replace(reply, reply_ttl=ttl, evidence=None)


def elsewhere(trace: Trace, ttls: Sequence[int], branch: int = 5) -> Trace:
    """The same trace over other routers at some TTLs."""

    def moved(hop: Hop) -> Hop:
        def other(address: str) -> str:
            return router_address(trace.family, hop.ttl, branch) if address != trace.address else address

        return replace(
            hop,
            address=hop.address and other(hop.address),
            addresses=tuple(map(other, hop.addresses)),
            replies=tuple(replace(reply, address=reply.address and other(reply.address)) for reply in hop.replies),
        )

    return replace(trace, hops=tuple(moved(hop) if hop.ttl in ttls else hop for hop in trace.hops))


def places(block: Block) -> tuple[int | None, int | None, int | None]:
    listed = (block.passes, block.blocks, block.likely)
    passes, blocks, likely = (place.ttl if place is not None else None for place in listed)
    return passes, blocks, likely


@pytest.mark.parametrize("family", [4, 6])
def test_the_sentence_of_a_silent_drop(family: int) -> None:
    path = path_of(5)
    block = locate_block(take(dropped_behind(path, 3), BLOCKED, family=family), take(path, WORKING, family=family))
    here, behind = router_address(family, 3), router_address(family, 4)
    assert block.sentence == (
        f"443 reaches {DESTINATION[family]}; 5432 is dropped silently between hop 3 ({here}) and hop 4 ({behind})"
    )
    assert block.is_blocked is True
    (note,) = block.notes
    assert note.startswith(f"Most likely hop 3 ({here}) drops what it forwards")
    assert note.endswith(f"else hop 4 ({behind}) drops what arrives.")


@pytest.mark.parametrize("last", range(7))
def test_the_drop_is_on_the_link_behind_the_last_that_answers(last: int) -> None:
    path = path_of(6)
    block = locate_block(take(dropped_behind(path, last), BLOCKED), take(path, WORKING))
    likely = {0: 1, 6: None}.get(last, last)
    assert (block.verdict, *places(block)) == ("dropped", last, last + 1, likely), block.sentence
    assert block.blocks is not None
    assert block.blocks.role == ("destination" if last == 6 else "router")


SILENT = [
    # Silent hops; the drop; the ends of what can be told.
    ((3, 4), 2, (2, 5, None)),
    ((3, 4), 3, (2, 5, None)),
    ((3, 4), 4, (2, 5, None)),
    ((4,), 5, (5, 6, 5)),
    ((1, 2), 2, (0, 3, None)),
    ((6,), 5, (5, 7, None)),
]


@pytest.mark.parametrize(("silent", "last", "ends"), SILENT)
def test_silent_hops_widen_what_is_told(silent: Sequence[int], last: int, ends: tuple[int | None, ...]) -> None:
    path = path_of(6, silent)
    block = locate_block(take(dropped_behind(path, last), BLOCKED), take(path, WORKING))
    assert (block.verdict, *places(block)) == ("dropped", *ends), block.sentence


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("router", [1, 3, 5])
def test_a_rejection_is_its_senders_who_answers_for_a_ttl_beyond_its_own(family: int, router: int) -> None:
    kind, code = (3, 13) if family == 4 else (1, 1)
    path = path_of(5)
    refused = replace(path, unreachable=(router + 1, kind, code))
    block = locate_block(take(refused, BLOCKED, family=family), take(path, WORKING, family=family))
    assert (block.verdict, *places(block)) == ("rejected", router - 1, router, router), block.sentence
    assert (block.icmp_type, block.icmp_code) == (kind, code)
    assert f"5432 is rejected by hop {router} ({router_address(family, router)}): communication adm" in block.sentence


def test_a_rejection_under_an_address_not_seen_before_may_be_either_hops() -> None:
    path = path_of(4)
    refused = elsewhere(take(replace(path, unreachable=(3, 3, 1)), BLOCKED), [3])
    block = locate_block(refused, take(path, WORKING))
    assert (block.verdict, *places(block)) == ("rejected", 2, 3, 3)
    assert any("hop 2 (10.0.2.1) or hop 3 under another" in note for note in block.notes)


def test_what_rejects_both_ports_is_said_to() -> None:
    refused = replace(path_of(4), unreachable=(3, 3, 1))
    block = locate_block(take(refused, BLOCKED), take(refused, WORKING))
    assert block.verdict == "rejected"
    assert "443 is rejected in the same way, so it is not for the port alone." in block.notes


@pytest.mark.parametrize(("family", "kind", "code"), [(4, 3, 4), (6, 2, 0)])
def test_probes_that_are_too_long_are_no_block(family: int, kind: int, code: int) -> None:
    refused = replace(path_of(4), unreachable=(3, kind, code))
    block = locate_block(take(refused, BLOCKED, family=family), take(refused, WORKING, family=family))
    assert (block.verdict, block.reason) == ("unknown", "too_long")


@pytest.mark.parametrize("port", ["open", "closed"])
@pytest.mark.parametrize("last", range(1, 6))
def test_an_answer_for_a_ttl_that_a_router_still_passes_on_is_not_the_destinations(last: int, port: str) -> None:
    path = path_of(6)
    block = locate_block(take(answered_behind(path, last, port), BLOCKED), take(path, WORKING))
    assert (block.verdict, *places(block)) == ("substituted", last, last + 1, last), block.sentence
    assert block.how == ("SYN/ACK" if port == "open" else "RST/ACK")


def test_an_answer_before_the_first_hop() -> None:
    path = path_of(4)
    block = locate_block(take(answered_behind(path, 0, "closed"), BLOCKED), take(path, WORKING))
    assert (block.verdict, *places(block)) == ("substituted", 0, 1, 1), block.sentence


def test_the_last_router_in_the_destinations_place_takes_four_pairs_to_be_believed() -> None:
    path = path_of(4)
    pairs = [(take(replace(path, port="closed"), BLOCKED, seed, longer=-1), take(path, WORKING, seed)) for seed in range(4)]
    assert all(doubtful(*pair) for pair in pairs)
    alone = locate_block(*pairs[0])
    assert alone.verdict == "closed"
    assert any("may come from hop 4" in note for note in alone.notes)
    block = locate_block(*pairs[0], pairs[1:])
    assert (block.verdict, *places(block)) == ("substituted", 4, 5, 4)
    # One way back of another length among them, and it is only that.
    pairs[2] = (take(replace(path, port="closed"), BLOCKED), pairs[2][1])
    assert locate_block(*pairs[0], pairs[1:]).verdict == "closed"


def syn_ack(window: int, mss: int | None) -> str:
    options = [("MSS", mss)] if mss else []
    segment = IP(src="198.51.100.9", dst="192.0.2.1") / TCP(sport=443, dport=40001, flags="SA", window=window, options=options)
    return base64.b64encode(bytes(segment)).decode()


def with_evidence(trace: Trace, evidence: str) -> Trace:
    last = trace.hops[-1]
    kept = tuple(replace(reply, evidence=evidence) if reply.kind == "tcp" else reply for reply in last.replies)
    return replace(trace, hops=(*trace.hops[:-1], replace(last, replies=kept)))


def test_a_syn_ack_without_a_window_is_a_proxys() -> None:
    path = path_of(4)
    blocked, working = (with_evidence(take(path, port), syn_ack(0, 1460)) for port in (BLOCKED, WORKING))
    block = locate_block(blocked, working)
    assert (block.verdict, *places(block)) == ("substituted", 4, 5, 4)
    assert any("window 0: a SYN proxy" in note for note in block.notes)
    # At the destination itself, which answers the working port without one, it stands in nobody's place.
    block = locate_block(blocked, with_evidence(take(path, WORKING), syn_ack(64240, 1460)))
    assert block.verdict == "open"


def test_another_mss_is_told_and_proves_nothing() -> None:
    path = path_of(4)
    block = locate_block(
        with_evidence(take(path, BLOCKED), syn_ack(64240, 1380)), with_evidence(take(path, WORKING), syn_ack(64240, 1460))
    )
    assert block.verdict == "open"
    assert block.notes == ("The SYN/ACK of 5432 offers MSS 1380 and MSS, that of 443 MSS 1460 and MSS.",)


def test_a_filter_of_the_vantage_itself() -> None:
    refused = Hop(1, None, (), None, (Reply(1, "send_error", error="EPERM"),), None, None)
    blocked = replace(take(path_of(3), BLOCKED), hops=(refused,), reached=False, port_state="unknown", stop_reason="error")
    block = locate_block(blocked, take(path_of(3), WORKING))
    script = Script([blocked, take(path_of(3), WORKING)])
    assert measure_block(ASKED, script, working_port=WORKING).block == block
    assert (block.verdict, *places(block)) == ("dropped", None, 0, 0)
    down = replace(blocked, hops=(replace(refused, replies=(Reply(1, "send_error", error="ENETDOWN"),)),))
    assert locate_block(down, take(path_of(3), WORKING)).reason == "incomplete"


PATH = path_of(5)
DROPPED = take(dropped_behind(PATH, 3), BLOCKED)
GOOD = take(PATH, WORKING)
UNKNOWN = [
    ("paths_differ", DROPPED, elsewhere(GOOD, [2, 3])),
    ("paths_differ", DROPPED, elsewhere(GOOD, [3])),
    ("nothing_works", DROPPED, take(dropped_behind(PATH, 3), WORKING)),
    ("nothing_works", DROPPED, take(dropped_behind(PATH, 2), WORKING)),
    ("too_few_answers", take(dropped_behind(PATH, 4), BLOCKED, queries=1, max_ttl=5), take(PATH, WORKING, queries=1, max_ttl=5)),
    ("incomplete", replace(DROPPED, stop_reason="deadline"), GOOD),
    ("incomplete", take(PATH, BLOCKED, max_ttl=4), GOOD),
    ("incomplete", DROPPED, replace(take(dropped_behind(PATH, 4), WORKING), stop_reason="interrupted")),
    ("other_destination", DROPPED, replace(GOOD, address="198.51.100.10")),
    ("working_substituted", take(dropped_behind(PATH, 4), BLOCKED), take(answered_behind(PATH, 2, "open"), WORKING)),
    ("not_a_syn", replace(DROPPED, probe=replace(DROPPED.probe, flags="ACK")), GOOD),
]


@pytest.mark.parametrize(("reason", "blocked", "working"), UNKNOWN, ids=[f"{row[0]}-{n}" for n, row in enumerate(UNKNOWN)])
def test_what_can_not_be_told_is_said_with_its_reason(reason: str, blocked: Trace, working: Trace) -> None:
    block = locate_block(blocked, working)
    assert (block.verdict, block.reason, block.is_blocked) == ("unknown", reason, None), block.sentence
    assert block.sentence.startswith("Where ")
    assert "\n" not in block.sentence


def test_equal_paths_that_meet_again_before_the_block_are_no_obstacle() -> None:
    block = locate_block(DROPPED, elsewhere(GOOD, [2]))
    assert (block.verdict, *places(block)) == ("dropped", 3, 4, 3)
    assert any("different ways at hop 2" in note for note in block.notes)


def test_the_working_one_need_not_arrive_if_it_comes_further() -> None:
    block = locate_block(take(dropped_behind(path_of(8), 3), BLOCKED), take(dropped_behind(path_of(8), 6), WORKING))
    assert (block.verdict, *places(block)) == ("dropped", 3, 4, 3)
    assert block.sentence.startswith("443 comes as far as hop 6 (10.0.6.1); 5432 is dropped silently")


@pytest.mark.parametrize("longer", [0, 1])
def test_a_shorter_way_there_is_no_substitute(longer: int) -> None:
    # Flows share two ways of different lengths, and the last router but one is where they meet, one hop nearer for one of them.
    working = take(path_of(6), WORKING, longer=longer)
    blocked = take(path_of(5), BLOCKED, longer=longer + 1)
    shifted = elsewhere(blocked, [4, 5])
    met, address = shifted.hops[4], router_address(4, 6)
    met = replace(met, address=address, addresses=(address,), replies=tuple(replace(one, address=address) for one in met.replies))
    shifted = replace(shifted, hops=(*shifted.hops[:4], met, shifted.hops[5]))
    assert locate_block(shifted, working).verdict == "open"


def test_an_unreachable_for_a_ttl_that_others_have_passed_ends_nothing() -> None:
    passed = DROPPED.hops[1]
    stray = Reply(3, "unreachable", address="10.0.2.1", rtt_ms=1.0, reply_ttl=63, icmp_type=3, icmp_code=1)
    hops = (DROPPED.hops[0], replace(passed, replies=(*passed.replies[:2], stray)), *DROPPED.hops[2:])
    assert locate_block(replace(DROPPED, hops=hops), GOOD) == locate_block(DROPPED, GOOD)


def test_the_silence_of_a_router_with_a_rate_limit_says_nothing() -> None:
    limited = replace(GOOD, hops=tuple(replace(hop, silence="rate_limited") if hop.ttl == 4 else hop for hop in GOOD.hops))
    assert places(locate_block(DROPPED, limited)) == (3, 5, None)


def test_the_same_way_back_is_the_same_host() -> None:
    # It is nearer by its TTL, and not by the TTL that its answers arrive with.
    nearer = take(answered_behind(path_of(5), 4, "open"), BLOCKED, longer=1)
    block = locate_block(nearer, GOOD)
    assert block.verdict == "open"
    assert "5432 is answered for TTL 5, 443 for 6: the ways differ." in block.notes


def test_equal_paths_that_meet_again_before_the_substitute_are_no_obstacle() -> None:
    answered = take(answered_behind(PATH, 4, "closed"), BLOCKED)
    block = locate_block(answered, elsewhere(GOOD, [2]))
    assert (block.verdict, *places(block)) == ("substituted", 4, 5, 4)
    # Where they don't, the two can't be compared.
    apart = elsewhere(GOOD, [4, 5])
    assert locate_block(answered, apart).verdict == "closed"
    assert [incomparable(answered, working) for working in (GOOD, apart)] == [False, True]


def test_an_answer_that_comes_from_further_behind_silent_hops_proves_nothing() -> None:
    path = path_of(6, [3])
    answered = take(answered_behind(path, 3, "closed"), BLOCKED, longer=5)
    assert locate_block(answered, take(path, WORKING)).verdict == "closed"
    assert locate_block(take(answered_behind(path, 3, "closed"), BLOCKED), take(path, WORKING)).verdict == "substituted"


def test_the_same_router_at_another_distance_shows_another_way() -> None:
    def named(hop: Hop, address: str | None) -> Hop:
        known = (address,) if address else ()
        told = tuple(replace(one, address=address) if address else Reply(one.query, "timeout") for one in hop.replies)
        return replace(hop, address=address, addresses=known, replies=told)

    first, second, third, *rest = GOOD.hops
    longer = replace(GOOD, hops=(first, named(second, None), named(third, router_address(4, 2)), *rest))
    assert locate_block(take(dropped_behind(PATH, 2), BLOCKED), longer).reason == "paths_differ"


def translated(trace: Trace, begins: int) -> Trace:
    """The trace as it is where a router translates the destination and the answers of all behind it."""

    def hidden(hop: Hop) -> Hop:
        told = tuple(replace(reply, address=trace.address) for reply in hop.replies)
        return replace(hop, address=trace.address, addresses=(trace.address,), replies=told)

    return replace(trace, hops=tuple(hidden(hop) if hop.ttl >= begins else hop for hop in trace.hops))


@pytest.mark.parametrize("count", [4, 5, 7])
def test_a_translation_that_the_working_one_does_not_meet_leads_elsewhere(count: int) -> None:
    behind = translated(take(path_of(count), BLOCKED), 3)
    block = locate_block(behind, GOOD)
    assert (block.verdict, *places(block)) == ("substituted", 2, 3, 3), block.sentence
    assert any("its destination is translated there" in note for note in block.notes)
    # Both translated, or over another way, it proves nothing.
    assert locate_block(behind, translated(take(path_of(count), WORKING), 3)).verdict == "open"
    assert locate_block(translated(take(path_of(5), BLOCKED), 3), elsewhere(GOOD, [2])).verdict == "open"


def test_what_may_be_another_way_back_is_no_doubt() -> None:
    blocked, working = take(replace(PATH, port="closed"), BLOCKED, longer=-1), GOOD
    assert doubtful(blocked, working)
    assert not doubtful(blocked, elsewhere(working, [5]))
    last = working.hops[4]
    back = replace(last, replies=tuple(replace(reply, reply_ttl=59) for reply in last.replies))
    assert not doubtful(blocked, replace(working, hops=(*working.hops[:4], back, working.hops[5])))


def test_where_each_probe_is_a_flow_one_way_alone_is_compared() -> None:
    answered, working = (replace(trace, source_port=None) for trace in (take(answered_behind(PATH, 3, "closed"), BLOCKED), GOOD))
    assert locate_block(answered, working).verdict == "substituted"
    second = working.hops[1]
    mixed = replace(second, replies=(*second.replies[:2], replace(second.replies[2], address=router_address(4, 2, 5))))
    block = locate_block(answered, replace(working, hops=(working.hops[0], mixed, *working.hops[2:])))
    assert block.verdict == "closed"
    assert any("could not be compared" in note for note in block.notes)


# A thousand pairs of traces through random networks.


def random_path(dice: random.Random) -> Path:
    """Silent hops, rate limits, equal paths, loss and jitter as they come."""
    count = dice.randrange(1, 11)
    routers = [
        Router(
            (ttl + 1) * dice.uniform(0.001, 0.02),
            silent=dice.random() < 0.2,
            rate=dice.choice([1.0, 3.0, 10.0]) if dice.random() < 0.2 else None,
            branches=2 if dice.random() < 0.1 else 1,
        )
        for ttl in range(count)
    ]
    loss = dice.choice([0.0, 0.0, 0.0, 0.01, 0.05, 0.2])
    return Path(routers, (count + 1) * 0.02, loss=loss, jitter=dice.choice([0.0, 0.002]), duplicates=dice.choice([0.0, 0.1]))


class Measured:
    """Takes traces for the driver: another seed each, and another of the equal ways for another source port."""

    def __init__(self, working: Path, blocked: Path, dice: random.Random, family: int, *, uneven: bool) -> None:
        self._paths = {WORKING: working, BLOCKED: blocked}
        self._dice = dice
        self._family = family
        # Behind this hop the flows share a way of one router and one of two.
        self._fork = dice.randrange(len(working.routers)) if uneven and dice.random() < 0.5 else None
        self._silent = dice.random() < 0.3
        self._shared = [ttl for ttl in range(1, len(working.routers)) if dice.random() < 0.15]
        self.taken = 0

    def __call__(self, requests: Sequence[TraceOptions]) -> list[Trace]:
        return [self._take(request) for request in requests]

    def _take(self, request: TraceOptions) -> Trace:
        self.taken += 1
        source_port = request.source_port or 40000 + self.taken
        # Which way is a matter of the ports alone.
        way = random.Random(f"{source_port}-{request.port}")
        path, fork = self._paths[request.port], self._fork
        if fork is not None and way.random() < 0.5:
            routers = [*path.routers[:fork], Router(0.01 * fork + 0.002, silent=self._silent), *path.routers[fork:]]
            trace = self._trace(replace(path, routers=routers), request, longer=0)
            trace = elsewhere(trace, [fork + 1, fork + 2])
            hops = [self._back(self._named_by(hop, hop.ttl - 1) if hop.ttl > fork + 2 else hop, 1) for hop in trace.hops]
            trace = replace(trace, hops=tuple(hops))
        else:
            trace = self._trace(path, request, longer=self._dice.choice([0, 0, 1]) if fork is None else 0)
            if fork is not None:
                trace = replace(trace, hops=tuple(self._back(hop, 0) for hop in trace.hops))
        moved = [ttl for ttl in self._shared if way.random() < 0.5]
        return replace(elsewhere(trace, moved), source_port=source_port)

    def _trace(self, path: Path, request: TraceOptions, longer: int) -> Trace:
        seed, last = self._dice.randrange(1 << 30), request.max_ttl
        return take(path, request.port, seed, family=self._family, longer=longer, max_ttl=last)

    def _named_by(self, hop: Hop, ttl: int) -> Hop:
        """The hop with the address of the router that it is when it is one hop nearer."""
        address = router_address(self._family, ttl)

        def other(old: str | None) -> str | None:
            return address if old is not None and old != DESTINATION[self._family] else old

        named = tuple(replace(reply, address=other(reply.address)) for reply in hop.replies)
        addresses = tuple(dict.fromkeys(other(old) or "" for old in hop.addresses))
        return replace(hop, address=other(hop.address), addresses=addresses, replies=named)

    def _back(self, hop: Hop, there: int) -> Hop:
        """The hop with answers that come back over either way, whichever the probe went."""
        if self._fork is None or hop.ttl <= self._fork + 1:
            return hop
        less = self._dice.choice([0, 1]) - there
        back = tuple(replace(one, reply_ttl=one.reply_ttl - less) if one.reply_ttl else one for one in hop.replies)
        return replace(hop, replies=back)


def measured(working: Path, blocked: Path, dice: random.Random, family: int, *, uneven: bool = False) -> Block:
    asked = TraceOptions(destination=DESTINATION[family], port=BLOCKED, max_ttl=16)
    return measure_block(asked, Measured(working, blocked, dice, family, uneven=uneven), working_port=WORKING).block


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("batch", range(5))
def test_nothing_is_called_blocked_where_nothing_is(batch: int, family: int) -> None:
    told = {"open": 0, "closed": 0, "unknown": 0}
    for number in range(100):
        dice = random.Random(f"clean-{family}-{batch}-{number}")
        path = random_path(dice)
        state = dice.choice(["open", "closed"])
        working = replace(path, port=dice.choice(["open", "closed"]))
        block = measured(working, replace(path, port=state), dice, family, uneven=True)
        assert block.verdict in {state, "unknown"}, (number, block.sentence)
        told[block.verdict] += 1
    assert told["unknown"] <= 2, told


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("batch", range(2))
def test_a_drop_is_never_put_to_the_wrong_place(batch: int, family: int) -> None:
    told = 0
    for number in range(100):
        dice = random.Random(f"dropped-{family}-{batch}-{number}")
        path = random_path(dice)
        last = dice.randrange(len(path.routers) + 1)
        block = measured(path, dropped_behind(path, last), dice, family)
        assert block.verdict in {"dropped", "unknown"}, (number, block.sentence)
        if block.verdict == "dropped":
            told += 1
            assert block.passes is not None
            assert block.blocks is not None
            assert block.passes.ttl <= last < block.blocks.ttl, (number, last, block.sentence)
            assert block.likely is None or block.likely.ttl in {last, last + 1}, (number, last, block.sentence)
    assert told >= 85


@pytest.mark.parametrize("family", [4, 6])
def test_a_substitute_is_never_put_to_the_wrong_place(family: int) -> None:
    told = 0
    for number in range(100):
        dice = random.Random(f"substituted-{family}-{number}")
        path = random_path(dice)
        last = dice.randrange(len(path.routers))
        state = dice.choice(["open", "closed"])
        block = measured(path, answered_behind(path, last, state), dice, family)
        assert block.verdict in {"substituted", state, "unknown"}, (number, block.sentence)
        if block.verdict == "substituted":
            told += 1
            assert places(block)[1:] in {(last + 1, last), (last + 1, last + 1)}, (number, last, block.sentence)
    assert told >= 50


# The driver.


class Script:
    """Answers the driver from a list of what each call gives, and keeps what was asked."""

    def __init__(self, *answers: Sequence[Trace | ProbeError]) -> None:
        self._answers = list(answers)
        self.asked: list[list[TraceOptions]] = []

    def __call__(self, requests: Sequence[TraceOptions]) -> Sequence[Trace | ProbeError]:
        self.asked.append(list(requests))
        return self._answers.pop(0)


ASKED = TraceOptions(destination="198.51.100.9", port=BLOCKED)
OPEN = take(PATH, BLOCKED)


def test_both_traces_are_taken_at_the_same_time_and_told_apart_in_any_order() -> None:
    script = Script([GOOD, OPEN])
    found = measure_block(ASKED, script, working_port=WORKING)
    assert (found.block.verdict, found.blocked, found.working) == ("open", OPEN, GOOD)
    assert [[request.port for request in requests] for requests in script.asked] == [[BLOCKED, WORKING]]


def test_without_a_working_port_the_same_is_asked_by_ack() -> None:
    acknowledged = replace(take(PATH, BLOCKED, flags="ACK"), port=BLOCKED)
    script = Script([acknowledged, OPEN])
    found = measure_block(ASKED, script)
    assert (found.blocked, found.working) == (OPEN, acknowledged)
    assert [request.flags for request in script.asked[0]] == ["SYN", "ACK"]


def test_a_source_port_asked_for_is_used_for_one_trace_after_the_other() -> None:
    script = Script([OPEN], [GOOD])
    measure_block(replace(ASKED, source_port=40001), script, working_port=WORKING)
    assert [[request.source_port for request in requests] for requests in script.asked] == [[40001], [40001]]


def test_a_drop_is_made_sure_of_over_the_same_flow_alone() -> None:
    script = Script([DROPPED, GOOD], [DROPPED])
    found = measure_block(ASKED, script, working_port=WORKING)
    assert places(found.block) == (3, 4, 3)
    (again,) = script.asked[1]
    assert (again.source_port, again.max_ttl) == (DROPPED.source_port, 8)
    further = take(dropped_behind(PATH, 4), BLOCKED)
    found = measure_block(ASKED, Script([DROPPED, GOOD], [further]), working_port=WORKING)
    assert (places(found.block), found.blocked) == ((4, 5, 4), further)
    found = measure_block(ASKED, Script([DROPPED, GOOD], [OPEN]), working_port=WORKING)
    assert found.block.verdict == "open"
    found = measure_block(ASKED, Script([DROPPED, GOOD], [ProbeError("no more ports")]), working_port=WORKING)
    assert found.block.notes[-1] == "It could not be traced again to make sure: no more ports"


def test_another_way_is_tried_again_until_one_is_shared() -> None:
    other = elsewhere(GOOD, [3])
    script = Script([DROPPED, other], [DROPPED], [other, ProbeError("in use"), GOOD, other])
    found = measure_block(ASKED, script, working_port=WORKING)
    assert (found.block.verdict, found.working) == ("dropped", GOOD)
    ports = [request.source_port for request in script.asked[2]]
    assert len(set(ports)) == 4
    assert DROPPED.source_port not in ports


def test_a_way_of_another_length_is_tried_again_too() -> None:
    answered = take(answered_behind(PATH, 4, "closed"), BLOCKED)
    script = Script([answered, elsewhere(GOOD, [4, 5])], [elsewhere(GOOD, [4])] * 2 + [GOOD] * 2)
    found = measure_block(ASKED, script, working_port=WORKING)
    assert (found.block.verdict, found.working) == ("substituted", GOOD)


def test_a_doubt_takes_three_further_pairs() -> None:
    doubted = take(replace(PATH, port="closed"), BLOCKED, longer=-1)
    script = Script([doubted, GOOD], [doubted, GOOD] * 3)
    found = measure_block(ASKED, script, working_port=WORKING)
    assert found.block.verdict == "substituted"
    assert len({request.source_port for request in script.asked[1]}) == 6
    script = Script([doubted, GOOD], [doubted, GOOD] * 2 + [ProbeError("in use"), GOOD])
    assert measure_block(ASKED, script, working_port=WORKING).block.verdict == "closed"


def test_by_ack_the_very_flow_is_tried_first() -> None:
    good = take(PATH, BLOCKED, flags="ACK")
    script = Script([DROPPED, elsewhere(good, [3])], [DROPPED], [good])
    found = measure_block(ASKED, script)
    assert found.block.verdict == "dropped"
    assert [request.source_port for request in script.asked[2]] == [DROPPED.source_port]


def test_if_no_way_is_shared_that_is_the_verdict() -> None:
    other = elsewhere(GOOD, [3])
    found = measure_block(ASKED, Script([DROPPED, other], [DROPPED], [other] * 4, [other] * 4), working_port=WORKING)
    assert (found.block.reason, found.working) == ("paths_differ", other)


def test_another_address_of_the_name_is_traced_again_at_the_first() -> None:
    script = Script([OPEN, replace(GOOD, address="198.51.100.10")], [GOOD])
    found = measure_block(replace(ASKED, destination="web.example"), script, working_port=WORKING)
    assert (found.block.verdict, script.asked[1][0].destination) == ("open", OPEN.address)


def test_what_can_not_be_measured_is_raised() -> None:
    with pytest.raises(ProbeError, match="no route"):
        measure_block(ASKED, Script([OPEN, ProbeError("no route")]), working_port=WORKING)
    with pytest.raises(OptionError) as caught:
        measure_block(replace(ASKED, flags="SYN,ACK"), Script(), working_port=70000)
    assert len(caught.value.problems) == 2


# Anything at all.


@given(traces(), traces())
@settings(max_examples=150)
def test_any_two_traces_have_a_verdict(blocked: Trace, working: Trace) -> None:
    for pair in ((blocked, working), (blocked, replace(working, address=blocked.address, family=blocked.family))):
        block = locate_block(*pair)
        assert block.verdict in VERDICTS
        assert (block.reason in REASONS) == (block.verdict == "unknown")
        assert all(text.isascii() and text.isprintable() for text in (block.sentence, *block.notes))
        assert json.loads(json.dumps(block.to_dict())) == block.to_dict()
        doubtful(*pair)
        goes_further(*pair)


@given(st.data())
@settings(max_examples=150)
def test_any_replies_on_a_real_path_have_a_verdict(data: st.DataObject) -> None:
    hops = tuple(replace(hop, replies=data.draw(st.lists(replies(), max_size=3).map(tuple))) for hop in GOOD.hops)
    block = locate_block(replace(GOOD, hops=hops), GOOD)
    assert block.verdict in VERDICTS
    assert locate_block(GOOD, replace(GOOD, hops=hops)).verdict in VERDICTS


@given(st.binary(max_size=120), st.sampled_from([4, 6]))
def test_any_evidence_is_read_or_left(data: bytes, family: int) -> None:
    reply = Reply(1, "tcp", tcp_flags="SYN,ACK", evidence=base64.b64encode(data).decode())
    answer = open_answer(reply, family)
    assert answer is None or (0 <= answer.window < 1 << 16 and len(data) >= 20)


def test_what_is_no_tcp_header_is_left() -> None:
    assert open_answer(Reply(1, "tcp", evidence="not base64"), 4) is None
    assert open_answer(Reply(1, "timeout"), 4) is None
    assert open_answer(Reply(1, "tcp", evidence=base64.b64encode(b"\x45" + bytes(39)).decode()), 4) is None


def test_records_in_and_out_are_json() -> None:
    told = locate_block_in_records(DROPPED.to_dict(), GOOD.to_dict())
    assert told == locate_block(DROPPED, GOOD).to_dict()
    assert told["is_blocked"] is True
    assert locate_block_in_records(EXAMPLE.to_dict(), EXAMPLE.to_dict())["verdict"] in VERDICTS
