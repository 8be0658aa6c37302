"""The command as a whole: streams, exit status, signals, privileges, start-up."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import jsonschema
import pytest

from nornir_tcptraceroute import VERSION, Trace
from nornir_tcptraceroute.cli.classic_arguments import USAGE, help_text
from tests.cli.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_tcptraceroute.lab import Lab

    LabFactory = Callable[[str], Lab]

VERSION_TEXT = f"\ntcptraceroute {VERSION} (nornir_tcptraceroute), in place of tcptraceroute 1.5beta7\n\n"
LONG = 60  # seconds that nothing here takes
HOPS = r""" 1  10\.1\.0\.2(  \d+\.\d{3} ms){3}
 2  10\.2\.0\.2(  \d+\.\d{3} ms){3}
 3  10\.3\.0\.2(  \d+\.\d{3} ms){3}
"""


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONG, **options)


# What needs no network.


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(ours: list[str], option: str) -> None:
    done = run([*ours, option])
    assert (done.returncode, done.stdout, done.stderr) == (1, VERSION_TEXT, help_text())


@pytest.mark.parametrize("option", ["-v", "--version"])
def test_version(ours: list[str], option: str) -> None:
    done = run([*ours, option])
    assert (done.returncode, done.stdout, done.stderr) == (0, VERSION_TEXT, "")


def test_a_wrong_option_is_told_with_the_usage(ours: list[str]) -> None:
    done = run([*ours, "-Q", "localhost"])
    expected = f"tcptraceroute: Unknown command line argument: -Q\n{USAGE}"
    assert (done.returncode, done.stdout, done.stderr) == (1, VERSION_TEXT, expected)


def test_all_problems_are_told_at_once_and_without_the_usage(ours: list[str]) -> None:
    done = run([*ours, "-m", "0", "-q", "many", "localhost", "nosuchservice"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "tcptraceroute: Unknown port: nosuchservice\n"
        "tcptraceroute: max_ttl: 0 is not between 1 and 255\n"
        "tcptraceroute: queries: 'many' is not a whole number between 1 and 50\n"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["host.invalid"], "host.invalid does not resolve"),
        (["-i", "nosuch0", "127.0.0.1"], "nosuch0 is not an interface of this host"),
        (["-s", "192.0.2.1", "127.0.0.1"], "192.0.2.1 is not an address of this host"),
        (["224.0.0.1"], "224.0.0.1 is never traced to"),
    ],
)
def test_what_can_not_be_traced_is_one_sentence(ours: list[str], arguments: list[str], told: str) -> None:
    done = run([*ours, *arguments])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"tcptraceroute: {told}")
    assert done.stderr.count("\n") == 1


def test_a_source_port_in_use_is_refused_with_a_hint(ours: list[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        done = run([*ours, "-p", port, "127.0.0.1"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"tcptraceroute: Source port {port} is in use at 127.0.0.1")
    assert done.stderr.endswith("-P instead of -p takes it all the same\n")


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "tr_TR.UTF-8", ""])
def test_the_locale_changes_nothing(ours: list[str], locale: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
    done = run([*ours, "-i", "\u0131\u015f", "localhost", "\udce9\u0130"], env={**environment, "LC_ALL": locale, "LANG": locale})
    assert done.stdout == ""
    assert done.stderr.isascii()
    assert re.match(r"tcptraceroute: Unknown port: \\", done.stderr)


def test_a_full_disk_is_one_line_and_status_1(ours: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*ours, "--version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=LONG)
    assert done.returncode == 1
    assert done.stderr == "tcptraceroute: standard output can't be written: No space left on device\n"


def test_a_reader_that_went_away_is_no_error(ours: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as broken:
        done = subprocess.run([*ours, "--version"], stdout=broken, stderr=subprocess.PIPE, text=True, check=False, timeout=LONG)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


IMPORTS = """
import sys
from nornir_tcptraceroute.cli.tcptraceroute import run
status = run(sys.argv[1:])
print("\\n".join(sorted(sys.modules)), "status", status, sep="\\n", file=sys.stderr)
"""


def modules_after(*arguments: str) -> set[str]:
    done = run([sys.executable, "-S", "-c", IMPORTS, *arguments], cwd=ROOT)
    assert "\nstatus\n" in done.stderr, done.stderr
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_help_starts_without_what_only_the_controller_needs() -> None:
    loaded = modules_after("--help")
    assert "nornir_tcptraceroute" in loaded
    assert not loaded & {"scapy", "netaddr", "nornir", "asyncio", "argparse", "json", "logging", "concurrent"}


def test_ctrl_c_before_the_trace_is_no_traceback() -> None:
    script = """
