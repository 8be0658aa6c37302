"""``trace()`` in another's process: one engine for all threads, gone with the last trace, and nothing of the caller's changed."""

from __future__ import annotations

import math
import os
import resource
import signal
import socket
import threading
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nornir_tcptraceroute import (
    OptionError,
    PrivilegeError,
    RouteError,
    Trace,
    TraceOptions,
    TransportError,
    trace,
    trace_many,
)
from nornir_tcptraceroute.probe import library
from nornir_tcptraceroute.probe.engine import Engine
from tests.unit.namespaces import isolated, privileged, unprivileged

from .silent_destination import ADDRESS, FOREVER, Seen, SilentDestination, raw_sockets

if TYPE_CHECKING:
    from collections.abc import Iterator


def engine_threads() -> list[threading.Thread]:
    """The threads that drive an engine."""
    return [thread for thread in threading.enumerate() if thread.name == "tcptraceroute"]


def wait_for_the_end() -> None:
    """The engine's thread ends by itself, but after the last trace was handed over."""
    for thread in engine_threads():
        thread.join(FOREVER)
    assert engine_threads() == []


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    before = descriptors()
    yield
    wait_for_the_end()
    assert descriptors() == before


def loopback(**keywords: Any) -> TraceOptions:
    return TraceOptions(destination="127.0.0.1", **{"names": "none", **keywords})


def silent(**keywords: Any) -> TraceOptions:
    """One probe to the silent destination, and patience for what the test does meanwhile."""
    return TraceOptions(destination=ADDRESS, **{"names": "none", "max_ttl": 1, "queries": 1, "wait": FOREVER, **keywords})


@privileged
def test_a_trace_is_returned() -> None:
    result = trace(loopback())
    assert (result.reached, result.port_state, result.stop_reason) == (True, "closed", "reached")
    assert [hop.address for hop in result.hops] == ["127.0.0.1"]
    assert trace(loopback(port=443)).port == 443


@isolated
def test_fifty_threads_share_one_engine() -> None:
    with SilentDestination() as there, ThreadPoolExecutor(50) as threads:
        traces = [threads.submit(trace, silent(port=port)) for port in range(1000, 1050)]
        probes = [there.next_probe() for _ in traces]
        # All are under way now.
        assert len({probe.source_port for probe in probes}) == 50
        assert raw_sockets() == 3
        assert len(engine_threads()) == 1
        assert not any(each.done() for each in traces)
        for probe in probes:
            there.refuse(probe)
        results = [each.result(FOREVER) for each in traces]
        asked = {probe.port: probe.source_port for probe in probes}
        for port, result in enumerate(results, 1000):
            assert (result.port, result.source_port) == (port, asked[port])
            assert (result.port_state, len(result.hops)) == ("closed", 1)
        wait_for_the_end()
        assert raw_sockets() == 0


@isolated
def test_a_forked_child_traces_by_itself() -> None:
    with SilentDestination() as there, ThreadPoolExecutor(1) as threads:
        result = threads.submit(trace, silent())
        probe = there.next_probe()
        before = descriptors()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            status = 1
            try:
                # Two raw receivers and a sender, the poll, the pipe's two ends, and the flow's port are the parent's.
                assert descriptors() == before - 7
                assert trace(loopback()).reached
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        there.refuse(probe)
        # What the child closed was its own.
        assert result.result(FOREVER).port_state == "closed"
        assert os.waitstatus_to_exitcode(status) == 0


@isolated
def test_ctrl_c_withdraws_the_trace() -> None:
    with SilentDestination() as there, ThreadPoolExecutor(1) as threads:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        seen = []

        def interrupt() -> None:
            seen.append(there.next_probe())
            os.kill(os.getpid(), signal.SIGINT)

        interrupting = threads.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            trace(silent())
        interrupting.result(FOREVER)
        wait_for_the_end()
        assert raw_sockets() == 0
        with socket.socket() as port:
            port.bind(("10.9.0.1", seen[0].source_port))
        assert trace(loopback()).reached


