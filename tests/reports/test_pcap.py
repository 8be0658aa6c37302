"""Captures as files: every form and link that is read, what is said of those that are not whole, and what is written."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import random
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nornir_tcptraceroute.probe.records import Packet, Trace
from nornir_tcptraceroute.reports import capture
from nornir_tcptraceroute.reports.pcap import PcapError, read_pcap, write_pcap
from tests.reports.captures import (
    BASE,
    COOKED,
    COOKED_2,
    ETHERNET,
    LOOPBACK,
    OPEN_LOOPBACK,
    RAW,
    error,
    frame,
    pcap,
    pcapng,
    probe,
    reply,
    trace,
)
from tests.strategies import EXAMPLE

CAPTURES = Path(__file__).parent.parent / "captures"
HOPS = {4: ["203.0.113.1", "203.0.113.2", "198.51.100.80"], 6: ["2001:db8:f::1", "2001:db8:f::2", "2001:db8:1::80"]}
GAP = "The capture is not whole: "


def read(data: bytes) -> list[Trace]:
    return read_pcap(io.BytesIO(data))


def refusal(data: bytes) -> str:
    with pytest.raises(PcapError) as caught:
        read(data)
    return str(caught.value)


def seen(record: Trace) -> list[str | None]:
    return [hop.address for hop in record.hops]


# Reading: every form that there is.


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("link", [RAW, 12, 14, ETHERNET, COOKED, COOKED_2, LOOPBACK, OPEN_LOOPBACK, 228, 229])
def test_every_link_type_is_read(link: int, family: int) -> None:
    (record,) = read(pcap(trace(family), link))
    assert seen(record) == HOPS[family]
    assert [reply.rtt_ms for hop in record.hops for reply in hop.replies] == [5, 5, 10, 10, 15, 15]
    assert (record.port_state, record.warnings) == ("open", ())


FORMS = {
    "little": pcap(trace()),
    "big": pcap(trace(), order=">"),
    "nano": pcap(trace(), nano=True),
    "nano, big": pcap(trace(), nano=True, order=">"),
    "ng": pcapng(trace()),
    "ng, big": pcapng(trace(), order=">"),
    "ng, three interfaces": pcapng(trace(), (ETHERNET, RAW, COOKED_2)),
    "with a checksum behind each frame": pcap(trace(), ETHERNET | 0x24000000),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(form: str) -> None:
    (record,) = read(FORMS[form])
    assert seen(record) == HOPS[4]
    assert record.started_at == "2023-11-14T22:13:20.000Z"
    assert (record.hops[2].rtt_ms and record.hops[2].rtt_ms.avg) == 15
    assert record.warnings == ()


@pytest.mark.parametrize("tags", [b"\x81\0\0\5", b"\x88\xa8\0\1\x81\0\0\5", b"\x91\0\0\1\x81\0\0\5"])
def test_tags_of_virtual_networks_are_passed_over(tags: bytes) -> None:
    tagged = [(at, framed[:12] + tags + framed[12:]) for at, framed in ((at, frame(packet, ETHERNET)) for at, packet in trace())]
    data = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, ETHERNET)
    for at, framed in tagged:
        data += struct.pack("<IIII", BASE + int(at), round(at % 1 * 1e6), len(framed), len(framed)) + framed
    assert seen(read(data)[0]) == HOPS[4]


@pytest.mark.parametrize(("link", "sent"), [(COOKED, 6), (COOKED_2, 6), (ETHERNET, 12)])
def test_what_passes_several_interfaces_counts_once_where_all_are_captured(link: int, sent: int) -> None:
    twice = [(at + delay, packet) for at, packet in trace() for delay in (0, 0.0001)]
    (record,) = read(pcap(twice, link))
    assert record.counters["sent"] == sent


def test_a_path_and_an_open_file_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "capture.pcap"
    path.write_bytes(pcap(trace()))
    with path.open("rb") as file:
        assert read_pcap(path) == read_pcap(str(path)) == read_pcap(file)


# Reading: what is no capture, or not a whole one.

REFUSED = {
    "empty": (b"", "The capture is empty: nothing was captured into it"),
    "short": (b"\xd4\xc3", "The capture is no capture in pcap or pcapng form"),
    "text": (b"Frame 1: 60 bytes on wire", "The capture is no capture in pcap or pcapng form"),
    "compressed": (gzip.compress(pcap(trace())), "The capture is compressed: unpack it with gunzip"),
    "no packets": (pcap([]), "The capture holds no TCP trace: none of its packets begins a TCP flow with a TTL below 32; "),
    "other packets": (pcap([(0, reply(5))]), "The capture holds no TCP trace: none of its packets begins a TCP flow"),
    "only ordinary connections": (pcap([(0, probe(64, 5)), (0.1, reply(6))]), "The capture holds no TCP trace: none of its"),
    "another link": (
        pcap(trace(), 105),
        "The capture holds no TCP trace: 12 packets of link type 105 could not be read, as Ethernet, Linux cooked, raw",
    ),
    "header cut off": (pcap(trace())[:20], "The capture holds no TCP trace: it is cut off, or damaged, in its first header"),
    "first packet cut off": (pcap(trace())[:60], "The capture holds no TCP trace: it is cut off after 0 packets"),
    "only beginnings": (
        pcap(trace(), snap=30),
        "The capture holds no TCP trace: only the beginning of 12 packets is in it (snapshot length)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_holds_no_trace_is_refused_with_a_sentence(case: str) -> None:
    data, sentence = REFUSED[case]
    told = refusal(data)
    assert told.startswith(sentence)
    assert "\n" not in told


def test_a_path_is_told(tmp_path: Path) -> None:
    path = tmp_path / "no.pcap"
    path.write_bytes(b"text")
    with pytest.raises(PcapError, match=rf"^{path} is no capture"):
        read_pcap(path)
    with pytest.raises(FileNotFoundError):
        read_pcap(tmp_path / "absent.pcap")


@pytest.mark.parametrize("form", ["little", "nano, big", "ng", "ng, big", "ng, three interfaces"])
def test_of_a_capture_that_is_cut_off_anywhere_all_before_is_kept_and_the_cut_is_told(form: str) -> None:
    """At the end of a packet, and only there, a cut can't be seen."""
    data = FORMS[form]
    per_packet = [len(data) - size for size in _sizes_behind(data)]
    for length in range(4, len(data)):
        whole = sum(end <= length for end in per_packet)
        if not whole:
            refusal(data[:length])
            continue
        (record,) = read(data[:length])
        assert len(record.packets or ()) == whole
        cut = (f"{GAP}it is cut off after {whole} packet{'s' * (whole != 1)}.",)
        assert record.warnings == (() if length in per_packet else cut), length
        ends = "reached" if whole > 9 else "max_ttl" if length in per_packet else "interrupted"
        assert record.stop_reason == ends, length