import os, signal
from nornir_tcptraceroute.cli import tcptraceroute
tcptraceroute.run = lambda arguments: os.kill(os.getpid(), signal.SIGINT)
tcptraceroute.main()
"""
    done = run([sys.executable, "-c", script], cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


# What needs one.


@pytest.fixture
def ports(lab: LabFactory) -> Lab:
    return lab("ports")


def test_a_trace(ports: Lab, ours: list[str]) -> None:
    done = ports.run("client", [*ours, "server.lab"])
    assert done.returncode == 0
    assert re.fullmatch(HOPS + r" 4  10\.4\.0\.2 \[open\](  \d+\.\d{3} ms){3}\n", done.stdout)
    assert re.fullmatch(
        r"Selected device \S+, address 10\.1\.0\.1, port \d+ for outgoing packets\n"
        r"Tracing the path to server\.lab \(10\.4\.0\.2\) on TCP port 80 \(http\), 30 hops max\n",
        done.stderr,
    )


@pytest.mark.parametrize(
    ("arguments", "last_line", "statuses"),
    [
        # exit status as the classic tool's, with --fail-unreached, and with --fail-closed
        (["80"], r" 4  10\.4\.0\.2 \[open\]  \S+ ms", (0, 0, 0)),
        (["9999"], r" 4  10\.4\.0\.2 \[closed\]  \S+ ms", (0, 0, 4)),
        (["1013"], r" 3  10\.2\.0\.2  \S+ ms !A", (0, 3, 3)),
        (["81", "-m", "3", "-w", "0.1"], r" 3  \*", (1, 2, 2)),
        (["80", "-m", "2"], r" 2  10\.2\.0\.2  \S+ ms", (1, 2, 2)),
        (["80", "-l", "9000"], r" [123]  \*", (1, 1, 1)),
    ],
)
def test_exit_status(ports: Lab, ours: list[str], arguments: list[str], last_line: str, statuses: tuple[int, int, int]) -> None:
    for strictness, status in zip(([], ["--fail-unreached"], ["--fail-closed"]), statuses, strict=True):
        done = ports.run("client", [*ours, "-n", "-q", "1", *strictness, "server.lab", *arguments])
        assert done.returncode == status, done.stderr
        assert re.fullmatch(last_line, done.stdout.splitlines()[-1])
        assert ("Destination not reached\n" in done.stderr) is (statuses[0] == 1)


def test_names(ports: Lab, ours: list[str]) -> None:
    def hosts(*arguments: str) -> list[str]:
        lines = ports.run("client", [*ours, *arguments, "-q", "1", "server.lab"]).stdout.splitlines()
        return [re.sub(r"  \S+ ms", "", line[4:]) for line in lines]

    addresses = ["10.1.0.2", "10.2.0.2", "10.3.0.2", "10.4.0.2"]
    names = ["r1.lab", "firewall.lab", "r3.lab", "server.lab"]
    assert hosts("-n") == [*addresses[:3], "10.4.0.2 [open]"]
    # All are RFC 1918 addresses.
    assert hosts() == hosts("-n")
    named = [f"{name} ({address})" for name, address in zip(names, addresses, strict=True)]
    assert hosts("-N") == [*named[:3], f"{named[3]} [open]"]
    six = hosts("-6")
    assert [host.partition(" ")[0] for host in six] == names
    assert all(":" in host for host in six)


@pytest.mark.parametrize(("port", "note"), [*enumerate(["!N", "!A", "!S", "!H", "!p", "!A", "!A"], 2000)])
def test_unreachables_of_ipv6(ports: Lab, ours: list[str], port: int, note: str) -> None:
    done = ports.run("client", [*ours, "-6", "-n", "-q", "1", "server.lab", str(port)])
    assert done.returncode == 0
    assert re.search(rf"^ 3  fd00:2::2  \S+ ms {re.escape(note)}\n\Z", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(("version", "headers"), [("-4", 40), ("-6", 60)])
def test_a_length_below_the_headers_is_raised(ports: Lab, ours: list[str], version: str, headers: int) -> None:
    arguments = [*ours, version, "-n", "-q", "1", "server.lab", "80"]
    done = ports.run("client", [*arguments, "30"])
    assert done.returncode == 0
    assert done.stderr.startswith(f"Warning: Increasing packet length to {headers} bytes\nSelected device")
    assert "byte packets" not in done.stderr
    assert f"hops max, {headers + 1} byte packets\n" in ports.run("client", [*arguments, str(headers + 1)]).stderr


def test_a_length_below_longer_headers_is_told_once(ports: Lab, ours: list[str]) -> None:
    done = ports.run("client", [*ours, "-n", "-q", "1", "-l", "50", "--tcp-options", "linux", "server.lab"])
    assert done.returncode == 0
    assert re.findall(r"^Warning: .*", done.stderr, re.MULTILINE) == [
        "Warning: length 50 is less than the headers take: probes were 60 bytes long."
    ]


def test_send_errors_are_stars_and_one_warning(ports: Lab, ours: list[str]) -> None:
    done = ports.run("client", [*ours, "-n", "-m", "1", "-l", "9000", "server.lab"])
    assert done.returncode == 1
    assert done.stdout == " 1  * * *\n"
    assert done.stderr.count("Warning: ") == 1
    assert "Warning: hop 1: a probe was not sent: Message too long (EMSGSIZE)\n" in done.stderr


@pytest.mark.parametrize("option", ["--no-dnat", "--dnat", "--no-dnat-strict"])
def test_dnat(lab: LabFactory, ours: list[str], option: str) -> None:
    nat = lab("nat")
    rewritten = nat.truth.addresses("rewritten", 4)[0]
    done = nat.run("client", [*ours, "-n", "-q", "1", option, "203.0.113.90"])
    assert done.returncode == 0
    dnat_lines = [line for line in done.stdout.splitlines() if "DNAT" in line]
    assert dnat_lines == ([f"      Detected DNAT to {rewritten}"] if option == "--dnat" else [])
    assert ("*" in done.stdout) is (option == "--no-dnat-strict")
    assert " 203.0.113.90 [open]  " in done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads((ROOT / "nornir_tcptraceroute" / "trace.schema.json").read_text())


def document(done: subprocess.CompletedProcess[str], schema: Any) -> Trace:
    """The one JSON document of a call."""
    record = json.loads(done.stdout)
    assert done.stdout.isascii()
    jsonschema.validate(record, schema)
    return Trace.from_dict(record)


def test_json_is_one_document_with_names(ports: Lab, ours: list[str], schema: Any) -> None:
    done = ports.run("client", [*ours, "-N", "--json", "server.lab"])
    trace = document(done, schema)
    assert done.returncode == 0
    assert [hop.name for hop in trace.hops] == ["r1.lab", "firewall.lab", "r3.lab", "server.lab"]
    assert (trace.destination, trace.port_state, trace.warnings) == ("server.lab", "open", ())
    assert done.stderr.startswith("Selected device ")


def test_json_of_a_trace_without_success(ports: Lab, ours: list[str], schema: Any) -> None:
    done = ports.run("client", [*ours, "-n", "-q", "1", "-m", "3", "-w", "0.1", "--json", "server.lab", "81"])
    trace = document(done, schema)
    assert (done.returncode, trace.reached, trace.stop_reason) == (1, False, "max_ttl")


def test_debug_tells_every_packet(ports: Lab, ours: list[str]) -> None:
    done = ports.run("client", [*ours, "-n", "-d", "-q", "1", "server.lab"])
    assert done.returncode == 0
    assert re.fullmatch(HOPS.replace("{3} ms){3}", "{3} ms)") + r" 4  10\.4\.0\.2 \[open\]  \d+\.\d{3} ms\n", done.stdout)
    debug = [line for line in done.stderr.splitlines() if line.startswith("debug: ")]
    assert len(debug) == done.stderr.count("\n") - 2
    for ttl in range(1, 5):
        assert any(re.match(rf"debug: ttl {ttl} query 1: sent, sequence 0x", line) for line in debug)
        assert any(re.match(rf"debug: ttl {ttl} query 1: .* from 10\.{ttl}\.0\.2 after ", line) for line in debug)


def until(stream: IO[str] | None, pattern: str) -> None:
    """Read lines up to the first that matches."""
    assert stream is not None
    for line in stream:
        if re.search(pattern, line):
            return
    pytest.fail(f"the command ended before it printed {pattern!r}")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_trace_with_what_is_known(ports: Lab, ours: list[str], number: int, status: int) -> None:
    command = [*ours, "-n", "-w", "300", "server.lab", "81"]
    with ports.popen("client", command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        until(running.stdout, r"^ 2  10\.2\.0\.2(  \S+ ms){3}$")
        running.send_signal(number)
        _, errors = running.communicate(timeout=LONG)
    assert running.returncode == status
    assert "Destination not reached" not in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_trace_with_a_valid_document(
    ports: Lab, ours: list[str], schema: Any, number: int, status: int
) -> None:
    command = [*ours, "-n", "-d", "-w", "300", "--json", "server.lab", "81"]
    with ports.popen("client", command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        until(running.stderr, r"^debug: ttl 2 complete$")
        running.send_signal(number)
        output, _ = running.communicate(timeout=LONG)
    trace = document(subprocess.CompletedProcess(command, running.returncode, output, ""), schema)
    assert running.returncode == status
    assert trace.stop_reason == "interrupted"
    assert [hop.address for hop in trace.hops] == ["10.1.0.2", "10.2.0.2"]


def test_an_ignored_signal_stays_ignored(ports: Lab, ours: list[str]) -> None:
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *ours, "-n", "-d", "-m", "3", "-w", "1", "-q", "1", "server.lab", "81"]
    with ports.popen("client", command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        until(running.stderr, r"^debug: ttl 1 query 1: sent")
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=LONG)
    assert running.returncode == 1
    assert output.endswith(" 3  *\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(ports: Lab, ours: list[str], closed: str) -> None:
    done = ports.run("client", ["sh", "-c", f'exec "$@" {closed}', "sh", *ours, "-n", "-q", "1", "server.lab"])
    assert done.returncode == 0
    assert done.stdout.count("\n") == (0 if ">&-" in closed.split() else 4)
    assert done.stderr.count("\n") == (0 if "2>&-" in closed else 2)


def test_output_that_is_lost_ends_the_trace(ports: Lab, ours: list[str]) -> None:
    command = ["sh", "-c", 'exec "$@" >/dev/full', "sh", *ours, "-n", "-w", "300", "server.lab", "81"]
    done = ports.run("client", command, timeout=LONG)
    assert done.returncode == 1
    assert done.stderr.endswith("\ntcptraceroute: standard output can't be written: No space left on device\n")
    assert done.stderr.count("\n") == 3


def test_without_privilege_one_sentence(ports: Lab, ours: list[str]) -> None:
    done = ports.run("client", [*ours, "-n", "--method", "raw", "server.lab"], capabilities=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("tcptraceroute: ")
    assert "CAP_NET_RAW" in done.stderr
    assert done.stderr.count("\n") == 1


DEAD_RESOLVER = """
import sys, threading
sys.path.insert(0, sys.argv.pop(1))
from nornir_tcptraceroute.cli import session, tcptraceroute
reverse_names, budget_s = session.ReverseNames, float(sys.argv.pop(1))
session.ReverseNames = lambda mode: reverse_names(mode, budget_s, lambda address: threading.Event().wait())
sys.exit(tcptraceroute.run(sys.argv[1:]))
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_dead_resolver_costs_names_alone(ports: Lab, form: str) -> None:
    arguments = ["-N", "-q", "1", *(["--json"] if form == "json" else []), "server.lab"]
    done = ports.run("client", [sys.executable, "-c", DEAD_RESOLVER, str(ROOT), "0.1", *arguments])
    assert done.returncode == 0
    if form == "text":
        assert re.fullmatch(HOPS.replace("{3} ms){3}", "{3} ms)") + r" 4  10\.4\.0\.2 \[open\]  \d+\.\d{3} ms\n", done.stdout)
    else:
        assert [hop["name"] for hop in json.loads(done.stdout)["hops"]] == [None] * 4
    assert "\nWarning: 4 of 4 addresses have no name because their lookups had not ended within 0.1 s" in done.stderr


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_signal_ends_the_wait_for_names(ports: Lab, form: str) -> None:
    arguments = ["-N", "-d", "-q", "1", *(["--json"] if form == "json" else []), "server.lab"]
    command = [sys.executable, "-c", DEAD_RESOLVER, str(ROOT), str(100 * LONG), *arguments]
    with ports.popen("client", command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        until(running.stderr, r"^debug: ttl 4 complete$")
        running.send_signal(signal.SIGTERM)
        output, errors = running.communicate(timeout=LONG)
    assert running.returncode == 143
    assert len(output.splitlines() if form == "text" else json.loads(output)["hops"]) == 4
    assert "Warning: " not in errors


GUARDED = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from nornir_tcptraceroute.cli import session, tcptraceroute

class Guard:
    def find_spec(self, name, path=None, target=None):
        raise AssertionError(f"imported after privileges were dropped: {name}")

def guarded_drop():
    drop()
    sys.meta_path.insert(0, Guard())

def watched_event(self, event):
    with open("/proc/self/status") as file:
        capabilities.update(line for line in file if line.startswith(("CapPrm", "CapEff", "CapBnd", "CapAmb")))
    take_event(self, event)

capabilities = set()
drop, session.drop_privileges = session.drop_privileges, guarded_drop
take_event, session._Session._take_event = session._Session._take_event, watched_event
status = tcptraceroute.run(sys.argv[1:])
print("held", sorted(line.split()[0] for line in capabilities if int(line.split()[1], 16)), file=sys.stderr)
sys.exit(status)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-n"],
        ["-6", "-N"],
        ["--json", "-N"],
        ["-d", "-n", "-l", "9000"],
        ["--explain"],
        ["-6", "--explain", "--json", "--tcp-options", "linux"],
    ],
    ids=" ".join,
)
def test_privileges_are_dropped_and_nothing_is_imported_afterwards(ports: Lab, arguments: list[str]) -> None:
    done = ports.run("client", [sys.executable, "-c", GUARDED, str(ROOT), *arguments, "-q", "1", "-m", "5", "server.lab"])
    assert done.stderr.endswith("\nheld []\n"), done.stderr
    assert "imported after" not in done.stderr
    assert done.returncode == (1 if "9000" in arguments else 0)


