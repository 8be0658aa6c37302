"""The command as a whole, on real paths: what is met, what is not, what a path that changes and an equal-cost path show."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import xmlschema

from nornir_tcptraceroute import Trace
from nornir_tcptraceroute.lab import Lab, NamespaceError, load_topology, parse_topology

ROOT = Path(__file__).parents[2]
COMMAND = "from nornir_tcptraceroute.cli.nornir_tcptraceroute import main; sys.exit(main())"
OURS = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {COMMAND}", "check"]
JUNIT = xmlschema.XMLSchema(str(ROOT / "tests" / "reports" / "junit.xsd"))
LONG = 60  # seconds that nothing here takes
TWO_WAYS = """\
description: A short way and a long way
vantage: client
target: server
hosts:
  client:
  server: {services: [80, 443]}
routers: {r1: , a1: , b1: , b2: , r9: , last: {firewall: [{port: 25, do: drop}]}}
links:
  - [client, r1]
  - [r1, a1, r9]
  - {between: [r1, b1], cost: 10}
  - [b1, b2, r9]
  - [r9, last, server]
"""
CHECKS = """\
networks: {edge: [10.1.0.0/16], long way: [10.4.0.0/16, 10.5.0.0/16]}
devices: {10.2.0.2: a1}
checks:
- name: web
  destination: server
  port: 443
  family: 4
  names: none
  baseline: baselines/web.yaml
  expect: {reached: true, port_state: open, transit: a1, forbidden: long way, max_hops: 5, unmodified: true, no_nat: true}
- name: mail
  destination: server
  port: 25
  family: 4
  names: none
  wait: 1
  expect: {port_state: open}
