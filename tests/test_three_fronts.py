"""The check command, the Nornir task and the Ansible module say the same of the same trace."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from nornir.core.inventory import Host

from nornir_tcptraceroute import Trace, TraceOptions
from nornir_tcptraceroute.analysis import Naming, explain, label
from nornir_tcptraceroute.analysis.baseline import record
from nornir_tcptraceroute.checks.check_file import read_checks
from nornir_tcptraceroute.checks.running import outcome_of
from nornir_tcptraceroute.plugins.tasks.expected import Expected as NornirExpected
from nornir_tcptraceroute.probe.errors import ResolveError
from tests.analysis.paths import path

pytest.importorskip("ansible", reason="one of the three fronts is Ansible's: pip install '.[test]'")
# By their names, as Ansible imports them.
PLUGINS = "ansible_collections.netprobe.path.plugins"
ansible_expected: Any = importlib.import_module(f"{PLUGINS}.plugin_utils.expected")
CollectionOptions: Any = importlib.import_module(f"{PLUGINS}.module_utils.probe.options").TraceOptions

REQUEST = TraceOptions(destination="web.example", port=443)
NETWORKS = {"dc1": ["10.0.1.0/24"], "dc2": ["10.0.2.0/24"]}
DEVICES = {"10.0.1.1": "core1"}
A, B, X = "10.0.1.1", "10.0.2.1", "10.0.9.1"

TRACES = {
    "known": path(A, B),
    "other": path(A, X),
    "longer": path(A, X, B),
    "silent": path(A, None, B),
    "balanced": path(A, [B, X]),
    "filtered": path(A, B, None, None, end=None),
    "refused": path(A, B, end="refused"),
    "closed": path(A, B, end="closed"),
    "adjacent": path(),
    "not_sent": path(A, end=None, stop_reason="error"),
    "ended_early": path(A, end=None, stop_reason="deadline"),
}
EXPECTATIONS: tuple[dict[str, Any], ...] = (
    {"reached": True, "port_state": "open", "max_rtt_ms": 1.5, "max_loss_pct": 0},
    {"reached": False, "port_state": ["filtered", "unreachable"]},
    {"transit": ["dc1", B], "ordered": ["core1", "dc2"], "forbidden": ["10.0.9.0/24"]},
    {"first_hop": "core1", "last_hop": "dc2", "min_hops": 2, "max_hops": 3},
    {"unmodified": True, "no_nat": True},
)


def by_check(trace: Trace | ResolveError, expect: dict[str, Any], file: Path) -> list[dict[str, Any]]:
    check = {**REQUEST.to_dict(), "name": "web", "expect": expect, "baseline": file.name}
    checks = file.with_name("checks.yaml")
    checks.write_text(json.dumps({"networks": NETWORKS, "devices": DEVICES, "checks": [check]}))
    read = read_checks(checks)
    outcome = outcome_of(read.checks[0], None, trace, read.naming, read.baselines)
    return [verdict.to_dict() for verdict in outcome.verdicts]


def by_nornir(trace: Trace | ResolveError, expect: dict[str, Any], file: Path) -> list[dict[str, Any]]:
    naming = Naming(NETWORKS, DEVICES)
    expected = NornirExpected(Host("alpha"), {"expect": expect, "baseline": str(file)}, [REQUEST], naming, alone=True)
    # As the task analyses what it has measured.
    measured = label(explain(trace), naming) if isinstance(trace, Trace) else trace
    return [verdict.to_dict() for verdict in expected.judgement(REQUEST, measured).verdicts]


def by_ansible(trace: Trace | ResolveError, expect: dict[str, Any], file: Path) -> list[dict[str, Any]]:
    told = {"expect": expect, "baseline": str(file)}
    requests = [CollectionOptions.from_dict(REQUEST.to_dict())]
    expected = ansible_expected.Expected(told, requests, Naming(NETWORKS, DEVICES), "alpha", str)

    def execute(asked: Sequence[Any]) -> dict[str, Any]:
        assert [request.to_dict() for request in asked] == [REQUEST.to_dict()]
        if isinstance(trace, Trace):
            return {"changed": False, "traces": [json.loads(json.dumps(trace.to_dict()))]}
        problem = {"destination": REQUEST.destination, "port": REQUEST.port, "msg": str(trace)}
        return {"failed": True, "msg": str(trace), "traces": [], "problems": [problem]}

    result = expected.result(execute, several=False)
    assert result["failed"] is any(verdict["outcome"] in {"failure", "error"} for verdict in result["verdicts"])
    return list(result["verdicts"])


def without_the_file(verdicts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each front calls the baseline's file as its user does."""
    return [{**verdict, "expected": None} if verdict["name"] == "baseline" else verdict for verdict in verdicts]


@pytest.mark.parametrize("expect", EXPECTATIONS, ids="_".join)
@pytest.mark.parametrize("name", [*TRACES, "no_trace"])
def test_the_fronts_agree(name: str, expect: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "known.yaml"
    file.write_text(record(TRACES["known"]).text())
    trace = TRACES.get(name, ResolveError("web.example does not resolve: check the name"))
    told = [without_the_file(front(trace, expect, file)) for front in (by_check, by_nornir, by_ansible)]
    assert [verdict["name"] for verdict in told[0]] == [*expect, "baseline"]
    assert told[0] == told[1] == told[2]


def test_the_table_has_every_outcome(tmp_path: Path) -> None:
    file = tmp_path / "known.yaml"
    file.write_text(record(TRACES["known"]).text())
    found = {
        verdict["outcome"] for trace in TRACES.values() for expect in EXPECTATIONS for verdict in by_check(trace, expect, file)
    }
    assert found == {"success", "failure", "error", "skipped"}
