# BSD-3-Clause, see LICENSE
"""Lets ``python3 -m`` run the probe's directory; not part of the collection, whose modules bear no such name."""

from __future__ import annotations

import sys

from .program import run

if __name__ == "__main__":
    sys.exit(run())