def test_a_trace_loads_nothing_dear(ports: Lab) -> None:
    done = ports.run("client", [sys.executable, "-S", "-c", IMPORTS, "-n", "-q", "1", "server.lab"], cwd=ROOT)
    assert done.stderr.endswith("status\n0\n")
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert not loaded & {
        "scapy",
        "netaddr",
        "nornir",
        "asyncio",
        "argparse",
        "json",
        "logging",
        "concurrent",
        "subprocess",
        "textwrap",
    }


# What --explain adds.


NETWORKS = """
networks:
  dc1: [10.1.0.0/16, 10.2.0.0/16]
  lab: [10.0.0.0/8, 'fd00::/8']
devices:
  10.3.0.2: core1
"""


@pytest.fixture
def rewrite(lab: LabFactory) -> Lab:
    return lab("rewrite")


@pytest.fixture
def networks(tmp_path: Path) -> str:
    file = tmp_path / "networks.yaml"
    file.write_text(NETWORKS)
    return str(file)


def test_findings_are_told_beneath_their_hops_and_at_the_end(rewrite: Lab, ours: list[str], networks: str) -> None:
    arguments = ["-n", "-q", "1", "-t", "184", "--tcp-options", "mss", "--networks", networks, "server.lab"]
    done = rewrite.run("client", [*ours, *arguments])
    assert done.returncode == 0, done.stderr
    assert re.sub(r"  \d+\.\d{3} ms", "", done.stdout) == (
        " 1  10.1.0.2\n"
        "      in dc1\n"
        " 2  10.2.0.2\n"
        "      in dc1\n"
        " 3  10.3.0.2\n"
        "      dscp 46 -> 8 between hop 2 (10.2.0.2) and here\n"
        "      core1, in lab\n"
        " 4  10.4.0.2\n"
        "      mss 1460 -> 1000 between hop 3 (10.3.0.2) and here\n"
        "      in lab\n"
        " 5  10.5.0.2\n"
        "      in lab\n"
        " 6  10.6.0.2 [open]\n"
        "      in lab\n"
        "Findings:\n"
        "  dscp 46 -> 8 between hop 2 (10.2.0.2) and hop 3 (core1)\n"
        "  mss 1460 -> 1000 between hop 3 (core1) and hop 4 (10.4.0.2)\n"
    )