def _sizes_behind(data: bytes) -> list[int]:
    """For each packet of a file, how many bytes are behind it."""
    order = ">" if data[:4] in (b"\xa1\xb2\xc3\xd4", b"\xa1\xb2\x3c\x4d") or data[8:12] == b"\x1a\x2b\x3c\x4d" else "<"
    behind = []
    if data[:4] == b"\x0a\x0d\x0d\x0a":
        at = 0
        while at < len(data):
            kind, length = struct.unpack_from(order + "II", data, at)
            at += length
            if kind == 6:
                behind.append(len(data) - at)
    else:
        at = 24
        while at < len(data):
            at += 16 + struct.unpack_from(order + "I", data, at + 8)[0]
            behind.append(len(data) - at)
    return behind


def test_packets_that_are_only_begun_are_left_out_and_told() -> None:
    timed = trace()
    long = error(timed[-2][1] + bytes(200))
    (record,) = read(pcap([*timed, (1.0, long)], snap=100))
    assert seen(record) == HOPS[4]
    assert record.warnings == (f"{GAP}only the beginning of 1 packet is in it (snapshot length).",)


def test_packets_of_other_links_are_left_out_and_told() -> None:
    timed = [pair for pair in trace() for _twice in (1, 2)]
    (record,) = read(pcapng(timed, (RAW, 105)))
    assert seen(record) == HOPS[4]
    (warning,) = record.warnings
    assert warning.startswith(f"{GAP}12 packets of link type 105 could not be read")


