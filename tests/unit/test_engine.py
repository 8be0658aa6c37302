"""The engine over a transport that refuses as a system does: pacing, clocks, send errors, interrupts."""

from __future__ import annotations

import errno
import os
import socket
import threading
from typing import Any, Dict, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_tcptraceroute.probe import engine as engine_module
from nornir_tcptraceroute.probe.engine import Engine, Event, _received_at
from nornir_tcptraceroute.probe.errors import TransportError
from nornir_tcptraceroute.probe.flow import open_flow
from nornir_tcptraceroute.probe.options import TraceOptions
from nornir_tcptraceroute.probe.pacing import Pacer
from nornir_tcptraceroute.probe.records import Trace
from nornir_tcptraceroute.probe.transports.raw import Received

from .descriptors import descriptors_left

SECOND = 1_000_000_000


class RefusingTransport:
    """Sends nothing, receives nothing, and refuses as ``refusals`` says, one error number (0 for none) for each try."""

    refusals: List[int] = []  # noqa: RUF012
    method = "raw"
    tries = 0

    def __init__(self, family: int) -> None:
        self.family = family
        self.dropped = 0
        self._pair = socket.socketpair()

    @property
    def receivers(self) -> Tuple[socket.socket, socket.socket]:
        return self._pair

    def listen(self, port: int) -> None:
        assert port > 0

    forget = listen

    def send(self, packet: bytes, address: str, source: str, device_index: int) -> None:
        assert packet
        assert (address, source, device_index) == ("127.0.0.1", "127.0.0.1", 0)
        kind = type(self)
        number = kind.refusals[kind.tries % len(kind.refusals)]
        kind.tries += 1
        if number:
            raise OSError(number, "refused")

    def receive(self, receiver: socket.socket) -> List[Received]:
        raise AssertionError("nothing arrives here: {}".format(receiver))

    def close(self) -> None:
        for each in self._pair:
            each.close()


def run(monkeypatch: pytest.MonkeyPatch, refusals: List[int], **options: Any) -> Tuple[Trace, List[Event]]:
    """Run a trace over a transport that refuses."""
    monkeypatch.setattr(RefusingTransport, "refusals", refusals)
    monkeypatch.setattr(RefusingTransport, "tries", 0)
    monkeypatch.setattr(engine_module, "RawTransport", RefusingTransport)
    traces: List[Trace] = []
    events: List[Event] = []
    asked: Dict[str, Any] = {"destination": "127.0.0.1", "max_ttl": 3, "queries": 1, "wait": 0.05, **options}
    with Engine() as engine:
        flow = open_flow(TraceOptions(**asked))
        engine.add(flow, traces.append, events.append)
        engine.run()
        assert engine.idle
        # The port is free again.
        with socket.socket() as again:
            again.bind((flow.source, flow.source_port))
    return traces[0], events


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.EAGAIN, errno.ENOMEM])
def test_a_full_queue_is_tried_again_and_is_no_error(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    trace, _ = run(monkeypatch, [number, number, 0])
    assert {reply.kind for hop in trace.hops for reply in hop.replies} == {"timeout"}
    assert trace.counters == {"sent": 3}


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENETUNREACH, errno.EMSGSIZE, errno.EACCES, errno.EINVAL, errno.ENOBUFS])
def test_what_the_system_refuses_is_told_by_its_name_and_ends_the_trace(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    trace, events = run(monkeypatch, [number], max_ttl=8)
    assert (trace.stop_reason, trace.port_state, trace.reached) == ("error", "unknown", False)
    replies = [reply for hop in trace.hops for reply in hop.replies]
    assert {(reply.kind, reply.error) for reply in replies} == {("send_error", errno.errorcode[number])}
    assert all(hop.loss is None for hop in trace.hops)
    assert [event.kind for event in events].count("send_error") == len(replies) == 3


def test_one_refused_probe_is_no_loss_and_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    trace, _ = run(monkeypatch, [0, errno.EPERM, 0])
    assert [hop.replies[0].kind for hop in trace.hops] == ["timeout", "send_error", "timeout"]
    assert trace.stop_reason == "max_ttl"


def test_an_interrupt_from_another_thread_ends_all_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RefusingTransport, "refusals", [0])
    monkeypatch.setattr(engine_module, "RawTransport", RefusingTransport)
    traces: List[Trace] = []
    sent = threading.Event()
    with Engine() as engine:
        for _ in range(3):
            flow = open_flow(TraceOptions(destination="127.0.0.1", wait=300, max_ttl=1))
            engine.add(flow, traces.append, lambda _event: sent.set())

        def interrupt() -> None:
            sent.wait()
            engine.interrupt()

        interrupter = threading.Thread(target=interrupt)
        interrupter.start()
        engine.run()
        interrupter.join()
    assert [trace.stop_reason for trace in traces] == ["interrupted"] * 3


