"""Progress, files, tables and NAPALM's schema, from results of real runs."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nornir.core.inventory import Host
from nornir.core.processor import Processor
from rich.console import Console

from nornir_tcptraceroute import Trace
from nornir_tcptraceroute.lab import Lab
from nornir_tcptraceroute.plugins.functions import print_traceroute, to_napalm
from nornir_tcptraceroute.plugins.processors import SaveTraces, TraceProgress
from nornir_tcptraceroute.plugins.tasks import TracerouteResult
from tests.nornir.conftest import Run

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = [sys.executable, "examples/trace_fleet.py", "examples/inventory/config.yaml", "service", "443", "25", "--connection"]

PROGRESS = """
import io, sys
from nornir.core import Nornir
from nornir.core.exceptions import NornirExecutionError
from nornir.core.inventory import Defaults, Groups, Host, Hosts, Inventory
from nornir.plugins.runners import ThreadedRunner
from rich.console import Console
from nornir_tcptraceroute.plugins.processors import TraceProgress
from nornir_tcptraceroute.plugins.tasks import tcptraceroute

names = {"service": "service", "core": "core", "nowhere": "nowhere.invalid"}
hosts = Hosts({name: Host(name=name, hostname=hostname) for name, hostname in names.items()})
shown = io.StringIO()
seen = []

class Watching(TraceProgress):
    def trace_event(self, task, host, request, event):
        super().trace_event(task, host, request, event)
        with self._lock:
            row = self._rows[host.name]
            seen.append((host.name, row.ttl, row.hop))

nornir = Nornir(inventory=Inventory(hosts=hosts, groups=Groups(), defaults=Defaults()), runner=ThreadedRunner(num_workers=3))
raised = False
with Watching(Console(file=shown, force_terminal=True, width=100)) as progress:
    try:
        nornir.with_processors([progress]).run(task=tcptraceroute, raise_on_error=True, names="none", family=4)
    except NornirExecutionError:
        raised = True
assert raised
assert progress._live is None
assert shown.getvalue().endswith("\\x1b[?25h") or "\\x1b[?25h" in shown.getvalue()
last = {name: (ttl, hop) for name, ttl, hop in seen}
print(last["service"][1], last["core"][1])
"""


@pytest.fixture(scope="module")
def result(run_on_controller: Run) -> Any:
    hosts = {
        "open": {"hostname": "service"},
        "filtered": {"hostname": "service", "data": {"tcptraceroute": {"port": 25}}},
        "failed": {"hostname": "nowhere.invalid"},
    }
    return run_on_controller(hosts, max_ttl=9, wait=0.3, family=4, names="all")


def test_processors_are_what_nornir_takes() -> None:
    listed: list[Processor] = [SaveTraces("x"), TraceProgress()]
    assert len(listed) == 2


def test_progress_shows_hops_and_leaves_a_clean_terminal_after_raise_on_error(fleet: Lab) -> None:
    ended = fleet.run("controller", [sys.executable, "-c", PROGRESS], timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == [fleet.truth.path("controller", node, family=4).addresses[-1] for node in ("service", "core")]


@pytest.mark.parametrize("rich", [True, False], ids=["rich", "plain"])
def test_tables_show_every_hop(
    result: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, rich: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    if not rich:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # noqa: ARG005
    print_traceroute(result)
    told = capsys.readouterr().out
    assert ("│" in told) == rich
    for hop in result["open"][0].trace.hops:
        assert any(hop.address in line and hop.name in line for line in told.splitlines())
    assert "open: service (" in told
    assert "not reached, filtered, 9 hops" in told
    assert "-9" in told
    assert "failed: nowhere.invalid" in told
    print_traceroute(result, only_failed=True)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_hostile_names_cannot_give_orders_to_the_terminal(result: Any, capsys: pytest.CaptureFixture[str]) -> None:
    # No record can hold these; should one ever, the last line of defence is here.
    trace = result["open"][0].trace
    hops = (replace(trace.hops[0], name="\x1b[2J[red]evil"), *trace.hops[1:])
    single = TracerouteResult(Host(name="h"), "x", 1, replace(trace, destination="x\x1b]0;title\x07", hops=hops))
    print_traceroute(single)
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "\\x1b[2J[red]" in told


def test_napalms_schema(result: Any) -> None:
    trace = result["open"][0].trace
    told = to_napalm(trace)["success"]
    assert list(told) == [hop.ttl for hop in trace.hops]
    for hop in trace.hops:
        probes = told[hop.ttl]["probes"]
        assert list(probes) == [1, 2, 3]
        for probe, reply in zip(probes.values(), hop.replies, strict=True):
            assert probe == {"rtt": reply.rtt_ms, "ip_address": reply.address, "host_name": reply.name or reply.address}
    silent = to_napalm(result["filtered"][0].trace)["success"][9]["probes"][1]
    assert silent == {"rtt": 0.0, "ip_address": "*", "host_name": "*"}


def test_progress_is_quiet_without_a_terminal() -> None:
    shown = io.StringIO()
    with TraceProgress(Console(file=shown)) as progress:
        progress.task_started(None)  # type: ignore[arg-type]
    assert shown.getvalue() == ""


@pytest.mark.parametrize("connection", ["netmiko", "paramiko", "openssh"])
def test_the_example_traces_the_fleet(fleet: Lab, tmp_path: Path, connection: str) -> None:
    if connection == "openssh" and not shutil.which("ssh"):
        pytest.skip("ssh is not installed: openssh-client")
    saved = tmp_path / "traces.jsonl"
    ended = fleet.run("controller", [*EXAMPLE, connection, "--save", str(saved)], cwd=ROOT, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for name in ("alpha", "beta", "gamma"):
        assert f"{name}: service" in ended.stdout
    lines = [json.loads(line) for line in saved.read_text().splitlines()]
    assert sorted((line["host"], line["port"], line["trace"]["port_state"]) for line in lines) == [
        (name, port, state) for name in ("alpha", "beta", "gamma") for port, state in ((25, "filtered"), (443, "open"))
    ]
    assert all(Trace.from_dict(line["trace"]).vantage == line["host"] for line in lines)


def test_the_example_is_typed() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "examples/trace_fleet.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
