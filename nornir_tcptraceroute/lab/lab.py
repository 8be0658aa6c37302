"""A running lab: brings a network up, runs commands on its nodes, takes it down."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .blueprint import make_blueprint
from .errors import LabError, NamespaceError
from .exchange import Exchange, read_exchanges
from .fleet import start_fleet
from .plan import make_plan
from .truth import Truth

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from .fleet import Fleet
    from .topology import Topology

# The modules of `inside` are imported without those around them, which would cost more time than bringing the network up.
# Found first, whatever else is called `inside`, and then no more, so that nothing else is found there.
START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); from inside.init import main; del sys.path[0]; "
    "sys.exit(main(int(sys.argv[1])))"
)
HERE = Path(__file__).parent
ENTER = str(HERE / "inside" / "enter.py")
SECONDS_TO_END = 10.0


class Lab:
    """A network that exists during a `with` block, or from `start` to `close`, and never longer than this process.

    Nothing of it shows outside: it has its own network, mount, IPC and PID namespaces, and a user namespace where this process is
    not root.

    Arguments:
        topology: what network; see load_topology.
        record: whether simulating hosts keep a record of what they do, for ``exchanges``.

    Attributes:
        topology: the same.
        plan: all addresses and routes.
        truth: which hops a trace must show.
    """

    def __init__(self, topology: Topology, *, record: bool = False) -> None:
        self.topology = topology
        self.plan = make_plan(topology)
        self.truth = Truth(self.plan)
        self._keeper: subprocess.Popen[bytes] | None = None
        self._first_process = 0
        self._user_namespace = False
        self._namespaces: dict[str, int] = {}
        self._fleet: Fleet | None = None
        self._record = record
        self._records: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Bring the network up. It is complete when this returns: every route is set and every service listens.

        Raises:
            NamespaceError: the system allows neither root nor user namespaces.
            LabError: the system lacks something that the network needs.
        """
        if self._keeper is not None:
            message = "this lab is up already"
            raise LabError(message)
        command = [sys.executable, "-c", START, str(os.getpid()), json.dumps([str(HERE), *sys.path])]
        self._keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert self._keeper.stdin is not None
            self._keeper.stdin.write(json.dumps(make_blueprint(self.plan, self._record_files())).encode() + b"\n")
            self._keeper.stdin.flush()
            told = self._told()
            self._first_process, self._user_namespace = told["first_process"], told["user_namespace"]
            self._namespaces = self._told()["namespaces"]
            self._fleet = start_fleet(self, user_namespace=self._user_namespace)
        except BaseException:
            self.close()
            raise

    def _record_files(self) -> dict[str, str]:
        """The file for each simulating host's record."""
        simulating = [name for name, node in self.topology.nodes.items() if getattr(node, "simulates", None)]
        if not self._record or not simulating:
            return {}
        self._records = tempfile.TemporaryDirectory(prefix="lab-")
        return {name: os.path.join(self._records.name, name) for name in simulating}  # noqa: PTH118 - JSON carries texts

    def exchanges(self, node: str) -> list[Exchange]:
        """What a simulating host has done so far: complete once the network is quiet.

        Arguments:
            node: its name.

        Raises:
            LabError: no record is kept of it.
        """
        if self._records is None or not getattr(self.topology.nodes.get(node), "simulates", None):
            message = f"no record is kept of {node!r}: it must be a host that simulates, in a lab with record=True"
            raise LabError(message)
        return read_exchanges(Path(self._records.name, node).read_bytes())

    def _told(self) -> dict[str, Any]:
        assert self._keeper is not None
        assert self._keeper.stdout is not None
        line = self._keeper.stdout.readline()
        told: dict[str, Any] = json.loads(line) if line else {"error": "the lab's first process ended before it was up"}
        if "refused" in told:
            raise NamespaceError(told["refused"])
        if "error" in told:
            raise LabError(told["error"])
        return told

    def close(self) -> None:
        """Take the network down, with every process that runs in it. Closing a closed lab does nothing."""
        keeper, self._keeper, self._namespaces = self._keeper, None, {}
        if keeper is None:
            return
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # It ended before it had read all; its end is what is wanted.
            keeper.stdin.close()
        try:
            keeper.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            keeper.kill()  # The lab's first process dies with it.
            keeper.wait()
        keeper.stdout.close()
        records, self._records = self._records, None
        if records is not None:
            records.cleanup()
        fleet, self._fleet = self._fleet, None
        if fleet is not None:
            fleet.close()

    def command(self, node: str, argv: Sequence[str], *, capabilities: bool = True) -> list[str]:
        """The command line that runs a command on a node, for those who start processes themselves.

        Arguments, Raises: as for `popen`.

        Returns:
            An argument vector, good as long as the lab is up.
        """
        if node not in self._namespaces:
            message = f"{node!r} is not a node of this lab" if self._keeper else "this lab is not up"
            raise LabError(message)
        flags = ["user-namespace"] * self._user_namespace + ["no-capabilities"] * (not capabilities)
        place = [str(self._first_process), str(self._namespaces[node]), node, ",".join(flags)]
        return [sys.executable, "-I", "-S", ENTER, *place, *argv]

    def popen(self, node: str, argv: Sequence[str], *, capabilities: bool = True, **options: Any) -> subprocess.Popen[Any]:
        """Start a command on a node. It sees the lab's network, names and processes, and this machine's files.

        Arguments:
            node: the host or router.
            argv: the command and its arguments; no shell.
            capabilities: False takes all capabilities away, CAP_NET_RAW with them, and the way to get them back.
            options: for subprocess.Popen.

        Returns:
            The process. Its exit code, and the signals sent to it, are the command's.

        Raises:
            LabError: no such node, or the lab is not up.
        """
        return subprocess.Popen(self.command(node, argv, capabilities=capabilities), **options)

    def run(
        self, node: str, argv: Sequence[str], *, capabilities: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[Any]:
        """Run a command on a node to its end.

        Arguments:
            node, argv, capabilities: as for `popen`.
            options: for subprocess.run. Unless told otherwise, output is captured as text, and standard input is empty.

        Returns:
            The ended process.

        Raises:
            LabError: no such node, or the lab is not up.
            subprocess.TimeoutExpired: after `timeout` seconds, if given.
        """
        if not {"stdout", "stderr", "capture_output"} & options.keys():
            options["capture_output"] = True
        if not {"stdin", "input"} & options.keys():
            options["stdin"] = subprocess.DEVNULL
        settings: dict[str, Any] = {"text": True, "check": False, **options}
        return subprocess.run(self.command(node, argv, capabilities=capabilities), **settings)  # noqa: PLW1510 - settings has it
