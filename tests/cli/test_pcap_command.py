"""``nornir-tcptraceroute pcap``: files in and out, what is printed, exit statuses."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from nornir_tcptraceroute.cli.nornir_tcptraceroute import run
from nornir_tcptraceroute.probe.records import Packet, Trace
from nornir_tcptraceroute.reports.pcap import read_pcap
from tests.cli.conftest import ROOT
from tests.reports.captures import pcap, probe, trace
from tests.strategies import EXAMPLE

COMMAND = [sys.executable, "-m", "nornir_tcptraceroute.cli.nornir_tcptraceroute", "pcap"]
TABLE = """\
2023-11-14T22:13:20.000Z: 198.51.100.80 port 443 from 192.0.2.10: open
hop  address        name  loss  rtt ms
1    203.0.113.1                5.00 5.00
2    203.0.113.2                10.00 10.00
3    198.51.100.80              15.00 15.00
"""
RECORD = replace(EXAMPLE, packets=(Packet(0, "sent", base64.b64encode(probe(1, 5)).decode()),))


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "capture.pcap"
    path.write_bytes(pcap(trace()))
    return path


def test_a_capture_is_read_into_hop_tables(capture: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["pcap", "read", str(capture)]) == 0
    assert capfd.readouterr() == (TABLE, "")


def test_several_traces_are_printed_one_below_the_other(capture: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capture.write_bytes(pcap([*trace(), *trace(6, start=1)])[:-1])
    assert run(["pcap", "read", str(capture)]) == 0
    out, err = capfd.readouterr()
    first, second = out.split("\n\n")
    assert first + "\n" == TABLE
    assert second.startswith("2023-11-14T22:13:21.000Z: 2001:db8:1::80 port 443 from 2001:db8::10: open\n")
    assert err == "Warning: The capture is not whole: it is cut off after 23 packets.\n"


def test_a_capture_is_read_into_json(capture: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["pcap", "read", "--json", str(capture)]) == 0
    (line,) = capfd.readouterr().out.splitlines()
    schema = json.loads((ROOT / "nornir_tcptraceroute" / "trace.schema.json").read_text())
    jsonschema.validate(json.loads(line), schema)
    assert [Trace.from_dict(json.loads(line))] == read_pcap(capture)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(RECORD.to_dict()),
        json.dumps(RECORD.to_dict(), indent=2),
        json.dumps([RECORD.to_dict()]),
        json.dumps(RECORD.to_dict()) + "\n\n",
        json.dumps({"host": "a", "trace": RECORD.to_dict()}),
    ],
    ids=["a line", "a document", "a list", "lines", "of SaveTraces"],
)
def test_a_trace_is_written(tmp_path: Path, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "trace.json", tmp_path / "out.pcap"
    source.write_text(text)
    assert run(["pcap", "write", str(source), str(target)]) == 0
    assert target.stat().st_size == 24 + 16 + 40
    source.write_text(f"{json.dumps(RECORD.to_dict())}\n{json.dumps({'trace': RECORD.to_dict()})}\n")
    assert run(["pcap", "write", str(source), str(target)]) == 0
    assert target.stat().st_size == 24 + 2 * (16 + 40)
    assert capfd.readouterr() == ("", "")


def test_standard_streams_are_taken_for_files(capture: Path) -> None:
    read = subprocess.run(
        [*COMMAND, "read", "--json", "-"], input=capture.read_bytes(), cwd=ROOT, capture_output=True, check=True
    )
    write = subprocess.run([*COMMAND, "write", "-", "-"], input=read.stdout, cwd=ROOT, capture_output=True, check=True)
    again = subprocess.run([*COMMAND, "read", "-"], input=write.stdout, cwd=ROOT, capture_output=True, check=True)
    assert again.stdout.decode() == TABLE
    assert read.stderr + write.stderr + again.stderr == b""


REFUSED = {
    "no capture": (["read", "trace.json"], "trace.json is no capture in pcap or pcapng form"),
    "no file to read": (["read", "absent.pcap"], "absent.pcap: No such file or directory"),
    "a directory": (["read", "."], ".: Is a directory"),
    "no file of traces": (["write", "absent.json", "out.pcap"], "absent.json: No such file or directory"),
    "no place": (["write", "whole.json", "absent/out.pcap"], "absent/out.pcap: No such file or directory"),
    "no JSON": (["write", "capture.pcap", "out.pcap"], "capture.pcap, line 1 is no JSON: give what tcptraceroute --json"),
    "no trace": (["write", "other.json", "out.pcap"], "trace is not an object, so this is no trace record of schema 1"),
    "no packets": (
        ["write", "trace.json", "out.pcap"],
        "The trace to web.example port 443 holds no packets: take it with evidence all",
    ),
    "too deep": (["write", "deep.json", "out.pcap"], "deep.json, line 1 is no JSON"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_done_is_one_sentence_and_exit_status_1(
    capture: Path, case: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(capture.parent)
    Path("trace.json").write_text(json.dumps(replace(EXAMPLE, packets=None).to_dict()))
    Path("whole.json").write_text(json.dumps(RECORD.to_dict()))
    Path("other.json").write_text("5")
    Path("deep.json").write_text("[" * 100_000)
    arguments, sentence = REFUSED[case]
    assert run(["pcap", *arguments]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"nornir-tcptraceroute pcap: {sentence}")
    assert err.count("\n") == 1
    assert not Path("out.pcap").exists()


@pytest.mark.parametrize("arguments", [[], ["read"], ["write", "one.json"], ["show", "x"]])
def test_a_wrong_command_line_is_told_with_the_usage(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(["pcap", *arguments])
    assert caught.value.code == 2
    assert capfd.readouterr().err.startswith("usage: nornir-tcptraceroute pcap")


def test_the_help_has_examples(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["pcap", "--help"])
    told = capfd.readouterr().out
    assert "nornir-tcptraceroute pcap write trace.json trace.pcap" in told
    assert "nornir-tcptraceroute pcap read capture.pcap" in told


def test_output_that_nobody_takes_is_told(capture: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, "read", capture], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "nornir-tcptraceroute: standard output can't be written: No space left on device\n"
