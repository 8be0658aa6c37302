"""What the README tells its reader to do does what it says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nornir_tcptraceroute import Trace, TraceOptions
from nornir_tcptraceroute.cli.targets_file import read_targets

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def in_the_demo_lab(*command: str) -> str:
    """What a command prints inside the lab "demo", whose target is ``server``."""
    return in_a_lab("demo", *command)


def in_a_lab(name: str, *command: str) -> str:
    lab = (sys.executable, "-m", "nornir_tcptraceroute.cli.nornir_tcptraceroute", "lab", "up", name, "--")
    done = subprocess.run([*lab, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 2 and "namespaces" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return done.stdout


def example(language: str) -> str:
    """The one code block of a language, with the lab's server as the destination."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    assert "www.example.net" in blocks[0]
    return str(blocks[0]).replace("www.example.net", "server")


def test_the_python_example_traces() -> None:
    first, *hops = in_the_demo_lab(sys.executable, "-c", example("python")).splitlines()
    assert first == "open True"
    assert [int(line.split()[0]) for line in hops] == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("name", ["nornir_tcptraceroute.probe", "probe"])
def test_the_json_example_traces_under_any_name(name: str, tmp_path: Path) -> None:
    command = example("sh").replace("sudo python3", sys.executable)
    assert "-m nornir_tcptraceroute.probe" in command
    if name == "probe":
        shutil.copytree(ROOT / "nornir_tcptraceroute" / "probe", tmp_path / "probe")
        command = f"cd '{tmp_path}' && {command.replace('nornir_tcptraceroute.probe', name)}"
    (line,) = in_the_demo_lab("sh", "-c", command).splitlines()
    result = Trace.from_dict(json.loads(line))
    assert (result.port, result.port_state, len(result.hops)) == (443, "open", 8)


def test_the_explained_trace_is_what_the_command_says(tmp_path: Path) -> None:
    shown = re.search(r"^    \$ nornir-tcptraceroute lab up rewrite -- (tcptraceroute .*)\n((?:    .*\n)+)", README, re.MULTILINE)
    file = re.search(r"^```yaml\n(networks:.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert shown
    assert file
    (tmp_path / "networks.yaml").write_text(file[1])
    arguments = [str(tmp_path / word) if word == "networks.yaml" else word for word in shown[1].split()[1:]]
    printed = in_a_lab("rewrite", sys.executable, "-m", "nornir_tcptraceroute.cli.tcptraceroute", "-n", *arguments)
    expected = re.sub("^    ", "", shown[2], flags=re.MULTILINE)
    assert re.sub(r"\S+ ms", "", printed) == re.sub(r"\S+ ms", "", expected)


def test_the_demo_runs() -> None:
    told = in_the_demo_lab("sh", "-c", f"PATH='{Path(sys.executable).parent}':$PATH exec sh examples/demo.sh")
    assert re.search(r"^ 8  server\.lab \(10\.11\.0\.2\) \[open\]  [0-9.]+ ms", told, re.MULTILINE)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="Ansible needs OpenSSH's client")
def test_the_demo_of_a_fleet_runs() -> None:
    told = in_a_lab("fleet", "sh", "-c", f"PATH='{Path(sys.executable).parent}':$PATH exec sh examples/demo_fleet.sh")
    by_nornir, by_ansible = told.split("$ ansible-playbook")
    for host in ("alpha", "beta", "gamma"):
        assert re.search(rf"^{host}: service \(\S+\) port 25 from {host}: not reached, filtered", by_nornir, re.MULTILINE)
        assert f"{host} to service (10.14.0.2) port 443: open, reached, hop {3 if host == 'gamma' else 5}" in by_ansible


def test_the_example_of_many_traces_calls_what_there_is() -> None:
    (many,) = (block for block in re.findall(r"^```py\n(.*?)^```", README, re.MULTILINE | re.DOTALL) if "trace_many(" in block)
    script = many.replace('f"10.0.0.{number}", port=443', '"server", port=number').replace("range(1, 255)", "(443, 8080)")
    assert sorted(in_the_demo_lab(sys.executable, "-c", script).splitlines()) == ["server closed", "server open"]


def test_the_example_of_targets_is_read(tmp_path: Path) -> None:
    (lines,) = re.findall(r"^    www\.example\.net +#.*\n(?:    .*\n)+", README, re.MULTILINE)
    file = tmp_path / "targets"
    file.write_text(lines)
    targets = read_targets(str(file), TraceOptions(destination="host.invalid"))
    asked = [(request.destination, request.port) for request in targets.requests()]
    assert len(asked) == 1 + 14 + 20 + 32
    assert asked[:2] == [("www.example.net", 80), ("10.0.0.1", 443)]
    assert asked[-1] == ("2001:db8::20", 80)
