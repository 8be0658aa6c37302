"""Runs on the managed host, from memory: makes the probe's sources that follow on standard input importable, and starts it.

Python 3.8 and the standard library, like the probe.
"""

from __future__ import annotations

import json
import sys
import zlib
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Dict, Optional

PACKAGE = "tcptraceroute_probe"


class Carried(MetaPathFinder, Loader):
    """Imports the probe's modules from their texts; nothing is written.

    Arguments:
        sources: texts by path within the package.
    """

    def __init__(self, sources: Dict[str, str]) -> None:
        self._sources = sources

    def _path(self, name: str) -> str:
        inside = name[len(PACKAGE) + 1 :].replace(".", "/")
        package = inside + "/__init__.py" if inside else "__init__.py"
        return package if package in self._sources else inside + ".py"

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> Optional[ModuleSpec]:  # noqa: ARG002
        """Tell of a module, if it was carried here."""
        if fullname != PACKAGE and not fullname.startswith(PACKAGE + "."):
            return None
        found = self._path(fullname)
        if found not in self._sources:
            return None
        return ModuleSpec(fullname, self, origin="<" + found + ">", is_package=found.endswith("__init__.py"))

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's code."""
        path = self._path(module.__name__)
        exec(compile(self._sources[path], "<probe/" + path + ">", "exec", dont_inherit=True), module.__dict__)


def main() -> None:
    """Read the sources, and do what they are for."""
    carried = json.loads(zlib.decompress(sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))))
    sys.meta_path.insert(0, Carried(carried["sources"]))
    if carried["purpose"] == "plan":
        from tcptraceroute_probe.plan import main as tell_plans

        sys.exit(tell_plans())
    from tcptraceroute_probe.program import run

    sys.exit(run(carried["arguments"]))


if __name__ == "__main__":
    main()
