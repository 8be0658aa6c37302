"""What the task expects: verdicts in its result, baselines as diffs, retries, and one JUnit case for each trace."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import xmlschema
from nornir.core.inventory import Host
from nornir.core.task import MultiResult, Result, Task

from nornir_tcptraceroute import OptionError, Trace, TraceOptions
from nornir_tcptraceroute.analysis import Naming
from nornir_tcptraceroute.analysis.baseline import record
from nornir_tcptraceroute.analysis.expectations import Expectations
from nornir_tcptraceroute.plugins.functions import print_traceroute
from nornir_tcptraceroute.plugins.processors import WriteJUnit
from nornir_tcptraceroute.plugins.tasks import ExpectationError, TracerouteResult
from nornir_tcptraceroute.plugins.tasks.expected import EXPECTED_OPTIONS, Expected
from nornir_tcptraceroute.probe.errors import RouteError
from tests.analysis.paths import path
from tests.nornir.conftest import Run, managed

A, B, X = "10.0.1.1", "10.0.2.1", "10.0.9.1"
REQUEST = TraceOptions(destination="web.example", port=443)
ROOT = Path(__file__).parents[2]
JUNIT = xmlschema.XMLSchema(str(ROOT / "tests" / "reports" / "junit.xsd"))


def expected(*requests: TraceOptions, alone: bool = True, naming: Naming | None = None, **options: Any) -> Expected:
    return Expected(Host("alpha/1"), options, requests or (REQUEST,), naming or Naming(), alone=alone)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"retries": -1}, "retries: -1 is not a whole number between 0 and 100"),
        ({"retries": True}, "retries: True is not"),
        ({"delay": "1"}, "delay: '1' is not a number between 0 and 3600 s"),
        ({"baseline_action": "write"}, "baseline_action: 'write' is not one of compare, record, merge"),
        ({"expect": []}, "expect: [] is not a mapping of expectations"),
        ({"expect": {"reach": 1}}, "expect.reach: is not an expectation"),
        (
            {"expect": {"transit": ["dc1", "dc2"]}},
            "expect.transit[1]: 'dc2' is no address, no prefix and no name: known names are dc1",
        ),
        ({"expect": Expectations(transit=("dc2",))}, "expect.transit[0]: 'dc2' is no address"),
        ({"baseline": 7}, "baseline: 7 is not the path of a file"),
        (
            {"baseline": "none.yaml"},
            "baseline: none.yaml: can't be read: No such file or directory; baseline_action='record' writes",
        ),
    ],
)
def test_what_is_wrong_is_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError) as caught:
        expected(naming=Naming({"dc1": "10.0.0.0/16"}), **options)
    assert caught.value.problems[0].startswith(f"alpha/1: {told}")


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(OptionError) as caught:
        expected(retries="x", delay=-1, expect={"max_hops": 0}, baseline=" ")
    assert len(caught.value.problems) == 4


def test_each_trace_has_a_baseline_of_its_own(tmp_path: Path) -> None:
    other = TraceOptions(destination="web.example", port=80)
    with pytest.raises(OptionError, match="is one file for several traces"):
        expected(REQUEST, other, baseline="{host}.yaml", baseline_action="record")
    with pytest.raises(OptionError, match="is one file for several traces"):
        expected(baseline="one.yaml", baseline_action="record", alone=False)
    both = expected(REQUEST, other, baseline=f"{tmp_path}/{{host}}-{{destination}}-{{port}}.yaml", baseline_action="record")
    for request in (REQUEST, other):
        trace = path(A, port=request.port)
        assert both.keep(request, trace, both.judgement(request, trace)).outcome == "success"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["alpha_1-web.example-443.yaml", "alpha_1-web.example-80.yaml"]


def test_a_path_that_is_not_as_expected_is_not_recorded(tmp_path: Path) -> None:
    wanted = expected(baseline=f"{tmp_path}/b.yaml", baseline_action="record", expect={"transit": B})
    for trace in (path(A, X), RouteError("no route")):
        judgement = wanted.keep(REQUEST, trace, wanted.judgement(REQUEST, trace))
        assert judgement.verdicts[-1].outcome == ("skipped" if isinstance(trace, Trace) else "error")
    assert not list(tmp_path.iterdir())


def test_a_baseline_of_another_destination_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text(record(path(A, port=80)).text())
    with pytest.raises(OptionError, match=r"is of web\.example port 80, not of web\.example port 443"):
        expected(baseline=str(file))


def test_nothing_is_expected_unless_it_is_told() -> None:
    assert not expected().anything
    assert expected(expect={"reached": True}).anything
    assert EXPECTED_OPTIONS["expect"] is EXPECTED_OPTIONS["baseline"] is None


def judged(trace: Trace | RouteError, **options: Any) -> TracerouteResult:
    wanted = expected(**options)
    result = TracerouteResult(Host("alpha"), "web.example", 443, trace)
    judgement = wanted.judgement(REQUEST, trace)
    result.take(judgement, wanted.diff(REQUEST, judgement), 1)
    return result


def test_the_result_of_what_is_not_met(tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text(record(path(A, B)).text())
    result = judged(path(A, X), expect={"reached": True, "transit": B}, baseline=str(file))
    assert result.failed
    assert [(verdict.name, verdict.outcome) for verdict in result.verdicts] == [
        ("reached", "success"),
        ("transit", "failure"),
        ("baseline", "failure"),
    ]
    assert result.result["verdicts"] == [verdict.to_dict() for verdict in result.verdicts]
    assert f"-  2: [{B}]\n+  2: [{X}]\n" in str(result.diff)
    assert isinstance(result.exception, ExpectationError)
    told = f"alpha: web.example port 443: transit: the path does not pass {B}, and every hop answered; "
    told += f"baseline: hop 2 is {X}, not {B}"
    assert str(result.exception) == told
    again = pickle.loads(pickle.dumps(result))  # noqa: S301 - our own
    assert (str(again.exception), again.verdicts) == (told, result.verdicts)


def test_the_result_of_what_is_met_or_not_known() -> None:
    for trace in (path(A, B), path(A, None)):
        result = judged(trace, expect={"transit": B})
        assert (result.failed, result.exception, result.diff) == (False, None, "")
    assert not judged(path(A, B, None, end=None), expect={"reached": False}).failed


def test_verdicts_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_traceroute(judged(path(A, X), expect={"reached": True, "transit": B}))
    printed = capsys.readouterr().out
    assert "\n  reached: met: web.example port 443 answered at hop 3\n" in printed
    assert f"\n  transit: NOT MET: the path does not pass {B}, and every hop answered\n" in printed


# JUnit.


def test_a_case_for_each_host_and_trace(tmp_path: Path) -> None:
    file = tmp_path / "paths.xml"
    task = Task(lambda task: Result(task.host), None, None, None)  # type: ignore[arg-type]
    with WriteJUnit(file) as junit:
        for name, result in (
            ("alpha", judged(path(A, B), expect={"transit": B})),
            ("alpha", judged(path(A, X), expect={"transit": B, "reached": True})),
            ("beta", judged(path(A, None), expect={"transit": B, "reached": True})),
            ("beta", judged(path(A, None), expect={"transit": B})),
            ("gamma", judged(RouteError("gamma: no route"), expect={"transit": B})),
            ("gamma", TracerouteResult(Host("gamma"), "web.example", 443, path(A))),
            ("gamma", TracerouteResult(Host("gamma"), result={"traces": []})),
        ):
            several = MultiResult("tcptraceroute")
            several.append(result)
            junit.task_instance_completed(task, Host(name), several)
        other = MultiResult("other")
        other.append(Result(Host("gamma"), result="Traceback", failed=True, exception=ValueError("why")))
        junit.task_instance_completed(task, Host("gamma"), other)
    text = file.read_text()
    JUNIT.validate(text)
    root = ET.fromstring(text)  # noqa: S314 - our own
    assert [suite.get("name") for suite in root] == ["alpha", "beta", "gamma"]
    found = [(case.get("classname"), [child.tag for child in case]) for case in root.iter("testcase")]
    assert found == [
        ("alpha", []),
        ("alpha", ["failure"]),
        ("beta", []),
        ("beta", ["skipped"]),
        ("gamma", ["error"]),
        ("gamma", []),
        ("gamma", ["error"]),
    ]
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("message") == f"transit: the path does not pass {B}, and every hop answered"


def test_only_the_processor_with_a_live_table_needs_rich() -> None:
    program = (
        "import sys; sys.modules['rich'] = None\n"
        "from nornir_tcptraceroute.plugins import processors\n"
        "assert processors.SaveTraces and processors.WriteJUnit and not hasattr(processors, 'Nothing')\n"
        "try: processors.TraceProgress\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "rich" in done.stdout


# Real traces.


def test_the_task_judges_its_traces(run_on_controller: Run, tmp_path: Path) -> None:
    hosts = {
        "alpha": managed("alpha", "root", "openssh"),
        "here": {"data": {"tcptraceroute": {"vantage": "controller", "names": "none"}}},
    }
    networks = {"service": "10.0.0.0/8"}
    options = {"destination": "service", "port": (443, 25), "family": 4, "wait": 1, "networks": networks}
    baseline = f"{tmp_path}/{{host}}-{{port}}.yaml"
    recorded = run_on_controller(hosts, **options, baseline=baseline, baseline_action="record")
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "alpha-25.yaml",
        "alpha-443.yaml",
        "here-25.yaml",
        "here-443.yaml",
    ]
    assert {single.changed for several in recorded.values() for single in several[1:]} == {True}
    expect = {"reached": True, "transit": "service", "no_nat": True}
    result = run_on_controller(hosts, **options, expect=expect, baseline=baseline, retries=1, delay=0)
    for name in hosts:
        parent, web, mail = result[name]
        assert isinstance(web, TracerouteResult)
        assert isinstance(mail, TracerouteResult)
        assert not web.failed, web.result
        assert [verdict.outcome for verdict in web.verdicts] == ["success"] * 4
        assert (mail.failed, mail.attempts, web.attempts) == (True, 2, 1)
        assert [verdict.name for verdict in mail.verdicts if verdict.outcome == "failure"] == ["reached"]
        assert isinstance(mail.exception, ExpectationError)
        assert [line["outcome"] for line in parent.result["traces"]] == ["success", "failure"]
        json.dumps(mail.result)
    file = tmp_path / "alpha-443.yaml"
    file.write_text(re.sub(r"  2: \[.*\]", "  2: [192.0.2.1]", file.read_text()))
    changed = run_on_controller({"alpha": hosts["alpha"]}, **options, baseline=baseline)
    _, web, _ = changed["alpha"]
    assert web.failed
    assert "-  2: [192.0.2.1]\n" in str(web.diff)
    assert str(web.diff).startswith(f"--- {file}\n+++ trace\n")


def test_a_host_without_a_session_is_an_error_of_every_expectation(run_on_controller: Run) -> None:
    hosts = {"bare": managed("bare", "root", "openssh", expect={"reached": True}, retries=1, delay=0)}
    (single,) = run_on_controller(hosts, destination="service", port=443)["bare"]
    assert isinstance(single, TracerouteResult)
    assert (single.failed, single.attempts) == (True, 2)
    assert [(verdict.name, verdict.outcome) for verdict in single.verdicts] == [("reached", "error")]
    assert "has no such Python" in str(single.result)
