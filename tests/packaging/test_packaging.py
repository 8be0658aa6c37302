"""Every way to install the package gives the whole of it: wheel, sdist, wheel from sdist, editable, and a bare checkout."""

from __future__ import annotations

import email.parser
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nornir_tcptraceroute.version import VERSION

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "nornir_tcptraceroute"
NOT_SOURCE = shutil.ignore_patterns(".*cache", ".git", ".venv", ".hypothesis", "*.egg-info", "__pycache__", "build", "dist")
#: What makes a file of the package part of every wheel.
SHIPPED = {".py", ".typed", ".json", ".yaml"}


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command without the caller's PYTHON* settings and return what it prints; its errors are the test's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Built:
    """What one build of a copy of the checkout left."""

    checkout: Path
    sdist: Path
    wheel: Path
    wheel_from_sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build in a copy, because setuptools leaves its working files beside the sources."""
    work = tmp_path_factory.mktemp("packaging")
    checkout = work / "checkout"
    shutil.copytree(ROOT, checkout, symlinks=True, ignore=NOT_SOURCE)
    build = (sys.executable, "-m", "build", "--no-isolation")
    run(*build, "--sdist", "--outdir", work / "sdist", checkout, cwd=work)
    run(*build, "--wheel", "--outdir", work / "wheel", checkout, cwd=work)
    (sdist,) = (work / "sdist").iterdir()
    with tarfile.open(sdist) as archive:
        # Debian 12's Python has no filters yet; the archive is our own.
        filters: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(work / "unpacked", **filters)  # noqa: S202
    (unpacked,) = (work / "unpacked").iterdir()
    run(*build, "--wheel", "--outdir", work / "again", unpacked, cwd=work)
    (wheel,) = (work / "wheel").iterdir()
    (wheel_from_sdist,) = (work / "again").iterdir()
    return Built(checkout, sdist, wheel, wheel_from_sdist)


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter of a new environment that borrows this one's packages, so that no index is needed."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    interpreter = tmp_path / "venv" / "bin" / "python"
    site = run(interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    # A path file's directory is searched after the environment's own, and path files in it are not read: the borrowed
    # environment's own installation of this package stays out.
    Path(site, "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return interpreter


def install(python: Path, *what: str | Path) -> None:
    options = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed")
    run(python, "-m", "pip", "install", *options, *what, cwd=python.parent)


def package_files(checkout: Path) -> dict[str, bytes]:
    """Every file that a wheel must hold, by its path there, links followed."""
    files = {}
    for directory, _, names in os.walk(checkout / "nornir_tcptraceroute", followlinks=True):
        for path in (Path(directory, name) for name in names):
            if path.suffix in SHIPPED:
                files[str(path.relative_to(checkout))] = path.read_bytes()
    return files | collection_files(checkout)


def collection_files(checkout: Path) -> dict[str, bytes]:
    """Every file of the Ansible collection that a wheel must hold, by its path there: what a controller needs to run it."""
    base = checkout / "ansible_collection"
    needed = [base / name for name in ("COPYING", "LICENSE", "README.md", "CHANGELOG.rst", "galaxy.yml")]
    for directory in ("meta", "playbooks", "plugins", "roles"):
        needed += [path for path in (base / directory).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {f"ansible_collections/netprobe/path/{path.relative_to(base)}": path.read_bytes() for path in needed}


def check_installed(python: Path, *, below: Path) -> None:
    """What is installed for an interpreter is imported from where it should be, whole, with its data and its commands."""
    program = (
        "import nornir_tcptraceroute.probe.options as options, nornir_tcptraceroute.probe.transports as transports\n"
        "print(options.__file__, transports.__file__, options.TraceOptions(destination='192.0.2.1').port, sep='\\n')"
    )
    *files, port = run(python, "-c", program, cwd=python.parent).splitlines()
    assert port == "80"
    assert all(Path(file).resolve().is_relative_to(below.resolve()) for file in files), files
    commands = python.parent
    assert VERSION in run(commands / "tcptraceroute", "--version", cwd=commands)
    assert '"$schema"' in run(commands / "nornir-tcptraceroute", "schema", cwd=commands)
    assert "demo" in run(commands / "nornir-tcptraceroute", "lab", "list", cwd=commands)


def test_the_link_is_a_link() -> None:
    assert (PACKAGE / "probe").readlink() == Path("../ansible_collection/plugins/module_utils/probe")


@pytest.mark.parametrize("name", ["wheel", "wheel_from_sdist"])
def test_a_wheel_holds_every_file_of_the_package(built: Built, name: str) -> None:
    expected = package_files(built.checkout)
    assert "nornir_tcptraceroute/probe/options.py" in expected
    assert "ansible_collections/netprobe/path/plugins/module_utils/probe/options.py" in expected
    with zipfile.ZipFile(getattr(built, name)) as wheel:
        held = {entry: wheel.read(entry) for entry in wheel.namelist() if ".dist-info/" not in entry}
    assert held.keys() == expected.keys()
    assert held == expected


def test_the_sdist_holds_files_and_no_links(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        members = archive.getmembers()
    assert [member.name for member in members if not (member.isfile() or member.isdir())] == []
    held = {member.name.partition("/")[2] for member in members}
    assert package_files(built.checkout).keys() | {"LICENSE", "README.md", "CHANGELOG.md"} <= held
    assert not any(name.startswith("tests") for name in held)


def test_the_metadata_says_what_pyproject_says(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        info = f"nornir_tcptraceroute-{VERSION}.dist-info"
        metadata = email.parser.Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
        scripts = wheel.read(f"{info}/entry_points.txt").decode()
    assert metadata["Version"] == VERSION
    assert metadata["License-Expression"] == "BSD-3-Clause AND GPL-3.0-or-later"
    assert metadata["Requires-Python"] == ">=3.10"
    needed = {line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert needed == {"netaddr>=1.3", "nornir>=3.6", "ruamel.yaml>=0.18", "scapy<3,>=2.8"}
    assert re.findall(r"^([\w-]+) = ", scripts, re.MULTILINE) == ["nornir-tcptraceroute", "tcptraceroute"]


@pytest.mark.parametrize("name", ["wheel", "wheel_from_sdist", "sdist"])
def test_an_installed_package_is_whole(built: Built, python: Path, name: str) -> None:
    install(python, getattr(built, name))
    check_installed(python, below=python.parent.parent)


def test_an_editable_installation_follows_the_checkout(built: Built, python: Path) -> None:
    install(python, "--editable", built.checkout)
    check_installed(python, below=built.checkout)


def test_a_checkout_runs_as_it_stands(built: Built) -> None:
    program = "import nornir_tcptraceroute.probe.options as options; print(options.__file__)"
    file = run(sys.executable, "-S", "-c", program, cwd=built.checkout).strip()
    assert Path(file).is_relative_to(built.checkout)


def test_the_changelog_tells_of_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:1] in ([VERSION], ["Unreleased"])
