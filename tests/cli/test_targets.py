"""``tcptraceroute --targets``: many traces of one command, in a simulated network."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from nornir_tcptraceroute import Trace
from nornir_tcptraceroute.cli.targets_progress import progress_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nornir_tcptraceroute.lab import Lab

FOREVER = 300.0
TITLE = re.compile(r"(\S+) port (\d+): (.*)")
HOP = re.compile(r" ?\d+  (\*|\S+( \[open\])?  \d+\.\d{3} ms)$")


@pytest.fixture(scope="module")
def network(lab: Callable[[str], Lab]) -> Lab:
    return lab("simulated")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path / "targets.txt"


def ran(lab: Lab, ours: list[str], *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command, with one query a hop and without names."""
    return lab.run("client", [*ours, "-n", "-q", "1", *arguments], **options)


def blocks(output: str) -> dict[tuple[str, int], tuple[str, list[str]]]:
    """What was printed of each target: how it ended, and its hops."""
    assert output.endswith("\n\n")
    told = {}
    for block in output[:-2].split("\n\n"):
        title, *hops = block.splitlines()
        found = TITLE.fullmatch(title)
        assert found, title
        assert all(HOP.fullmatch(hop) for hop in hops)
        told[found[1], int(found[2])] = found[3], hops
    return told


def test_each_target_is_printed_whole(network: Lab, ours: list[str], file: Path) -> None:
    file.write_text("# some\n198.18.0.0/29 443\n198.19.7.1-3\n2001:2::5 ssh\n")
    done = ran(network, ours, "--targets", str(file), "8080")
    told = blocks(done.stdout)
    expected = [*((f"198.18.0.{last}", 443) for last in range(1, 7)), *((f"198.19.7.{last}", 8080) for last in (1, 2, 3))]
    assert sorted(told) == sorted([*expected, ("2001:2::5", 22)])
    for (destination, _port), (end, hops) in told.items():
        assert end == "open"
        assert f"  {destination} [open]  " in hops[-1]
        assert [int(hop[:2]) for hop in hops] == list(range(1, len(hops) + 1))
    assert (done.returncode, done.stderr) == (0, "10 of 10 targets traced, 10 reached\n")


def test_standard_input_and_json_lines(network: Lab, ours: list[str]) -> None:
    done = ran(network, ours, "--targets", "-", "--json", "-m", "3", input="198.18.0.1\nnosuch.invalid\n2001:2::1\n")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    (error,) = [each for each in told if "error" in each]
    assert error["error"]["type"] == "ResolveError"
    assert error["request"]["destination"] == "nosuch.invalid"
    records = {each["destination"]: each for each in told if "error" not in each}
    assert records.keys() == {"198.18.0.1", "2001:2::1"}
    for record in records.values():
        assert Trace.from_dict(record).to_dict() == record
        assert (len(record["hops"]), record["stop_reason"]) == (3, "max_ttl")
    assert (done.returncode, done.stderr) == (1, "3 of 3 targets traced, 0 reached\n")


@pytest.mark.parametrize(
    ("arguments", "targets", "status"),
    [
        (["--fail-closed"], "198.18.0.1\n198.18.0.2\n", 0),
        (["--fail-unreached", "-m", "3"], "198.18.0.1\n198.18.0.2\n", 2),
        (["-m", "3"], "198.18.0.1\n", 1),
        (["--fail-unreached"], "198.18.0.1\nnosuch.invalid\n", 1),
    ],
)
def test_the_status_is_that_of_the_worst(network: Lab, ours: list[str], arguments: list[str], targets: str, status: int) -> None:
    assert ran(network, ours, "--targets", "-", *arguments, input=targets).returncode == status


