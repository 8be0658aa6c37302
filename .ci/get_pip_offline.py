# BSD-3-Clause, see LICENSE
"""Stands in for the get-pip.py that ansible-test downloads: installs the pip that comes with Python, from no network at all."""

from __future__ import annotations

import ensurepip
import runpy
import sys
from pathlib import Path

wheel = next(Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"))
sys.path.insert(0, str(wheel))
wanted = [argument for argument in sys.argv[1:] if argument not in {"--no-setuptools", "--no-wheel"}]
sys.argv = ["pip", "install", "--upgrade", "--force-reinstall", *wanted]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