def test_packets_without_a_time_are_left_out_and_told() -> None:
    packet = trace()[0][1]
    body = struct.pack("<I", len(packet)) + packet
    block = struct.pack("<II", 3, 12 + len(body)) + body + struct.pack("<I", 12 + len(body))
    (record,) = read(pcapng(trace()) + block)
    assert record.warnings == (f"{GAP}it tells no time for 1 packet.",)


def test_a_damaged_block_ends_the_reading_and_is_told() -> None:
    data = FORMS["ng"]
    at = len(data) - _sizes_behind(data)[5]
    (record,) = read(data[: at - 4] + b"\xff" + data[at - 3 :])
    assert record.warnings == (f"{GAP}it is damaged after 5 packets.",)


@pytest.mark.parametrize(
    "data",
    [
        FORMS["ng"] + struct.pack("<II", 6, 0xFFFFFFF0),
        FORMS["little"] + struct.pack("<IIII", BASE, 0, 0xFFFFFFFF, 0xFFFFFFFF),
    ],
    ids=["ng", "pcap"],
)
def test_lengths_that_no_file_has_cost_nothing(data: bytes) -> None:
    (record,) = read(data)
    assert record.warnings == (f"{GAP}it is cut off after 12 packets.",)


def test_no_more_is_kept_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "MOST_KEPT", 8)
    (record,) = read(pcap(trace()))
    assert len(record.packets or ()) == 8
    assert record.stop_reason == "interrupted"
    assert record.warnings[0].startswith(f"{GAP}more than 100000 packets of traces, or very long ones, are in it")


# Reading: hostile bytes.


def survives(data: bytes) -> None:
    """The documented error, or records that are in order."""
    with contextlib.suppress(PcapError):
        for record in read(data):
            assert Trace.from_dict(record.to_dict()) == record


@pytest.mark.parametrize("name", sorted(path.name for path in CAPTURES.glob("*.pcap")))
def test_every_truncation_of_a_real_capture_is_survived(name: str) -> None:
    data = (CAPTURES / name).read_bytes()
    for length in range(len(data) + 1):
        survives(data[:length])


@settings(max_examples=500)
@given(
    magic=st.sampled_from([FORMS[form][:24] for form in ("little", "nano, big", "ng", "ng, big")]), data=st.binary(max_size=300)
)
def test_hostile_files_raise_nothing_but_the_documented_error(magic: bytes, data: bytes) -> None:
    survives(magic[:4] + data)
    survives(magic + data)


@settings(max_examples=500)
@given(family=st.sampled_from([4, 6]), data=st.data())
def test_hostile_packets_raise_nothing_but_the_documented_error(family: int, data: st.DataObject) -> None:
    """Packets of a trace with some bytes changed, at any time, in any order."""
    timed = trace(family)
    for _change in range(data.draw(st.integers(1, 6))):
        number = data.draw(st.integers(0, len(timed) - 1))
        packet = timed[number][1]
        at = data.draw(st.integers(0, len(packet) - 1))
        replaced = packet[:at] + data.draw(st.binary(max_size=4)) + packet[at + data.draw(st.integers(0, 4)) :]
        timed[number] = (data.draw(st.floats(0, 2**31)), replaced)
    survives(pcap(data.draw(st.permutations(timed))))


