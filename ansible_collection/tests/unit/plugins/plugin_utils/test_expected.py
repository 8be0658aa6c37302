# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a task expects of its traces, with a host that answers from a list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.netprobe.path.plugins.module_utils.probe.errors import OptionError
from ansible_collections.netprobe.path.plugins.module_utils.probe.options import TraceOptions
from ansible_collections.netprobe.path.plugins.module_utils.probe.records import Hop, ProbeShape, Reply, RoundTrip, Trace
from ansible_collections.netprobe.path.plugins.plugin_utils.analysis import naming_of
from ansible_collections.netprobe.path.plugins.plugin_utils.expected import UNJUDGED, Expected

pytestmark = pytest.mark.skipif(bool(UNJUDGED), reason=UNJUDGED)

WEB, MAIL = (TraceOptions(destination="db", port=port) for port in (443, 25))


def record(request: TraceOptions, state: str = "open", router: str = "10.1.0.1") -> dict[str, Any]:
    end = (Reply(1, "tcp", "192.0.2.80", rtt_ms=2.0, tcp_flags="SYN,ACK"),) if state == "open" else (Reply(1, "timeout"),)
    hops = [
        Hop(1, router, (router,), None, (Reply(1, "time_exceeded", router, rtt_ms=1.0),), RoundTrip.of([1.0]), 0.0),
        Hop(2, end[0].address, (end[0].address,) if end[0].address else (), None, end, None, 0.0 if end[0].address else 1.0),
    ]
    shape = ProbeShape("SYN", "none", 40, 0, False)
    reached = state == "open"
    told = ("db", "192.0.2.80", 4, request.port, "v", "10.0.0.1", 5, None, "raw", shape, "2026-01-01T00:00:00.000Z", 1.0)
    trace = Trace(*told, reached, state, "reached" if reached else "max_ttl", tuple(hops), {})
    return {**trace.to_dict(), "warnings": ["it is a test"]}


class Host:
    """Gives one answer after the other, and keeps what it was asked for."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.asked: list[list[int]] = []
        self._answers = list(answers)

    def execute(self, requests: Sequence[TraceOptions]) -> dict[str, Any]:
        self.asked.append([request.port for request in requests])
        return self._answers.pop(0)


def expected(*requests: TraceOptions, **told: Any) -> Expected:
    return Expected(told, requests or (WEB,), naming_of({}, {}), "alpha", str)


def test_only_what_is_not_met_is_measured_again() -> None:
    host = Host(
        {"traces": [record(WEB), record(MAIL, "filtered")], "changed": False},
        {"failed": True, "msg": "no privilege"},
        {"traces": [record(MAIL)], "changed": False, "warnings": ["of the task"]},
    )
    wanted = expected(WEB, MAIL, expect={"port_state": "open"}, retries="5", delay=0)
    result = wanted.result(host.execute, several=True)
    assert host.asked == [[443, 25], [25], [25]]
    assert [(trace["port"], trace["attempts"], trace["outcome"]) for trace in result["traces"]] == [
        (443, 1, "success"),
        (25, 3, "success"),
    ]
    assert (result["failed"], result["changed"], result["warnings"]) == (False, False, ["of the task"])


def test_a_module_that_fails_is_an_error_with_its_own_words() -> None:
    host = Host({"failed": True, "msg": "raw sockets need CAP_NET_RAW", "module_stderr": "why"})
    result = expected(expect={"reached": True}).result(host.execute, several=False)
    assert (result["failed"], result["msg"], result["outcome"]) == (True, "raw sockets need CAP_NET_RAW", "error")
    assert result["module_stderr"] == "why"


def test_a_trace_that_nobody_asked_for_is_none() -> None:
    result = expected(expect={"reached": True}).result(Host({"traces": [record(MAIL)]}).execute, several=False)
    assert result["msg"].startswith("the trace that came back is not the one that was asked for")


def test_a_record_of_another_form_is_an_error() -> None:
    result = expected(expect={"reached": True}).result(Host({"traces": [{**record(WEB), "schema": 2}]}).execute, several=False)
    assert (result["outcome"], "have to be of one version" in result["msg"]) == ("error", True)


def test_the_warnings_of_one_trace_are_those_of_the_task() -> None:
    result = expected(expect={"reached": True}).result(Host({"traces": [record(WEB)], "warnings": ["a"]}).execute, several=False)
    assert result["warnings"] == ["a", "it is a test"]


def test_a_baseline_is_kept_and_compared(tmp_path: Path) -> None:
    told = {"baseline": f"{tmp_path}/{{host}}-{{port}}.yaml"}
    first = expected(baseline_action="record", **told).result(Host({"traces": [record(WEB)]}).execute, several=False)
    assert (first["changed"], first["diff"]["before"]) == (True, "")
    assert first["diff"]["after"] == (tmp_path / "alpha-443.yaml").read_text()
    other = expected(**told).result(Host({"traces": [record(WEB, router="10.9.0.1")]}).execute, several=False)
    assert (other["changed"], other["failed"]) == (False, True)
    assert other["msg"] == "db port 443 is not as expected: baseline: hop 1 is 10.9.0.1, not 10.1.0.1"
    with pytest.raises(OptionError, match="is of db port 443, not of db port 25"):
        expected(MAIL, baseline=f"{tmp_path}/alpha-443.yaml")


def test_a_block_is_located_with_all_the_traces_that_it_takes() -> None:
    working, blocked = record(WEB), record(MAIL, "filtered")
    # The second time, the port that seems to be dropped is alone.
    host = Host({"traces": [working, blocked]}, {"traces": [blocked]})
    result = expected(MAIL, locate_block={"working_port": "443"}).result(host.execute, several=False)
    assert sorted(host.asked[0]) == [25, 443]
    assert (result["port"], result["working"]["port"], result["failed"]) == (25, 443, False)
    assert result["block"]["sentence"]
    assert "verdicts" not in result
