#!/bin/sh
# What `make demo` shows of a fleet: Nornir's and Ansible's way to it, inside the lab "fleet".
# By itself: nornir-tcptraceroute lab up fleet -- sh examples/demo_fleet.sh
set -eu

title() {
    printf '\n\n== %s\n' "$1"
}

title "A fleet: Nornir reaches three hosts over SSH, and each traces to an open and a filtered port."
python examples/trace_fleet.py examples/inventory/config.yaml service 443 25

title "The same fleet from an Ansible play."
if ! command -v ssh >/dev/null; then
    echo "Left out: Ansible needs the program ssh (Debian, Ubuntu: apt-get install openssh-client)"
    exit 0
fi
# Ansible leaves nothing in the home directory.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# As root, whom every managed host lets in: where the lab's own SSH server runs, there is no sudo.
set -- ansible-playbook -i examples/inventory/ansible.yaml -e ansible_user=root examples/playbooks/trace_fleet.yaml
printf '\n$ %s\n' "$*"
ANSIBLE_HOME=$work ANSIBLE_SSH_CONTROL_PATH_DIR=$work/cp ANSIBLE_CALLBACK_RESULT_FORMAT=yaml ANSIBLE_COLLECTIONS_PATH=$PWD \
    LC_ALL=C.UTF-8 "$@"