def test_a_withdrawn_trace_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RefusingTransport, "refusals", [0])
    monkeypatch.setattr(engine_module, "RawTransport", RefusingTransport)
    traces: List[Trace] = []
    with Engine() as engine:
        patient = open_flow(TraceOptions(destination="127.0.0.1", wait=300))
        engine.add(patient, traces.append)
        engine.add(open_flow(TraceOptions(destination="127.0.0.1", wait=0.05, max_ttl=1, queries=1)), traces.append)
        engine.withdraw(patient)
        engine.run()
    assert sorted(trace.stop_reason for trace in traces) == ["interrupted", "max_ttl"]


# Wall clock at the read, stamp of the kernel (None: none), whether the wall clock was set meanwhile; expected age in seconds.
STAMPS: List[Tuple[int, Optional[int], bool, float]] = [
    (100 * SECOND, 100 * SECOND - 6_000_000, False, 0.006),
    (100 * SECOND, 100 * SECOND, False, 0.0),
    (100 * SECOND, None, False, 0.0),
    # The wall clock went back between stamp and read, or far ahead: the stamp is not used.
    (100 * SECOND, 101 * SECOND, False, 0.0),
    (100 * SECOND, 1 * SECOND, False, 0.0),
    (100 * SECOND, 100 * SECOND - 6_000_000, True, 0.0),
]


@pytest.mark.parametrize(("wall", "stamp", "stepped", "age"), STAMPS)
def test_the_kernels_stamp_becomes_a_time_of_the_monotonic_clock(
    wall: int,
    stamp: Optional[int],
    stepped: bool,  # noqa: FBT001
    age: float,
) -> None:
    assert _received_at(stamp, wall, 5000.0, stepped=stepped) == pytest.approx(5000.0 - age, abs=1e-9)


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=60), st.floats(1, 1000), st.integers(1, 50))
def test_a_pacer_never_lets_more_through_than_its_rate_and_burst(pauses: List[float], rate: float, burst: int) -> None:
    pacer, now, taken = Pacer(rate, burst), 0.0, []
    for pause in pauses:
        now += pause
        ready_at = pacer.next_at(now)
        assert ready_at >= now
        now = ready_at
        assert pacer.next_at(now) <= now + 1e-9
        pacer.take()
        taken.append(now)
    for first, start in enumerate(taken):
        for last, end in enumerate(taken[first:], first):
            assert last - first + 1 <= burst + (end - start) * rate + 1e-6


@pytest.mark.parametrize("left", [0, 1, 2])
def test_without_descriptors_an_engine_refuses_in_one_sentence_and_leaves_none_open(left: int) -> None:
    lowest = os.dup(1)
    os.close(lowest)
    with descriptors_left(left), pytest.raises(TransportError, match="No event loop can be had: Too many open files"):
        Engine()
    again = os.dup(1)
    os.close(again)
    assert again == lowest


def test_a_host_name_that_no_record_could_hold_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "r\u00f6uter\x1b[31m")
    trace, _ = run(monkeypatch, [0])
    assert trace.vantage == r"r\xc3\xb6uter\x1b\x5b31m"
    assert Trace.from_dict(trace.to_dict()) == trace


def test_a_closed_engine_can_still_be_interrupted() -> None:
    engine = Engine()
    engine.close()
    engine.interrupt()
