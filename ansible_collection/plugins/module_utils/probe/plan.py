# BSD-3-Clause, see LICENSE
"""What a trace would do, told without sending a packet: for dry runs."""

from __future__ import annotations

import json
import sys
from typing import Any, Dict

from .errors import ProbeError
from .flow import open_flow
from .options import TraceOptions, connect_obstacles
from .pacing import DESTINATION_RATE
from .privileges import explain_missing, has_net_raw

__all__ = ("main", "plan")


def plan(options: TraceOptions) -> Dict[str, Any]:
    """Resolve the destination, ask for the route, look at the privileges, and tell what ``trace`` would do now.

    Arguments:
        options: what is asked.

    Returns:
        ``destination``, ``address``, ``family``, ``port``, ``source``, ``interface``; ``method``: ``raw`` or ``connect``;
        ``probes``: the most that would be asked,
        without repetitions; ``probes_per_second``: the most that would go to one destination; ``problem``: why it could not be
        measured from here now, or None.

    Raises:
        ProbeError: there is no address or no route.
    """
    privileged = has_net_raw()
    connects = options.method == "connect" or (options.method == "auto" and not privileged and not connect_obstacles(options))
    with open_flow(options) as flow:
        return {
            "destination": options.destination,
            "address": flow.address,
            "family": flow.family,
            "port": options.port,
            "source": flow.source,
            "interface": flow.device,
            "probes": (options.max_ttl - options.first_ttl + 1) * options.queries,
            "probes_per_second": DESTINATION_RATE,
            "method": "connect" if connects else "raw",
            "problem": None if privileged or connects else explain_missing(),
        }


def main() -> int:
    """Tell the plan of each request, one JSON object a line on standard input; returns the exit status."""
    for line in sys.stdin.buffer.read().splitlines():
        options = TraceOptions.from_dict(json.loads(line))
        try:
            told = plan(options)
        except ProbeError as error:
            told = {"error": {"type": type(error).__name__, "message": str(error)}, "request": options.to_dict()}
        sys.stdout.write(json.dumps(told) + "\n")
    return 0