@privileged
def test_the_callers_process_stays_as_it_was() -> None:
    def state() -> tuple[list[str], list[Any], tuple[int, int], dict[str, str]]:
        lines = Path("/proc/self/status").read_text().splitlines()
        kept = [line for line in lines if line.startswith(("Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "SigBlk", "SigIgn"))]
        handlers = [signal.getsignal(number) for number in sorted(signal.valid_signals())]
        return kept, handlers, resource.getrlimit(resource.RLIMIT_NOFILE), dict(os.environ)

    before = state()
    trace(loopback())
    wait_for_the_end()
    assert state() == before


# What goes wrong reaches the caller, and leaves nothing behind that the next trace would meet.


@privileged
def test_a_request_that_can_not_be_leaves_the_engine_alone() -> None:
    with pytest.raises(RouteError):
        trace(loopback(interface="nosuch0"))
    assert engine_threads() == []
    assert trace(loopback()).reached


@unprivileged
def test_no_privilege_is_the_callers_exception() -> None:
    for _ in range(2):
        with pytest.raises(PrivilegeError, match="CAP_NET_RAW"):
            trace(loopback(method="raw"))
    assert engine_threads() == []


@privileged
def test_no_thread_to_be_had_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(TransportError, match=r"^No thread can be started to drive the trace \(can't start new thread\)"):
            trace(loopback())
    assert trace(loopback()).reached


@isolated
def test_an_engine_that_fails_tells_all_who_wait() -> None:
    with SilentDestination() as there, ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(trace, silent()) for _ in range(2)]
        probes = [there.next_probe() for _ in waiting]

        def fail(*_: object) -> None:
            raise ZeroDivisionError("made by the test")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Engine, "_receive", fail)
            there.refuse(probes[0])
            problems = [each.exception(FOREVER) for each in waiting]
        for problem in problems:
            assert isinstance(problem, TransportError)
            assert isinstance(problem.__cause__, ZeroDivisionError)
        wait_for_the_end()
        assert raw_sockets() == 0
        assert trace(loopback()).reached


@isolated
def test_names_come_with_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostbyaddr", lambda *_: ("one.example", [], []))
    result = trace(loopback(names="all"))
    assert isinstance(result, Trace)
    assert [hop.name for hop in result.hops] == ["one.example"]


@privileged
def test_traces_one_after_another_start_afresh() -> None:
    for _ in range(20):
        assert trace(loopback()).reached
    wait_for_the_end()
    assert library._shared._engine is None
    assert not library._shared._waiting


# Many at once.


@isolated
def test_many_traces_are_told_of_in_the_callers_thread_as_they_end() -> None:
    told: dict[int, object] = {}
    with SilentDestination() as there, ThreadPoolExecutor(1) as threads:

        def tell(request: TraceOptions, outcome: object) -> None:
            assert threading.current_thread().name.startswith("ThreadPoolExecutor")
            told[request.port] = outcome
            ended.release()

        ended = threading.Semaphore(0)
        requests = [*(silent(port=port) for port in range(1, 51)), loopback(interface="nosuch0", port=99)]
        calling = threads.submit(trace_many, requests, tell)
        probes = [there.next_probe() for _ in range(50)]
        assert ended.acquire(timeout=FOREVER)
        assert isinstance(told.pop(99), RouteError)
        assert raw_sockets() == 3
        assert len(engine_threads()) == 1
        for probe in probes:
            there.refuse(probe)
            assert ended.acquire(timeout=FOREVER)
        calling.result(FOREVER)
        assert {port: outcome.port_state for port, outcome in told.items() if isinstance(outcome, Trace)} == dict.fromkeys(
            range(1, 51), "closed"
        )


@isolated
def test_ctrl_c_ends_many_and_asks_for_no_more() -> None:
    with SilentDestination() as there, ThreadPoolExecutor(1) as threads:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        asked: list[TraceOptions] = []

        def endless() -> Iterator[TraceOptions]:
            while True:
                asked.append(silent(port=len(asked) + 1))
                yield asked[-1]

        def interrupt() -> None:
            for _ in range(5):
                there.next_probe()
            os.kill(os.getpid(), signal.SIGINT)

        interrupting = threads.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            trace_many(endless(), lambda *_: None, window=5)
        interrupting.result(FOREVER)
        wait_for_the_end()
        assert len(asked) == 5
        assert raw_sockets() == 0
        assert trace(loopback()).reached


@isolated
def test_what_the_callback_raises_ends_the_others() -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("made by the test")

    with SilentDestination(), pytest.raises(ZeroDivisionError):
        trace_many([silent(), loopback()], fail)
    wait_for_the_end()
    assert raw_sockets() == 0


@isolated
def test_of_the_rates_given_at_the_same_time_the_lowest_holds() -> None:
    with SilentDestination() as there, ThreadPoolExecutor(3) as threads:

        def begun(rate: float | None, port: int) -> tuple[Future[None], Seen]:
            calling = threads.submit(trace_many, [silent(port=port)], lambda *_: None, rate=rate)
            return calling, there.next_probe()

        def rate() -> float:
            assert library._shared._engine is not None
            return library._shared._engine.rate

        def ended(calling: Future[None], probe: Seen) -> None:
            there.refuse(probe)
            calling.result(FOREVER)

        polite = begun(None, 1)
        assert rate() == 5000
        fast = begun(math.inf, 2)
        assert rate() == math.inf
        slow = begun(50, 3)
        assert rate() == 50
        ended(*slow)
        assert rate() == math.inf
        ended(*fast)
        assert rate() == 5000
        ended(*polite)


@pytest.mark.parametrize("options", [{"rate": 0}, {"rate": "fast"}, {"window": 0}])
def test_what_is_out_of_bounds_is_refused_before_anything_is_asked_for(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        trace_many(iter(pytest.fail, None), lambda *_: None, **options)
    assert engine_threads() == []


@privileged
def test_many_traces_leave_the_callers_limits_alone() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 80, before[1]))
    try:
        within = resource.getrlimit(resource.RLIMIT_NOFILE)
        trace_many([loopback(port=port) for port in range(1, 101)], lambda _, outcome: told.append(outcome))
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == within
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert [outcome.reached for outcome in told if isinstance(outcome, Trace)] == [True] * 100
