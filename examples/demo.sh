#!/bin/sh
# What `make demo` shows: the kinds of path that there are, inside the lab "demo".
# By itself: nornir-tcptraceroute lab up demo -- sh examples/demo.sh
set -u

# expect STATUS COMMAND...: show the command, run it, and fail where it ends otherwise than it should.
expect() {
    wanted=$1
    shift
    printf '\n$ %s\n' "$*"
    "$@"
    status=$?
    [ "$status" -eq "$wanted" ] || { echo "demo: exit status $status instead of $wanted" >&2; exit 1; }
}

title() {
    printf '\n\n== %s\n' "$1"
}

title "An open port, over IPv4 and IPv6. Router 6 answers nobody, and costs no time."
expect 0 tcptraceroute -4 -N server 443
expect 0 tcptraceroute -6 server 443

title "A closed port: the server itself says so."
expect 0 tcptraceroute -4 -n server 8080

title "A rejected port: the firewall says so (!A)."
expect 0 tcptraceroute -4 -n server 23

title "A filtered port: silence behind the firewall, and exit status 1."
expect 1 tcptraceroute -4 -n -m 12 server 25

title "Equal-cost paths: a trace is one flow and sees one path; other source ports may take the other (hops 3 and 4)."
for port in 40001 40002 40003 40004 40005 40006; do
    printf '\n$ tcptraceroute -4 -q 1 -f 3 -m 4 -p %s server\n' "$port"
    tcptraceroute -4 -q 1 -f 3 -m 4 -p "$port" server 2>/dev/null
done

title "The whole record as JSON (here its first lines; docs/records.md tells every field)."
printf '\n$ tcptraceroute -4 -n --json server 443 | python3 -m json.tool\n'
tcptraceroute -4 -n --json server 443 2>/dev/null | python3 -m json.tool | sed -n '1,36p'
echo "..."
