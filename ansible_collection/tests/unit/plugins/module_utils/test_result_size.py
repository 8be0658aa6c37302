# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A record is never larger than a task's result may be."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ansible_collections.netprobe.path.plugins.module_utils.probe.records import Hop, Packet, ProbeShape, Reply, RoundTrip, Trace
from ansible_collections.netprobe.path.plugins.module_utils.result_size import MOST_BYTES, within_bounds

ADDRESSES = tuple("2001:db8:{0:04x}:{0:04x}:{0:04x}:{0:04x}:{0:04x}:{0:04x}".format(0x1000 + number) for number in range(50))


def trace(hops: int, queries: int, evidence: int, addresses: int, name: int, packets: int = 0, notes: int = 0) -> Trace:
    hop_name = "n" * name or None
    replies = tuple(
        Reply(query + 1, "time_exceeded", ADDRESSES[query % addresses], hop_name, 1.0, evidence="A" * evidence or None)
        for query in range(queries)
    )
    times = RoundTrip(1000.001, 1000.001, 1000.001, 1000.001)
    path = tuple(
        Hop(ttl + 1, ADDRESSES[0], ADDRESSES[:addresses], hop_name, replies, times, 0.333, "lost") for ttl in range(hops)
    )
    if notes:
        path = tuple(replace(hop, device="d" * 1000, unseen=("payload",), notes=("n" * 1000,) * notes) for hop in path)
    shape = ProbeShape("SYN", "none", 60, 0, False)
    whole = Trace(
        "h", ADDRESSES[1], 6, 80, "v", ADDRESSES[2], 1, None, "raw", shape, "t", 1.0, True, "open", "reached", path, {"sent": 1}
    )
    return replace(whole, packets=(Packet(0.5, "sent", "RQAA"),) * packets) if packets else whole


@pytest.mark.parametrize(
    ("size", "left_out"),
    [
        ((10, 3, 80, 1, 20), None),
        ((10, 3, 80, 1, 20, 100), None),
        ((10, 3, 80, 1, 20, 2000), "its packets were left out"),
        ((10, 10, 800, 1, 20, 10), "only the first evidence from each address of a hop was kept"),
        ((10, 10, 800, 1, 20), "only the first evidence from each address of a hop was kept"),
        ((30, 3, 3000, 1, 20), "no evidence was kept"),
        ((200, 50, 100, 1, 0), "no single replies were kept"),
        ((10, 1, 80, 1, 20, 0, 1), None),
        ((10, 1, 80, 1, 20, 0, 10), "no single replies, no findings and one address for each hop were kept"),
        ((100, 50, 100, 50, 0), "no single replies, no findings and one address for each hop were kept"),
        ((255, 50, 100, 50, 253, 0, 100), "one address for each hop was kept, without replies, findings, names and times"),
    ],
)
def test_what_explains_goes_first_and_the_record_says_so(size: tuple[int, ...], left_out: str) -> None:
    whole = trace(*size)
    record = within_bounds(whole)
    assert len(json.dumps(record)) <= MOST_BYTES
    assert [hop["address"] for hop in record["hops"]] == [hop.address for hop in whole.hops]
    if left_out is None:
        assert record == whole.to_dict()
    else:
        assert len(record["warnings"]) == 1
        assert left_out in record["warnings"][0]
    kept = Trace.from_dict(record)
    assert kept.packets in (None, whole.packets)
    assert kept == replace(whole, hops=kept.hops, warnings=kept.warnings, packets=kept.packets)
