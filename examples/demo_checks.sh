#!/bin/sh
# What `make demo` shows of checks: expectations of paths, as a CI job runs them, inside the lab "demo".
# By itself: nornir-tcptraceroute lab up demo -- sh examples/demo_checks.sh
set -u

printf '\n\n== Expectations of paths, as a CI job checks them. Two fail on purpose:\n'
printf '   remote desktop is not open, because the firewall resets it in the name of the server;\n'
printf '   and the server is eight hops away, not seven.\n'
printf '\n$ nornir-tcptraceroute check examples/checks.yaml\n'
nornir-tcptraceroute check examples/checks.yaml
status=$?
printf 'exit status %s: something is not met\n' "$status"
[ "$status" -eq 1 ] || { echo "demo: exit status $status instead of 1" >&2; exit 1; }
