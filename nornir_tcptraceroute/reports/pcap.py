"""Captures: a trace's packets to a file that Wireshark opens, and traces out of a file that tcpdump, or this module, wrote."""

from __future__ import annotations

import os
import struct
import threading
from binascii import Error, a2b_base64
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from logging import LogRecord
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from scapy.data import MTU
from scapy.error import Scapy_Exception, log_runtime
from scapy.utils import RawPcapNgReader, RawPcapReader, RawPcapWriter

from ..probe.records import Trace
from .capture import LEAST_ORDINARY_TTL, MOST_KEPT, Captured, Traces

__all__ = ("PcapError", "read_pcap", "write_pcap")

#: Link type of packets that begin with their IP header, of either version.
_RAW = 101
_ETHERNET, _LINUX_COOKED, _LINUX_COOKED_2 = 1, 113, 276
#: Link types that can be read (their numbers in files, and those that some systems wrote for raw IP): how long the link's header
#: is, and where in it the type of what follows stands; None where it is always IP.
_LINKS: dict[int, tuple[int, int | None]] = {
    0: (4, None),  # BSD loopback
    _ETHERNET: (14, 12),
    12: (0, None),
    14: (0, None),
    _RAW: (0, None),
    108: (4, None),  # OpenBSD loopback
    _LINUX_COOKED: (16, 14),
    228: (0, None),
    229: (0, None),
    _LINUX_COOKED_2: (20, 0),
}
_READABLE = "Ethernet, Linux cooked, raw IP and BSD loopback"
_IP, _VLANS = {0x0800, 0x86DD}, {0x8100, 0x88A8, 0x9100}
#: Type of the block that a section of pcapng begins with, and the mark in it of one whose numbers have the highest byte first.
_SECTION, _SECTION_IN_BIG = b"\x0a\x0d\x0d\x0a", b"\x1a\x2b\x3c\x4d"
#: The first four bytes of what can be read: pcap of either byte order and with microseconds or nanoseconds, and pcapng.
_MAGIC = {b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x4d\x3c\xb2\xa1", _SECTION}
_GZIP = b"\x1f\x8b"
#: More than any block of a capture needs; what asks for more is no capture.
_LONGEST_BLOCK = 1 << 24
#: Seconds since 1970 that a capture of pcap's own form can tell.
_LAST_SECOND = (1 << 32) - 1
#: A capture of all of a host's interfaces holds a packet that passes several of them once for each, this close in time.
_SAME_PACKET_NS, _MOST_RECENT = 1_000_000, 64
#: So many link types that can't be read are told.
_LISTED = 5


class PcapError(ValueError):
    """A trace that can't be written as a capture, or a file that no trace can be read from: one sentence."""


def write_pcap(traces: Trace | Iterable[Trace], target: str | os.PathLike[str] | BinaryIO) -> int:
    """Write every packet of one or more traces as a capture in pcap form: raw IP of both versions, times in microseconds.

    Arguments:
        traces: taken with ``evidence: all``, so that they hold their packets.
        target: path of the file, which is replaced, or a file open for writing bytes.

    Returns:
        How many packets were written, in the order of their times.

    Raises:
        PcapError: a trace holds no packets, or is not one that a probe recorded; nothing was written.
        OSError: the file can't be written.
    """
    traces = [traces] if isinstance(traces, Trace) else list(traces)
    packets = sorted((packet for trace in traces for packet in _packets(trace)), key=lambda packet: packet.at_ns)
    if isinstance(target, (str, os.PathLike)):
        with Path(target).open("wb") as file:
            _write(packets, file)
    else:
        _write(packets, target)
    return len(packets)


def _packets(trace: Trace) -> Iterator[Captured]:
    shown = f"The trace to {trace.destination} port {trace.port}"
    if not trace.packets:
        raise PcapError(f"{shown} holds no packets: take it with evidence all")
    try:
        started = datetime.fromisoformat(trace.started_at.replace("Z", "+00:00"))
        started_ns = (started - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1) * 1000
    except (ValueError, TypeError):
        raise PcapError(f"{shown} began at {trace.started_at}, which is no time in UTC of ISO 8601") from None
    for index, packet in enumerate(trace.packets):
        at_ns = started_ns + round(packet.at_ms * 1e6)
        if not 0 <= at_ns // 1_000_000_000 <= _LAST_SECOND:
            raise PcapError(f"{shown} began at {trace.started_at}: a capture tells times from 1970 to 2106")
        try:
            data = a2b_base64(packet.data)
        except Error:
            data = b""
        if not data or data[0] >> 4 not in (4, 6) or len(data) > 65575:
            raise PcapError(f"{shown} holds no IP packet at packets[{index}].data: write what the probe recorded")
        yield Captured(at_ns, data)


def _write(packets: Iterable[Captured], file: BinaryIO) -> None:
    writer = RawPcapWriter(file, linktype=_RAW)
    writer.write_header(None)
    for packet in packets:
        microseconds = (packet.at_ns + 500) // 1000
        writer.write_packet(packet.data, sec=microseconds // 1_000_000, usec=microseconds % 1_000_000)
    writer.flush()


def read_pcap(source: str | os.PathLike[str] | BinaryIO) -> list[Trace]:
    """Rebuild the TCP traces of a capture that was taken where their probes left, whatever tool sent them.

    A probe is a TCP segment of a flow that begins with a TTL below 32. Probes of one source port are one trace where they have
    several TTLs; others to the same destination and port are one as long as no pause of 10 s is between them. Each probe is a
    query, in the order of sending; each answer is matched as the probe does it. What a capture can't tell: ``destination`` is the
    address, ``vantage`` the source address, ``method`` is ``capture``, ``interface`` None, ``stop_reason`` is ``reached``,
    ``unreachable``, or else ``max_ttl`` (``interrupted`` where the capture is cut off), ``attempts`` 1 and ``late`` False, and no
    address has a name. Traces of a capture that is cut off or damaged, or holds packets that can't be read, say so in
    ``warnings``.

    Arguments:
        source: path of a capture in pcap or pcapng form, or a file open for reading bytes.

    Returns:
        The traces in the order of their first probes, each with all its packets; at least one.

    Raises:
        PcapError: it is no capture, or one of other links, or holds no TCP trace.
        OSError: the file can't be read.
    """
    if isinstance(source, (str, os.PathLike)):
        with Path(source).open("rb") as file:
            return _read(file, os.fspath(source))
    return _read(source, "The capture")


class _Stream:
    """A file as Scapy's readers take it: no read is longer than a block may be, and how the file ended is remembered.

    Attributes:
        short: whether it ended inside what was to be read, or that was more than any block.
    """

    def __init__(self, file: BinaryIO, begun: bytes) -> None:
        self.short = False
        self._file = file
        self._begun = begun
        self._at = self._block = 0
        self._head = b""
        self._order: Literal["big", "little"] = "big"

    def read(self, size: int) -> bytes:
        if size > _LONGEST_BLOCK:
            self.short = True
            return b""
        data, self._begun = self._begun[:size], self._begun[size:]
        while len(data) < size:
            more = self._file.read(size - len(data))
            if not more:
                self.short = self.short or bool(data)
                break
            data += more
        # No read goes beyond the end of a block.
        if data and self._at == self._block_end():
            self._block, self._head = self._at, b""
        self._head = (self._head + data)[:12]
        self._at += len(data)
        return data

    def _block_end(self) -> int | None:
        """Where the block of pcapng ends that is being read: it begins with its type and length, a section's with a mark, too."""
        kind, length, magic = self._head[:4], self._head[4:8], self._head[8:]
        if kind == _SECTION and len(magic) == 4:
            self._order = "big" if magic == _SECTION_IN_BIG else "little"
        if len(length) < 4 or (kind == _SECTION and len(magic) < 4):
            return None
        return self._block + int.from_bytes(length, self._order)

    def ended(self) -> bool:
        """Whether nothing follows."""
        return not self._begun and not self._file.read(1)

    def ended_inside_block(self) -> bool:
        """Whether a file in pcapng form ended where no block does."""
        return self._at != self._block_end()

    def close(self) -> None:
        """Leave the file to its owner."""


class _Frame(NamedTuple):
    """A packet as the file holds it; ``at_ns`` is None where it tells no time. ``length`` is that on the wire."""

    at_ns: int | None
    link_type: int
    length: int
    data: bytes


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep what Scapy logs of a file that is not in order off the streams: it is told by an error or by the traces' warnings."""
    thread = threading.get_ident()

    def of_others(record: LogRecord) -> bool:
        return record.thread != thread

    log_runtime.addFilter(of_others)
    try:
        yield
    finally:
        log_runtime.removeFilter(of_others)


def _read(file: BinaryIO, shown: str) -> list[Trace]:
    begun = file.read(4)
    if not begun:
        raise PcapError(f"{shown} is empty: nothing was captured into it")
    if begun[:2] == _GZIP:
        raise PcapError(f"{shown} is compressed: unpack it with gunzip")
    if begun not in _MAGIC:
        raise PcapError(f"{shown} is no capture in pcap or pcapng form")
    stream = _Stream(file, begun)
    reading = _Reading(stream)
    with _quietly():
        reading.run()
    warnings = [f"The capture is not whole: {'; '.join(reading.gaps)}."] if reading.gaps else []
    traces = reading.traces.traces(warnings, cut=reading.cut)
    if not traces:
        raise PcapError(f"{shown} holds no TCP trace: {reading.explanation()}")
    return traces


class _Reading:
    """One capture on its way to traces, and what could not be read of it.

    Attributes:
        traces: what was found so far.
        gaps: what is missing, each the end of a sentence.
        cut: whether the end of the capture is missing.
    """

    def __init__(self, stream: _Stream) -> None:
        self.traces = Traces()
        self.gaps: list[str] = []
        self.cut = False
        self._stream = stream
        self._frames = self._incomplete = self._untimed = 0
        self._foreign: Counter[int] = Counter()
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=_MOST_RECENT)

    def run(self) -> None:
        """Read to the end, or to where nothing more can be read."""
        # Scapy takes any object with a method ``read``, and says that it takes names of files.
        stream: Any = self._stream
        try:
            reader = RawPcapReader(stream)
        except Scapy_Exception:
            self._stop("it is cut off, or damaged, in its first header")
            return
        damaged = False
        try:
            for frame in _frames(reader):
                self._frames += 1
                self._take(frame)
                if self.traces.full:
                    self._stop(
                        f"more than {MOST_KEPT} packets of traces, or very long ones, are in it, and only the first were read"
                    )
                    break
        except (Scapy_Exception, ArithmeticError, EOFError, ValueError, struct.error):
            damaged = True
        if not self.cut:
            self._look_at_the_end(reader, damaged=damaged)
        self._tell_left_out()

    def _look_at_the_end(self, reader: RawPcapReader, *, damaged: bool) -> None:
        """Scapy's readers stop at anything that is not in order as they do at the end of the file."""
        stream = self._stream
        after = f"after {_number(self._frames)}"
        if not stream.short and not stream.ended():
            self._stop(f"it is damaged {after}")
        elif stream.short or damaged or (isinstance(reader, RawPcapNgReader) and stream.ended_inside_block()):
            self._stop(f"it is cut off {after}")

    def _stop(self, why: str) -> None:
        self.cut = True
        self.gaps.append(why)

    def _tell_left_out(self) -> None:
        if self._incomplete:
            self.gaps.append(f"only the beginning of {_number(self._incomplete)} is in it (snapshot length)")
        if self._untimed:
            self.gaps.append(f"it tells no time for {_number(self._untimed)}")
        if self._foreign:
            kinds = ", ".join(map(str, sorted(self._foreign)[:_LISTED]))
            count = _number(self._foreign.total())
            self.gaps.append(f"{count} of link type {kinds} could not be read, as {_READABLE} can")

    def _take(self, frame: _Frame) -> None:
        if frame.link_type not in _LINKS:
            self._foreign[frame.link_type] += 1
            return
        packet = _ip_packet(frame)
        if not packet:
            return
        if len(frame.data) < frame.length and _is_cut(packet):
            self._incomplete += 1
        elif frame.at_ns is None or not 0 <= frame.at_ns // 1_000_000_000 <= _LAST_SECOND:
            self._untimed += 1
        elif frame.link_type not in (_LINUX_COOKED, _LINUX_COOKED_2) or not self._seen(frame.at_ns, packet):
            self.traces.add(Captured(frame.at_ns, packet))

    def _seen(self, at_ns: int, packet: bytes) -> bool:
        """Whether the same packet was there just before, on another interface."""
        if any(abs(at_ns - then) <= _SAME_PACKET_NS and packet == other for then, other in self._recent):
            return True
        self._recent.append((at_ns, packet))
        return False

    def explanation(self) -> str:
        """Why there is no trace in it, as the end of a sentence."""
        return "; ".join(self.gaps) or (
            f"none of its packets begins a TCP flow with a TTL below {LEAST_ORDINARY_TTL}; "
            "capture where the probes leave, and let TCP and ICMP through the filter"
        )


def _number(packets: int) -> str:
    return "1 packet" if packets == 1 else f"{packets} packets"


def _frames(reader: RawPcapReader) -> Iterator[_Frame]:
    if isinstance(reader, RawPcapNgReader):
        blocks: Iterator[Any] = iter(reader)
        for data, block in blocks:
            at_ns = None if block.tshigh is None else (block.tshigh << 32 | block.tslow) * 1_000_000_000 // block.tsresol
            yield _Frame(at_ns, block.linktype, block.wirelen, data)
    else:
        # The upper bits tell of checksums behind Ethernet frames, which the length in the IP header cuts off.
        link_type, factor = reader.linktype & 0xFFFF, 1 if reader.nano else 1000
        for data, record in reader:
            if len(data) < min(record.caplen, MTU):
                raise EOFError
            yield _Frame(record.sec * 1_000_000_000 + record.usec * factor, link_type, record.wirelen, data)


def _ip_packet(frame: _Frame) -> bytes:
    """What follows the link's header, where it is IP; else nothing."""
    start, at = _LINKS[frame.link_type]
    data = frame.data
    if at is None:
        return data[start:]
    kind = int.from_bytes(data[at : at + 2], "big")
    while kind in _VLANS and len(data) >= start + 4:
        kind = int.from_bytes(data[start + 2 : start + 4], "big")
        start += 4
    return data[start:] if kind in _IP else b""


def _is_cut(packet: bytes) -> bool:
    """Whether a packet is shorter than its header says, so that more than padding is missing."""
    if len(packet) < 20:
        return True
    if packet[0] >> 4 == 6:
        return len(packet) < 40 or 40 + int.from_bytes(packet[4:6], "big") > len(packet)
    return int.from_bytes(packet[2:4], "big") > len(packet)