def test_thousands_of_damaged_files_are_survived() -> None:
    chance = random.Random(5)
    originals = [FORMS["little"], FORMS["ng"], FORMS["ng, three interfaces"], pcap(trace(6), COOKED)]
    for _case in range(2000):
        data = bytearray(chance.choice(originals))
        for _change in range(chance.randint(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        survives(bytes(data))


def test_what_is_wrong_with_a_file_is_told_once_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    refusal(FORMS["ng"][:40])
    read(FORMS["ng"][:-10])
    assert caplog.records == []


# Writing.


def with_packets(*data: bytes, started_at: str = "2023-11-14T22:13:20.250Z", every: float = 1.0015) -> Trace:
    packets = (Packet(number * every, "sent", base64.b64encode(packet).decode()) for number, packet in enumerate(data))
    return replace(EXAMPLE, started_at=started_at, packets=tuple(packets))


def written(*traces: Trace) -> bytes:
    file = io.BytesIO()
    write_pcap(traces, file)
    return file.getvalue()


def test_packets_are_written_as_raw_ip_of_both_versions_with_their_times() -> None:
    packets = probe(1, 5), probe(2, 4, family=6)
    expected = pcap([(0.25, packets[0]), (0.251002, packets[1])])
    assert written(with_packets(*packets)) == expected.replace(
        expected[:24], struct.pack("=IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    )


def test_several_traces_are_written_in_the_order_of_time() -> None:
    late, early = with_packets(probe(1, 5), probe(2, 4)), with_packets(probe(1, 9), started_at="2023-11-14T22:13:20.2505Z")
    assert written(late, early) == written(
        with_packets(probe(1, 5)),
        with_packets(probe(1, 9), started_at="2023-11-14T22:13:20.250500Z"),
        with_packets(probe(2, 4), started_at="2023-11-14T22:13:20.251002+00:00"),
    )


def test_a_path_and_an_open_file_are_written_alike(tmp_path: Path) -> None:
    record = with_packets(probe(1, 5), probe(2, 4))
    assert write_pcap(record, tmp_path / "one.pcap") == 2
    assert (tmp_path / "one.pcap").read_bytes() == written(record)


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (replace(EXAMPLE, packets=None), "The trace to web.example port 443 holds no packets: take it with evidence all"),
        (replace(EXAMPLE, packets=()), "The trace to web.example port 443 holds no packets: take it with evidence all"),
        (with_packets(probe(1, 5), started_at="yesterday"), "began at yesterday, which is no time in UTC of ISO 8601"),
        (with_packets(probe(1, 5), started_at="2023-11-14T22:13:20"), "which is no time in UTC of ISO 8601"),
        (with_packets(probe(1, 5), started_at="1969-12-31T23:59:59Z"), "a capture tells times from 1970 to 2106"),
        (with_packets(probe(1, 5), started_at="2107-01-01T00:00:00Z"), "a capture tells times from 1970 to 2106"),
        (with_packets(probe(1, 5), b""), r"holds no IP packet at packets\[1\].data"),
        (with_packets(b"\0\1\2"), r"holds no IP packet at packets\[0\].data"),
        (replace(EXAMPLE, packets=(Packet(0, "sent", "A"),)), r"holds no IP packet at packets\[0\].data"),
    ],
)
def test_a_trace_that_can_not_be_written_is_refused_before_a_file_is_touched(
    tmp_path: Path, record: Trace, sentence: str
) -> None:
    path = tmp_path / "kept.pcap"
    path.write_bytes(b"before")
    with pytest.raises(PcapError, match=sentence):
        write_pcap([with_packets(probe(1, 5)), record], path)
    assert path.read_bytes() == b"before"


@pytest.mark.parametrize("family", [4, 6])
def test_what_was_read_and_written_is_read_again(family: int) -> None:
    records = read(pcap([*trace(family), *trace(family, start=0.002, port=40002)]))
    assert [record.source_port for record in records] == [40001, 40002]
    assert read(written(*records)) == records


@pytest.mark.parametrize("family", [4, 6])
def test_wireshark_opens_what_is_written(tmp_path: Path, family: int) -> None:
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is not installed")
    path = tmp_path / "trace.pcap"
    write_pcap(read(pcap(trace(family))), path)
    checks = [word for name in ("ip", "tcp") for word in ("-o", f"{name}.check_checksum:TRUE")]
    fields = ["_ws.expert.message", "tcp.dstport", "_ws.malformed", "ip.checksum.status", "tcp.checksum.status"]
    shown = [word for field in fields for word in ("-e", field)]
    done = subprocess.run([tshark, "-r", path, *checks, "-T", "fields", *shown], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 12
    bad = "0"
    assert not [
        line for line in lines if line.split("\t")[2] or bad in "\t".join(line.split("\t")[3:]).replace(",", "\t").split("\t")
    ]
