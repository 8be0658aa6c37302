"""The examples do what they say: the check file in the lab, and the CI jobs with their own lines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from nornir_tcptraceroute.lab import Lab, NamespaceError, load_topology
from tests.checks.test_check_command import COMMAND, JUNIT, LONG, ROOT

EXAMPLES = ROOT / "examples"
CHECKS = EXAMPLES / "checks.yaml"


@pytest.fixture(scope="module")
def demo() -> Iterator[Lab]:
    lab = Lab(load_topology("demo"))
    try:
        lab.start()
    except NamespaceError as error:
        pytest.skip(str(error))
    yield lab
    lab.close()


def installed(directory: Path) -> None:
    """A command of ours at a place, and a `sudo` that needs no password."""
    directory.mkdir(parents=True)
    ours = directory / "nornir-tcptraceroute"
    ours.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n{COMMAND}\n")
    sudo = directory / "sudo"
    sudo.write_text('#!/bin/sh\nexec "$@"\n')
    for program in (ours, sudo):
        program.chmod(0o755)


def run(lab: Lab, script: str, directory: Path, programs: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    return lab.run("client", ["sh", "-e", "-c", script], cwd=directory, env=environment, timeout=LONG)


def test_the_example_keeps_to_the_schema() -> None:
    schema = json.loads((ROOT / "nornir_tcptraceroute" / "check.schema.json").read_text())
    jsonschema.validate(YAML(typ="safe", pure=True).load(CHECKS.read_text()), schema)


def test_the_demo_shows_a_dozen_expectations_of_which_two_fail_on_purpose(demo: Lab, tmp_path: Path) -> None:
    installed(tmp_path / "bin")
    done = run(demo, "sh examples/demo_checks.sh", ROOT, tmp_path / "bin")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"(\S+)\s+NOT MET  (.*)", done.stdout) == [
        ("port_state", "port 3389 of server is closed, not open"),
        ("max_hops", "the destination is 8 hops away"),
    ]
    assert "5 checks, 16 expectations: 13 met, 2 not met, 1 skipped" in done.stdout
    # Both are explained where they stand.
    assert CHECKS.read_text().count("# Fails on purpose: ") == 2


def job(name: str) -> dict[str, Any]:
    loaded = YAML(typ="safe", pure=True).load((EXAMPLES / "ci" / name).read_text())
    content: dict[str, Any] = loaded["jobs"]["paths"] if "jobs" in loaded else loaded["paths"]
    return content


def lines_of(content: dict[str, Any]) -> tuple[str, str]:
    """The lines that install and the lines that check."""
    if "steps" in content:
        runs = {step["name"]: step["run"] for step in content["steps"] if "run" in step}
        return runs["Install"], runs["Check the paths"]
    return "\n".join(content["before_script"]), "\n".join(content["script"])


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
def test_a_ci_job_fails_for_what_is_not_met_and_leaves_its_reports(demo: Lab, tmp_path: Path, name: str) -> None:
    install, check = lines_of(job(name))
    assert re.search(r"^\.venv-paths/bin/python -m pip install .*\bnornir-tcptraceroute$", install, re.MULTILINE)
    installed(tmp_path / ".venv-paths" / "bin")
    (tmp_path / "checks.yaml").write_text(CHECKS.read_text())
    done = run(demo, check, tmp_path, tmp_path / ".venv-paths" / "bin")
    assert done.returncode == 1, done.stderr
    JUNIT.validate((tmp_path / "paths.xml").read_text())
    assert json.loads((tmp_path / "paths.json").read_text())["summary"]["failure"] == 2
    # With what is wrong on purpose put right, the job passes.
    right = (
        CHECKS.read_text()
        .replace("      port_state: open\n\n", "      port_state: closed\n\n")
        .replace("max_hops: 7", "max_hops: 8")
    )
    (tmp_path / "checks.yaml").write_text(right)
    done = run(demo, check, tmp_path, tmp_path / ".venv-paths" / "bin")
    assert done.returncode == 0, done.stdout
    # A bad file sends nothing and fails.
    (tmp_path / "checks.yaml").write_text("checks: []\n")
    assert run(demo, check, tmp_path, tmp_path / ".venv-paths" / "bin").returncode == 2


def test_what_the_jobs_show_is_what_they_write() -> None:
    github = job("github.yml")
    shown, kept = github["steps"][-2:]
    assert "--junit paths.xml" in lines_of(github)[1]
    assert shown["with"]["report_paths"] == "paths.xml"
    assert kept["with"]["path"].split() == ["paths.xml", "paths.json"]
    assert shown["if"] == kept["if"] == "${{ !cancelled() }}"
    gitlab = job("gitlab.yml")
    assert "--junit paths.xml" in lines_of(gitlab)[1]
    assert gitlab["artifacts"] == {"when": "always", "paths": ["paths.xml", "paths.json"], "reports": {"junit": "paths.xml"}}
