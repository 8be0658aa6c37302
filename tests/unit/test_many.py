"""A stream of requests: what is open at a time, who waits for whom, and how it ends, with an engine that does as it is told."""

from __future__ import annotations

import resource
import threading
from contextlib import contextmanager
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, List, Optional, Tuple

import pytest

from nornir_tcptraceroute.probe.errors import OptionError, ProbeError, ResolveError, TransportError
from nornir_tcptraceroute.probe.many import Stream, affordable_window, families_of, window_for
from nornir_tcptraceroute.probe.options import TraceOptions
from nornir_tcptraceroute.probe.records import Trace
from tests.cli.replies import trace as record

if TYPE_CHECKING:
    from nornir_tcptraceroute.probe.flow import Flow
    from nornir_tcptraceroute.probe.tracer import Event

#: Longer than anything here may take.
FOREVER = 60.0
TRACE = record()


class OpenedFlow:
    """A flow without a port."""

    def __init__(self, request: TraceOptions) -> None:
        self.request = request
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Engine:
    """Remembers what was added; the test ends it. ``ends_at_once`` does so itself."""

    def __init__(self, *, ends_at_once: bool = False) -> None:
        self.ends_at_once = ends_at_once
        self.open: dict[OpenedFlow, Callable[[Any], None]] = {}
        self.changed = threading.Condition()
        self.added = 0
        self.most = 0
        self.holders = 0
        self.refusal: Optional[ProbeError] = None

    def add(
        self,
        flow: Flow,
        on_trace: Callable[[Trace], None],
        on_event: Optional[Callable[[Event], None]] = None,  # noqa: ARG002 -- no test here has events
        on_refused: Optional[Callable[[ProbeError], None]] = None,  # noqa: ARG002 -- nor sockets
    ) -> None:
        if self.refusal is not None:
            raise self.refusal
        with self.changed:
            self.open[flow] = on_trace  # type: ignore[index]
            self.added += 1
            self.most = max(self.most, len(self.open))
            self.changed.notify_all()
        if self.ends_at_once:
            self.withdraw(flow)

    def end_one(self) -> None:
        with self.changed:
            flow = next(iter(self.open))
        self.withdraw(flow)  # type: ignore[arg-type]

    def withdraw(self, flow: Flow) -> None:
        with self.changed:
            on_trace = self.open.pop(flow, None)  # type: ignore[call-overload]
        if on_trace is not None:
            on_trace(TRACE)

    def wait_for(self, wanted: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(wanted, FOREVER)

    def hold(self) -> None:
        self.holders += 1

    def release(self) -> None:
        self.holders -= 1


def requests(number: int = 1_000_000_000, **keywords: Any) -> Iterator[TraceOptions]:
    """Requests for addresses, none twice, and names of no hops."""
    return (
        TraceOptions(destination="198.18.{}.{}".format(n // 250, n % 250 + 1), names="none", **keywords)
        for n in islice(count(), number)
    )


@contextmanager
def streaming(
    asked: Iterable[TraceOptions], engine: Engine, **keywords: Any
) -> Iterator[Tuple[Stream, List[Tuple[TraceOptions, Any]], threading.Thread]]:
    """A stream with a thread that collects its outcomes."""
    stream = Stream(asked, engine, **{"opening": OpenedFlow, **keywords})
    told: List[Tuple[TraceOptions, Any]] = []
    collecting = threading.Thread(target=lambda: told.extend(stream.outcomes()))
    stream.start()
    collecting.start()
    try:
        yield stream, told, collecting
    finally:
        stream.stop()
        collecting.join(FOREVER)
        assert not collecting.is_alive()
        assert engine.holders == 0


def test_all_are_told_of_and_no_more_are_open_than_the_window_holds() -> None:
    engine = Engine()
    with streaming(requests(100), engine, window=7) as (_stream, told, collecting):
        for ended in range(100):
            engine.wait_for(lambda: engine.added == min(100, ended + 7))  # noqa: B023 -- called before the loop goes on
            engine.end_one()
        collecting.join(FOREVER)
        assert engine.most == 7
        assert [request.destination for request, _ in told] == [request.destination for request in requests(100)]
        assert all(outcome is TRACE for _, outcome in told)


def test_no_request_is_asked_for_before_there_is_a_place() -> None:
    engine = Engine()
    asked = []
    source = requests()

    def watched() -> Iterator[TraceOptions]:
        for request in source:
            asked.append(request)
            yield request

    with streaming(watched(), engine, window=3):
        engine.wait_for(lambda: engine.added == 3)
        assert len(asked) == 3


def test_an_empty_stream_ends() -> None:
    with streaming([], Engine()) as (_stream, told, collecting):
        collecting.join(FOREVER)
        assert told == []


def test_a_name_that_does_not_resolve_holds_nobody_up_and_is_told_in_its_place() -> None:
    engine = Engine(ends_at_once=True)
    go_on, threads = threading.Event(), set()

    def opening(request: TraceOptions) -> Any:
        if request.destination.startswith("slow"):
            threads.add(threading.current_thread())
            assert go_on.wait(FOREVER)
            raise ResolveError(request.destination)
        return OpenedFlow(request)

    slow = [TraceOptions(destination="slow{}".format(number), names="none") for number in range(5)]
    with streaming([*slow, *requests(50)], engine, opening=opening) as (_stream, told, collecting):
        engine.wait_for(lambda: engine.added == 50)
        go_on.set()
        collecting.join(FOREVER)
        problems = [str(outcome) for _, outcome in told if isinstance(outcome, ResolveError)]
        assert sorted(problems) == [request.destination for request in slow]
        assert len(told) == 55
        assert len(threads) == 5


def test_resolvers_are_asked_in_sixteen_threads_at_most() -> None:
    engine = Engine(ends_at_once=True)
    # The first sixteen requests go on when there are sixteen threads to wait here, and no earlier.
    here, first, threads = threading.Barrier(16), iter(range(16)), set()

    def opening(request: TraceOptions) -> Any:
        threads.add(threading.current_thread())
        if next(first, None) is not None:
            here.wait(FOREVER)
        return OpenedFlow(request)

    names = [TraceOptions(destination="name{}".format(number), names="none") for number in range(100)]
    with streaming(names, engine, opening=opening) as (_stream, told, collecting):
        collecting.join(FOREVER)
        assert len(told) == 100
        assert len(threads) == 16


def test_addresses_need_one_thread() -> None:
    engine, threads = Engine(ends_at_once=True), set()

    def opening(request: TraceOptions) -> Any:
        threads.add(threading.current_thread())
        return OpenedFlow(request)

    with streaming(requests(200), engine, opening=opening) as (_stream, _told, collecting):
        collecting.join(FOREVER)
        assert len(threads) == 1


def test_a_stop_ends_what_is_open_and_asks_for_no_more() -> None:
    engine = Engine()
    with streaming(requests(), engine, window=5) as (stream, told, collecting):
        engine.wait_for(lambda: engine.added == 5)
        stream.stop()
        stream.stop()
        collecting.join(FOREVER)
        assert len(told) == 5
        assert not engine.open
        assert engine.added == 5


def test_a_stop_waits_for_no_resolver() -> None:
    engine, asked, go_on = Engine(), threading.Event(), threading.Event()
    flows = []

    def opening(request: TraceOptions) -> Any:
        asked.set()
        assert go_on.wait(FOREVER)
        flows.append(OpenedFlow(request))
        return flows[-1]

    with streaming([TraceOptions(destination="slow")], engine, opening=opening) as (stream, told, collecting):
        assert asked.wait(FOREVER)
        stream.stop()
        collecting.join(FOREVER)
        assert told == []
        assert engine.holders == 0
        go_on.set()
        for thread in threading.enumerate():
            if thread.name == "tcptraceroute-opening":
                thread.join(FOREVER)
        # What was resolved too late is not begun.
        assert [flow.closed for flow in flows] == [True]
        assert engine.added == 0


def test_what_the_engine_refuses_is_told_in_its_place() -> None:
    engine = Engine()
    engine.refusal = TransportError("no socket")
    with streaming(requests(3), engine) as (_stream, told, collecting):
        collecting.join(FOREVER)
        assert [str(outcome) for _, outcome in told] == ["no socket"] * 3


@pytest.mark.parametrize("window", [1, 2, 100])
def test_what_the_iterator_raises_is_raised_when_all_that_had_begun_is_told(window: int) -> None:
    def failing() -> Iterator[TraceOptions]:
        yield from requests(5)
        raise ZeroDivisionError("made by the test")

    engine = Engine(ends_at_once=True)
    stream = Stream(failing(), engine, window=window, opening=OpenedFlow)  # type: ignore[arg-type]
    stream.start()
    outcomes = stream.outcomes()
    assert len(list(islice(outcomes, 5))) == 5
    with pytest.raises(ZeroDivisionError):
        next(outcomes)
    assert engine.holders == 0


def test_no_thread_to_be_had_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    engine = Engine()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(
        TransportError, match=r"^No thread can be started to open traces \(can't start new thread\): end some first$"
    ):
        Stream(requests(), engine).start()
    assert engine.holders == 0


@pytest.mark.parametrize(
    ("limit", "window", "method", "expected"),
    [
        (1_000_000, 1000, "raw", range(1000, 1001)),
        (300, 1000, "raw", range(100, 237)),
        (300, 10, "raw", range(10, 11)),
        (300, 1000, "connect", range(3, 8)),
        (20, 1000, "raw", range(1, 2)),
        (resource.RLIM_INFINITY, 10_000, "raw", range(10_000, 10_001)),
    ],
)
def test_the_window_keeps_within_the_limit_of_open_files(
    monkeypatch: pytest.MonkeyPatch, limit: int, window: int, method: str, expected: range
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert affordable_window(window, method) in expected


@pytest.mark.parametrize(("rate", "window"), [(1, 10), (50, 10), (500, 100), (5000, 1000), (100_000, 1000), (float("inf"), 1000)])
def test_a_low_rate_opens_few_traces(rate: float, window: int) -> None:
    assert window_for(rate) == window


@pytest.mark.parametrize("window", [0, -1, 10_001, True, 1.5, "5"])
def test_a_window_out_of_bounds_is_refused(window: Any) -> None:
    with pytest.raises(OptionError, match=r"^window: .* is not between 1 and 10000 traces$"):
        affordable_window(window)


@pytest.mark.parametrize(
    ("options", "families"),
    [
        ({"destination": "192.0.2.1"}, (4,)),
        ({"destination": "fe80::1%eth0"}, (6,)),
        ({"destination": "name"}, (4, 6)),
        ({"destination": "name", "family": 6}, (6,)),
        ({"destination": "name", "source": "192.0.2.1"}, (4,)),
        ({"destination": "name", "source": "source"}, (4, 6)),
    ],
)
def test_the_versions_that_a_trace_may_turn_out_to_have(options: Any, families: Tuple[int, ...]) -> None:
    assert families_of(TraceOptions(**options)) == families
