"""The arrows of docs/architecture.md: who may import whom, and what the probe may import at all."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import nornir_tcptraceroute

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "nornir_tcptraceroute"
PROBE = ROOT / "ansible_collection" / "plugins" / "module_utils" / "probe"

#: Each room of the house and the rooms that it may import from. "front" is nornir_tcptraceroute/__init__.py.
ARROWS: dict[str, set[str]] = {
    "front": {"probe", "version"},
    "cli": {"checks", "reports", "measurements", "analysis", "remote", "probe", "lab", "version"},
    "checks": {"plugins", "measurements", "analysis", "remote", "probe", "version"},
    "plugins": {"reports", "measurements", "analysis", "remote", "probe", "version"},
    "reports": {"probe", "version"},
    "measurements": {"analysis", "probe", "version"},
    "analysis": {"probe", "version"},
    "remote": {"probe", "version"},
    "probe": set(),
    "lab": set(),
    "version": set(),
}

#: Each third-party package and the rooms that may import it.
THIRD_PARTY: dict[str, set[str]] = {
    "asyncssh": {"lab"},
    "maxminddb": {"analysis"},
    "netaddr": {"analysis", "cli"},
    "paramiko": {"plugins", "remote"},
    "rich": {"cli", "plugins"},
    "tcptraceroute_probe": {"remote"},
    "nornir": {"checks", "cli", "plugins"},
    "pydantic": {"lab"},
    "pyroute2": {"lab"},
    "ruamel": {"analysis", "cli", "lab"},
    "scapy": {"analysis", "reports"},
}

#: Modules of the standard library that cost more to import than the probe may spend, or that run other code.
TOO_DEAR = {
    "argparse",
    "asyncio",
    "concurrent",
    "email",
    "enum",
    "http",
    "importlib",
    "inspect",
    "ipaddress",
    "logging",
    "multiprocessing",
    "pathlib",
    "pickle",
    "pkgutil",
    "runpy",
    "ssl",
    "statistics",
    "subprocess",
    "tempfile",
    "unittest",
    "urllib",
    "uuid",
}
#: What importing the whole probe must not load by any detour either: all these but what comes with socket, and what a record
#: loads only where it is asked for.
NEVER_LOADED = (TOO_DEAR | {"dataclasses"}) - {"enum", "importlib"}


@dataclass(frozen=True)
class Import:
    """One name that a module imports: absolute, with the line it stands on."""

    name: str
    line: int


def imports_of(source: str, module: str, *, is_package: bool) -> list[Import]:
    """All that a module's source imports, wherever the statement stands, as absolute names; ``from a import b`` is ``a.b``."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            climbed = package[: max(0, len(package) - node.level + 1)] or ["<above the top>"]
            parts = [*(climbed if node.level else []), *([node.module] if node.module else [])]
            found += [Import(".".join([*parts, alias.name]), node.lineno) for alias in node.names]
    return found


def room_of(name: str) -> str:
    """The room that an absolute name below ``nornir_tcptraceroute`` lives in."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ARROWS else "front"


def faults_in(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What a module of the package imports against the two tables, one sentence each."""
    room = room_of(module)
    faults = []
    for imported in imports_of(source, module, is_package=is_package):
        top = imported.name.split(".")[0]
        if top == "nornir_tcptraceroute":
            target = room_of(imported.name)
            if target != room and target not in ARROWS[room]:
                faults.append(f"{module}:{imported.line} imports {imported.name}: {room} must not know {target}")
        elif top not in sys.stdlib_module_names and room not in THIRD_PARTY.get(top, set()):
            faults.append(f"{module}:{imported.line} imports {imported.name}: {room} must not need {top}")
    return faults


