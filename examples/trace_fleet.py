"""Traces from every host of a fleet to a service, and prints what each found.

In the lab: nornir-tcptraceroute lab up fleet -- python examples/trace_fleet.py examples/inventory/config.yaml service 443 25
"""

from __future__ import annotations

import argparse
import sys

from nornir import InitNornir
from nornir.core.processor import Processor

from nornir_tcptraceroute.plugins.functions import print_traceroute
from nornir_tcptraceroute.plugins.processors import SaveTraces, TraceProgress
from nornir_tcptraceroute.plugins.tasks import tcptraceroute


def main() -> int:
    """Trace, print, and tell by the exit status whether all could be measured."""
    parser = argparse.ArgumentParser(description="Trace from every host of an inventory to a TCP port.")
    parser.add_argument("config", help="Nornir's configuration file")
    parser.add_argument("destination", help="name or address of the service")
    parser.add_argument("port", nargs="+", type=int, help="its TCP port, or several")
    parser.add_argument("--connection", choices=("netmiko", "paramiko", "openssh"), help="how to reach the hosts")
    parser.add_argument("--save", metavar="FILE", help="append each trace to this file, one line of JSON each")
    arguments = parser.parse_args()
    with InitNornir(config_file=arguments.config) as nornir, TraceProgress() as progress:
        processors: list[Processor] = [progress, *([SaveTraces(arguments.save)] if arguments.save else [])]
        result = nornir.with_processors(processors).run(
            task=tcptraceroute,
            destination=arguments.destination,
            port=tuple(arguments.port),
            connection=arguments.connection,
        )
    print_traceroute(result)
    return 1 if result.failed else 0


if __name__ == "__main__":
    sys.exit(main())