def test_a_name_that_is_none_is_told_and_the_others_are_traced(network: Lab, ours: list[str]) -> None:
    done = ran(network, ours, "--targets", "-", input="nosuch.invalid\n198.18.0.1\n")
    assert list(blocks(done.stdout)) == [("198.18.0.1", 80)]
    problem, summary = done.stderr.splitlines()
    assert problem.startswith("tcptraceroute: nosuch.invalid does not resolve (")
    assert summary == "2 of 2 targets traced, 1 reached"


def test_what_the_answers_mean_stands_beneath_the_hops(network: Lab, ours: list[str]) -> None:
    done = ran(network, ours, "--targets", "-", "--explain", input="198.19.0.5\n")
    first, *_, last = done.stdout.splitlines()[1:-1]
    assert first.startswith(" 1  100.64.")
    assert "      benchmarking\nFindings:\n" in done.stdout
    assert last.startswith("  ")


def test_a_file_with_problems_sends_nothing(network: Lab, ours: list[str], file: Path) -> None:
    file.write_text("198.18.0.1\n198.18.0.0/8 80\nh 0\n")
    done = ran(network, ours, "--targets", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"tcptraceroute: {file}:2: 198.18.0.0/8 holds 16777214 addresses, and at most 65536 are traced in one run: give fewer",
        f"tcptraceroute: {file}:3: port: 0 is not between 1 and 65535",
    ]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_prints_what_is_known_and_asks_for_no_more(network: Lab, ours: list[str], number: int, status: int) -> None:
    command = [*ours, "-n", "-q", "1", "--targets", "-"]
    running = network.popen("client", command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write(b"198.18.0.0/18\n")
    running.stdin.close()
    running.stdin = None
    # Read without a buffer, so that nothing stays behind between the first line and the rest.
    first = running.stdout.readline()
    running.send_signal(number)
    output, errors = running.communicate(timeout=FOREVER)
    assert running.returncode == status
    told = blocks((first + output).decode())
    interrupted = [hops for end, hops in told.values() if end.endswith("not reached (interrupted)")]
    assert interrupted
    assert all(interrupted)
    reached = sum(end == "open" for end, _ in told.values())
    assert errors.decode() == (
        f"{len(told)} of 16382 targets traced, {reached} reached; "
        f"a signal came before anything was known of {16382 - len(told)}\n"
    )


def test_output_that_nobody_takes_ends_all(network: Lab, ours: list[str]) -> None:
    command = [*ours, "-n", "-q", "1", "--targets", "-"]
    running = network.popen("client", command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdin is not None
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    running.stdin.write("198.18.0.0/18\n")
    running.stdin.close()
    assert running.wait(FOREVER) == 141
    assert running.stderr.read() == ""
    running.stderr.close()


def test_a_terminal_shows_how_far_it_is_and_is_clean_afterwards(network: Lab, ours: list[str]) -> None:
    seen, terminal = pty.openpty()
    command = [*ours, "-n", "-q", "1", "--targets", "-"]
    running = network.popen("client", command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=terminal, text=True)
    os.close(terminal)
    output, _ = running.communicate("198.18.0.0/29\n", timeout=FOREVER)
    shown = b""
    while True:
        try:
            shown += os.read(seen, 65536)
        except OSError:
            # The other end is closed, and all is read.
            break
    os.close(seen)
    assert len(blocks(output)) == 6
    lines = shown.decode().split("\r\x1b[2K")
    assert "0/6" in lines[1]
    assert any("5/6" in line for line in lines)
    assert lines[-1] == "6 of 6 targets traced, 6 reached\r\n"


class Terminal:
    """A terminal that remembers."""

    def __init__(self) -> None:
        self.written = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> None:
        self.written += text

    def flush(self) -> None:
        """Nothing is kept back."""


def test_without_rich_progress_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("TERM", "xterm")
    terminal: Any = Terminal()
    progress = progress_of(7, terminal)
    progress.hide()
    progress.show(3)
    clear = "\r\x1b[2K"
    assert terminal.written == f"{clear}0 of 7 targets{clear}{clear}3 of 7 targets"