def probe_faults_in(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What a module of the probe does against its own, stricter rules: it must run on any host, under any package name."""
    faults = faults_in(source, module, is_package=is_package)
    faults += [
        f"{module}:{imported.line} imports {imported.name}, which costs more than the probe may spend"
        for imported in imports_of(source, module, is_package=is_package)
        if imported.name.split(".")[0] in TOO_DEAR
    ]
    for node in ast.walk(ast.parse(source, feature_version=(3, 8))):
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").startswith("nornir_tcptraceroute"):
            faults.append(f"{module}:{node.lineno} names its own package, which has another name on a managed host")
        if isinstance(node, ast.Import) and any(alias.name.startswith("nornir_tcptraceroute") for alias in node.names):
            faults.append(f"{module}:{node.lineno} names its own package, which has another name on a managed host")
        if isinstance(node, ast.Name) and node.id in {"__import__", "eval", "exec", "compile"}:
            faults.append(f"{module}:{node.lineno} uses {node.id}: what is imported that way is not carried to a managed host")
    return faults


def modules_below(directory: Path, name: str) -> list[tuple[str, Path]]:
    """The modules below a directory by their dotted names, links not followed."""
    modules = []
    for path in sorted(directory.iterdir()):
        if path.is_symlink() or path.name == "__pycache__":
            continue
        if path.is_dir():
            modules += modules_below(path, f"{name}.{path.name}")
        elif path.name == "__init__.py":
            modules.append((name, path))
        elif path.suffix == ".py":
            modules.append((f"{name}.{path.stem}", path))
    return modules


PACKAGE_MODULES = modules_below(PACKAGE, "nornir_tcptraceroute")
PROBE_MODULES = modules_below(PROBE, "nornir_tcptraceroute.probe")


@pytest.mark.parametrize(("module", "path"), PACKAGE_MODULES, ids=[name for name, _ in PACKAGE_MODULES])
def test_arrows_run_one_way(module: str, path: Path) -> None:
    assert faults_in(path.read_text(), module, is_package=path.name == "__init__.py") == []


@pytest.mark.parametrize(("module", "path"), PROBE_MODULES, ids=[name for name, _ in PROBE_MODULES])
def test_the_probe_needs_the_standard_library_and_itself(module: str, path: Path) -> None:
    assert probe_faults_in(path.read_text(), module, is_package=path.name == "__init__.py") == []


def test_every_room_is_in_the_plan() -> None:
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert rooms - {"__init__", "__pycache__"} <= ARROWS.keys()


def test_the_tables_hold_no_circle() -> None:
    done: set[str] = set()
    while len(done) < len(ARROWS):
        free = {room for room, targets in ARROWS.items() if room not in done and targets <= done}
        assert free, f"these rooms import one another: {ARROWS.keys() - done}"
        done |= free


def test_a_package_of_the_probe_has_an_empty_init() -> None:
    packages = [path for path in PROBE.rglob("*") if path.is_dir() and path.name != "__pycache__"]
    assert all((package / "__init__.py").read_bytes() == b"" for package in [PROBE, *packages])


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("nornir_tcptraceroute.probe.wire", "import struct\nfrom . import errors", None),
        ("nornir_tcptraceroute.probe.transports.raw", "from ..errors import ProbeError", None),
        ("nornir_tcptraceroute.probe.wire", "from ..analysis import naming", "must not know analysis"),
        ("nornir_tcptraceroute.probe.transports.raw", "from ...version import VERSION", "must not know version"),
        ("nornir_tcptraceroute.probe.wire", "def f():\n    import scapy.all", "must not need scapy"),
        ("nornir_tcptraceroute.probe.wire", "if 0:\n    from asyncio import run", "costs more"),
        ("nornir_tcptraceroute.probe.wire", "import concurrent.futures", "costs more"),
        ("nornir_tcptraceroute.probe.wire", "import importlib", "costs more"),
        ("nornir_tcptraceroute.probe.wire", "__import__('json')", "__import__"),
        ("nornir_tcptraceroute.probe.wire", "exec('import json')", "exec"),
        ("nornir_tcptraceroute.probe.wire", "from nornir_tcptraceroute.probe import errors", "names its own package"),
        ("nornir_tcptraceroute.probe.wire", "import nornir_tcptraceroute.probe.errors", "names its own package"),
        ("nornir_tcptraceroute.probe.wire", "from .... import errors", "above the top"),
    ],
)
def test_a_fault_in_the_probe_is_found(module: str, source: str, fault: str | None) -> None:
    faults = probe_faults_in(source, module)
    assert faults == [] if fault is None else any(fault in sentence for sentence in faults)


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("nornir_tcptraceroute.cli.tcptraceroute", "from ..probe.engine import Engine", None),
        ("nornir_tcptraceroute.cli.lab", "from .. import lab", None),
        ("nornir_tcptraceroute.cli.tcptraceroute", "from ..plugins import tasks", "cli must not know plugins"),
        ("nornir_tcptraceroute.cli.tcptraceroute", "import scapy.all", "cli must not need scapy"),
        ("nornir_tcptraceroute.analysis.naming", "import netaddr", None),
        ("nornir_tcptraceroute.analysis.naming", "import nornir", "analysis must not need nornir"),
        ("nornir_tcptraceroute.analysis.naming", "from ..cli import tcptraceroute", "analysis must not know cli"),
        ("nornir_tcptraceroute.analysis.naming", "import requests", "analysis must not need requests"),
        ("nornir_tcptraceroute.reports.table", "from nornir_tcptraceroute import trace", "reports must not know front"),
        ("nornir_tcptraceroute.lab.network", "import pyroute2\nfrom ruamel.yaml import YAML", None),
        ("nornir_tcptraceroute.lab.network", "from ..probe import options", "lab must not know probe"),
        ("nornir_tcptraceroute.plugins.tasks.tcptraceroute", "from nornir.core.task import Task", None),
    ],
)
def test_a_wrong_arrow_is_found(module: str, source: str, fault: str | None) -> None:
    faults = faults_in(source, module)
    assert faults == [] if fault is None else any(fault in sentence for sentence in faults)


def test_newer_syntax_than_3_8_in_the_probe_is_found() -> None:
    with pytest.raises(SyntaxError):
        probe_faults_in("match 1:\n    case 1:\n        pass", "nornir_tcptraceroute.probe.wire")


IMPORT_ALL = """
import sys
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
for name in sys.argv[2:]:
    __import__(name)
print(*{name.split(".")[0] for name in set(sys.modules) - before})
"""


def test_the_probe_runs_under_another_name_and_loads_nothing_dear(tmp_path: Path) -> None:
    shutil.copytree(PROBE, tmp_path / "carried", ignore=shutil.ignore_patterns("__pycache__"))
    names = [name.replace("nornir_tcptraceroute.probe", "carried", 1) for name, _ in PROBE_MODULES]
    # Isolated, so that neither this checkout nor site-packages can be found, only the copy.
    command = [sys.executable, "-ISB", "-c", IMPORT_ALL, str(tmp_path), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert set(done.stdout.split()) & NEVER_LOADED == set()


def test_every_public_name_is_there_and_documented() -> None:
    assert [name for name in nornir_tcptraceroute.__all__ if not getattr(nornir_tcptraceroute, name).__doc__] == []


def test_the_public_names_are_all_of_them() -> None:
    program = "import nornir_tcptraceroute as package; print(*(name for name in vars(package) if not name.startswith('_')))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - ARROWS.keys() - {"annotations"} <= set(nornir_tcptraceroute.__all__)