def test_the_document_has_the_findings(rewrite: Lab, ours: list[str], schema: Any, networks: str) -> None:
    arguments = ["-q", "1", "-N", "-t", "184", "--json", "--explain", "--networks", networks, "server.lab"]
    trace = document(rewrite.run("client", [*ours, *arguments]), schema)
    assert [(one.field, one.sent, one.seen, one.after) for one in trace.hops[2].modified or ()] == [("dscp", "46", "8", 2)]
    assert [hop.network.name for hop in trace.hops if hop.network] == ["dc1", "dc1", "lab", "lab", "lab", "lab"]
    assert (trace.hops[2].device, trace.hops[2].name) == ("core1", "clamper.lab")


def test_without_it_nothing_is_explained(rewrite: Lab, ours: list[str], schema: Any) -> None:
    arguments = ["-n", "-q", "1", "-t", "184", "server.lab"]
    done = rewrite.run("client", [*ours, *arguments])
    assert re.fullmatch(r"( \d  10\.\d\.0\.2( \[open\])?  \S+ ms\n){6}", done.stdout)
    trace = document(rewrite.run("client", [*ours, "--json", *arguments]), schema)
    assert {(hop.modified, hop.network, hop.notes) for hop in trace.hops} == {(None, None, None)}


def test_ipv6_is_explained_too(rewrite: Lab, ours: list[str], networks: str) -> None:
    done = rewrite.run("client", [*ours, "-6", "-n", "-q", "1", "-t", "184", "--networks", networks, "server.lab"])
    assert "      dscp 46 -> 8 between hop 2 (fd00:2::2) and here\n      in lab\n" in done.stdout