"""

Check = Callable[..., subprocess.CompletedProcess[str]]


def up(lab: Lab) -> Iterator[Lab]:
    try:
        lab.start()
    except NamespaceError as error:
        pytest.skip(str(error))
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def two_ways() -> Iterator[Lab]:
    yield from up(Lab(parse_topology(TWO_WAYS)))


@pytest.fixture(scope="module")
def ecmp() -> Iterator[Lab]:
    yield from up(Lab(load_topology("ecmp")))


def run(lab: Lab, file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return lab.run(lab.topology.vantage, [*OURS, str(file), *options], timeout=LONG)


def route(lab: Lab, node: str, networks: Sequence[str], gateway: str) -> None:
    """Send what goes to some networks another way."""
    script = (
        "import sys; from pyroute2 import IPRoute\n"
        "with IPRoute() as ip: [ip.route('replace', dst=dst, gateway=sys.argv[1]) for dst in sys.argv[2:]]"
    )
    done = lab.run(node, [sys.executable, "-c", script, gateway, *networks])
    assert done.returncode == 0, done.stderr


def verdicts(table: str) -> dict[tuple[str, str], tuple[str, str]]:
    """Verdict and reason by check and expectation."""
    found, name = {}, ""
    for line in table.splitlines()[1:]:
        row = re.match(r"(.*?)  +(?:controller +)?(\w+) +(met|NOT MET|ERROR|skipped) +(.*)", line)
        if row:
            name = row[1].strip() or name
            found[name, row[2]] = (row[3], row[4])
    return found


def test_a_path_that_changes_is_told_and_one_that_is_back_is_good_again(two_ways: Lab, tmp_path: Path) -> None:
    file = tmp_path / "checks.yaml"
    file.write_text(CHECKS)
    recorded = run(two_ways, file, "--baselines", "record")
    assert verdicts(recorded.stdout)["web", "baseline"] == ("met", "it is recorded")
    kept = (tmp_path / "baselines" / "web.yaml").read_text()
    good = run(two_ways, file)
    assert good.returncode == 1, good.stderr
    assert {told for (name, _), (told, _) in verdicts(good.stdout).items() if name == "web"} == {"met"}
    assert verdicts(good.stdout)["mail", "port_state"] == ("NOT MET", "port 25 of server is filtered, not open")

    behind = ["10.6.0.0/24", "10.7.0.0/24", "10.8.0.0/24"]
    route(two_ways, "r1", behind, "10.4.0.2")
    try:
        junit, document = tmp_path / "junit.xml", tmp_path / "result.json"
        changed = run(two_ways, file, "--junit", str(junit), "--json", str(document))
    finally:
        route(two_ways, "r1", behind, "10.2.0.2")
    assert changed.returncode == 1
    told = {name: verdict for (check, name), verdict in verdicts(changed.stdout).items() if check == "web"}
    assert [name for name, (verdict, _) in told.items() if verdict != "met"] == ["transit", "forbidden", "max_hops", "baseline"]
    assert told["forbidden"][1].startswith("the path passes long way at hop 2 (10.4.0.2); long way at hop 3 (10.5.0.2)")
    assert "1 hop longer from hop" in told["baseline"][1]
    assert "-answers_at_hop: [5]\n+answers_at_hop: [6]\n" in changed.stdout
    # The files say the same.
    JUNIT.validate(junit.read_text())
    assert junit.read_text().count("<failure ") == 5
    result = json.loads(document.read_text())
    assert (result["status"], result["summary"]) == (1, {"success": 4, "failure": 5, "error": 0, "skipped": 0})
    assert "1 hop longer from hop" in result["checks"][0]["verdicts"][-1]["reason"]
    assert len(Trace.from_dict(result["checks"][0]["trace"]).hops) == 6
    # What was known to be good is as it was.
    assert (tmp_path / "baselines" / "web.yaml").read_text() == kept
    assert verdicts(run(two_ways, file).stdout)["web", "baseline"] == ("met", "the path is the same")


def test_a_path_that_is_not_good_is_not_recorded(two_ways: Lab, tmp_path: Path) -> None:
    file = tmp_path / "checks.yaml"
    file.write_text(CHECKS.replace("max_hops: 5", "max_hops: 2"))
    done = run(two_ways, file, "--baselines", "record")
    assert done.returncode == 1
    assert verdicts(done.stdout)["web", "baseline"][0] == "skipped"
    assert not (tmp_path / "baselines").exists()


def test_equal_cost_paths_are_merged_and_then_the_same(ecmp: Lab, tmp_path: Path) -> None:
    file = tmp_path / "checks.yaml"
    ports = range(40001, 40033)

    def checked(several: Sequence[int], *options: str) -> list[tuple[str, str]]:
        entries = [
            f"- {{name: port {port}, destination: server, port: 80, family: 4, names: none, source_port: {port}, "
            f"baseline: server-{port}.yaml}}\n"
            for port in several
        ]
        file.write_text(f"checks:\n{''.join(entries)}")
        told = verdicts(run(ecmp, file, *options).stdout)
        return [told[f"port {port}", "baseline"] for port in several]

    def spread(port: int) -> str:
        text = (tmp_path / f"server-{port}.yaml").read_text()
        for other in ports:
            (tmp_path / f"server-{other}.yaml").write_text(text)
        return text

    assert checked(ports[:1], "--baselines", "record") == [("met", "it is recorded")]
    spread(ports[0])
    # Which way a flow goes is the routers' choice: two ways at two places, and one of them is known.
    told = checked(ports)
    assert told[0] == ("met", "the path is the same")
    others = dict.fromkeys(reason for verdict, reason in told if verdict == "NOT MET")
    assert 1 <= len(others) <= 3
    text = ""
    for reason in others:
        port = next(port for port, (_, found) in zip(ports, told, strict=True) if found == reason)
        assert checked([port], "--baselines", "merge")[0][0] == "met"
        text = spread(port)
    assert re.search(r"answers_at_hop: \[\d+, \d+\]", text)
    assert re.search(r": \[10\.\d+\.0\.2, 10\.\d+\.0\.2\]", text)
    assert set(checked(ports)) == {("met", "the path is the same")}
    assert checked(ports[:1], "--baselines", "merge") == [("met", "it is as it was")]


def test_what_converges_is_met_in_the_end(two_ways: Lab, tmp_path: Path) -> None:
    behind = ["10.6.0.0/24", "10.7.0.0/24", "10.8.0.0/24"]
    file = tmp_path / "checks.yaml"
    file.write_text(
        "checks:\n- {name: a, destination: server, port: 443, family: 4, names: none, retries: 100, delay: 0.2, "
        "expect: {max_hops: 5}}\n- {name: b, destination: server, family: 4, names: none, expect: {max_hops: 5}}\n"
    )
    route(two_ways, "r1", behind, "10.4.0.2")
    try:
        running = two_ways.popen(
            "client", [*OURS, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        # The detour is seen before the way is changed back: its packets have passed.
        script = (
            "from pathlib import Path\nimport time\n"
            "count = lambda: int([l for l in Path('/proc/net/dev').read_text().splitlines() if 'r1' in l][0].split()[2])\n"
            "before = count()\nwhile count() < before + 8: time.sleep(0.01)"
        )
        two_ways.run("b1", [sys.executable, "-c", script], timeout=LONG)
    finally:
        route(two_ways, "r1", behind, "10.2.0.2")
    output, _ = running.communicate(timeout=LONG)
    assert re.search(r"^a \(\d+ attempts\) +controller +max_hops +met ", output, re.MULTILINE), output
    assert running.returncode in {0, 1}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (CHECKS.replace("port: 443", "port: 0"), "checks.yaml:6: checks[0].port: 0 is not between 1 and 65535\n"),
        ("checks: [", "checks.yaml:1: this is not YAML: "),
        (None, "checks.yaml: can't be read: No such file or directory\n"),
    ],
)
def test_a_bad_file_is_told_and_nothing_is_sent(tmp_path: Path, content: str | None, told: str) -> None:
    file = tmp_path / "checks.yaml"
    if content is not None:
        file.write_text(content)
    done = subprocess.run([*OURS, str(file)], capture_output=True, text=True, check=False, timeout=LONG)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["--junit", "--json"])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_sent(tmp_path: Path, option: str) -> None:
    file = tmp_path / "checks.yaml"
    file.write_text("checks:\n- {name: a, destination: localhost, expect: {reached: true}}\n")
    done = subprocess.run(
        [*OURS, str(file), option, str(tmp_path / "none" / "out")], capture_output=True, text=True, check=False, timeout=LONG
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{tmp_path}/none/out: can't be written: No such file or directory\n"


def test_what_cannot_be_measured_is_an_error(two_ways: Lab, tmp_path: Path) -> None:
    file = tmp_path / "checks.yaml"
    file.write_text(
        "checks:\n- {name: a, destination: nosuch.invalid, expect: {reached: false}}\n"
        "- {name: b, destination: server, family: 4, expect: {reached: true}}\n"
    )
    done = run(two_ways, file)
    assert done.returncode == 3, done.stderr
    assert verdicts(done.stdout)["a", "reached"][0] == "ERROR"
    assert "nosuch.invalid" in verdicts(done.stdout)["a", "reached"][1]
    assert verdicts(done.stdout)["b", "reached"][0] == "met"
    assert done.stdout.endswith("2 checks, 2 expectations: 1 met, 1 could not be measured\n")


def test_without_a_privilege_it_is_told(two_ways: Lab, tmp_path: Path) -> None:
    file = tmp_path / "checks.yaml"
    file.write_text("checks:\n- {name: a, destination: server, method: raw, expect: {reached: true}}\n")
    done = two_ways.run("client", [*OURS, str(file)], capabilities=False, timeout=LONG)
    assert done.returncode == 3
    assert "CAP_NET_RAW" in done.stdout


def test_an_inventory_that_is_none_is_told(tmp_path: Path) -> None:
    file, config = tmp_path / "checks.yaml", tmp_path / "config.yaml"
    file.write_text("checks:\n- {name: a, destination: server, vantage: host, expect: {reached: true}}\n")

    def told() -> str:
        command = [*OURS, str(file), "--inventory", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONG)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        return done.stderr

    assert told() == f"{config}: can't be read: there is no such file\n"
    config.write_text("inventory: {plugin: Nowhere}\nlogging: {enabled: false}\n")
    assert told().startswith(f"{config}: this is no configuration that Nornir can use: ")
    config.write_text("inventory: [\n")
    assert told().startswith(f"{config}: this is no configuration that Nornir can use: ")


def test_ctrl_c_ends_it(two_ways: Lab, tmp_path: Path) -> None:
    file = tmp_path / "checks.yaml"
    file.write_text("checks:\n- {name: a, destination: server, port: 25, wait: 60, expect: {reached: true}}\n")
    program = two_ways.popen(
        "client", [*OURS, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    # It is under way once it has raw sockets.
    script = (
        "from pathlib import Path\nimport time\nwhile len(Path('/proc/net/raw6').read_text().splitlines()) < 2: time.sleep(0.01)"
    )
    two_ways.run("client", [sys.executable, "-c", script], timeout=LONG)
    program.send_signal(signal.SIGINT)
    output, errors = program.communicate(timeout=LONG)
    assert (program.returncode, output, errors) == (130, "", "nornir-tcptraceroute check: interrupted\n")


def on_a_terminal(lab: Lab, file: Path, environment: dict[str, str] | None = None) -> str:
    """What a run shows on a terminal."""
    master, slave = pty.openpty()
    try:
        program = lab.popen("client", [*OURS, str(file)], stdout=subprocess.DEVNULL, stderr=slave, env=environment)
    finally:
        os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # The other end is closed: it has ended.
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    program.wait(LONG)
    return shown.decode()


@pytest.mark.parametrize("rich", [True, False])
def test_progress_is_shown_on_a_terminal_alone(two_ways: Lab, tmp_path: Path, rich: bool) -> None:  # noqa: FBT001 - a case
    file = tmp_path / "checks.yaml"
    file.write_text("checks:\n- {name: a, destination: server, expect: {reached: true}}\n")
    environment: dict[str, Any] = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    if not rich:
        # A place before all others where rich is not to be found.
        (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['rich'] = None\n")
        environment["PYTHONPATH"] = str(tmp_path)
    shown = on_a_terminal(two_ways, file, environment)
    assert "1/1" in shown if rich else "0 of 1 checks" in shown, shown
    assert "\r" in shown
    quiet = run(two_ways, file)
    assert (quiet.returncode, quiet.stderr) == (0, "")


def test_many_checks_run_at_the_same_time(two_ways: Lab, tmp_path: Path) -> None:
    file = tmp_path / "checks.yaml"
    entries = "".join(
        f"- {{name: silent {number}, destination: server, port: 25, family: 4, names: none, wait: 2, parallel: 30, "
        f"expect: {{port_state: filtered}}}}\n"
        for number in range(30)
    )
    file.write_text(f"checks:\n{entries}")
    result = tmp_path / "result.json"
    done = run(two_ways, file, "--json", str(result))
    assert (done.returncode, done.stdout.count(" met ")) == (0, 30)
    traces = [Trace.from_dict(check["trace"]) for check in json.loads(result.read_text())["checks"]]
    begun = [datetime.fromisoformat(trace.started_at.replace("Z", "+00:00")) for trace in traces]
    ended = [at + timedelta(milliseconds=trace.elapsed_ms) for at, trace in zip(begun, traces, strict=True)]
    # Each waits for answers that never come, and there was a moment in which all of them did.
    assert max(begun) < min(ended)