def test_a_path_that_changes_nothing_is_said_to(ports: Lab, ours: list[str]) -> None:
    done = ports.run("client", [*ours, "-n", "-q", "1", "--explain", "server.lab"])
    assert done.stdout.endswith("Findings:\n  No answer shows that the path rewrites anything\n")
    assert done.stdout.count("      private\n") == 4
    silent = ports.run("client", [*ours, "-n", "-q", "1", "-f", "4", "--explain", "server.lab"])
    assert silent.stdout.endswith(
        "Findings:\n  No answer quotes the probe, so that nothing is known of what the path does to it\n"
    )


@pytest.mark.parametrize("name", ["-n", "-N"])
def test_a_signal_ends_an_explained_trace_with_what_is_known(ports: Lab, ours: list[str], name: str) -> None:
    command = [*ours, name, "-d", "-w", "300", "--explain", "server.lab", "81"]
    with ports.popen("client", command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        until(running.stderr, r"^debug: ttl 2 complete$")
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=LONG)
    assert running.returncode == 130
    assert output.count("      private\n") == 2
    assert "Findings:\n" in output


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, [": can't be read: No such file or directory"]),
        (
            "networks:\n  a: [10.0.0.1/8]\n  b: [x]\n",
            [":2: networks.a[0]: '10.0.0.1/8' has host bits set", ":3: networks.b[0]: 'x' is"],
        ),
    ],
)
def test_a_wrong_file_is_told_before_anything_is_sent(ours: list[str], tmp_path: Path, text: str | None, told: list[str]) -> None:
    file = tmp_path / "networks.yaml"
    if text is not None:
        file.write_text(text)
    done = run([*ours, "--networks", str(file), "127.0.0.1"])
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert len(lines) == len(told)
    assert all(line.startswith(f"tcptraceroute: {file}{start}") for line, start in zip(lines, told, strict=True))


@pytest.mark.parametrize("package", ["scapy", "netaddr", "ruamel"])
def test_a_missing_package_is_one_sentence(package: str) -> None:
    command = f"""
import sys
sys.modules["{package}"] = None
from nornir_tcptraceroute.cli.tcptraceroute import run
sys.exit(run(["--explain", "127.0.0.1"]))
"""
    done = run([sys.executable, "-c", command], cwd=ROOT)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"tcptraceroute: --explain needs {package}, which is missing or broken .*\n", done.stderr)


def test_without_privilege_it_measures_by_connections_and_says_so(ports: Lab, ours: list[str]) -> None:
    done = ports.run("client", [*ours, "-n", "server.lab"], capabilities=False)
    assert done.returncode == 0
    assert "[open]" in done.stdout.splitlines()[-1]
    device, _, warning = done.stderr.splitlines()
    # Each connection has a port of its own.
    assert ", port " not in device
    assert warning.startswith("Warning: Measured by connections")
    assert "CAP_NET_RAW" in warning
