#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Traces the route from a managed host to a TCP port."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: tcptraceroute
short_description: Traces the route to a TCP port
version_added: 0.1.0
description:
  - Traces the route from a managed host to a TCP port the way a connection would go, with SYNs, and tells every router
    on the way and whether the port is open, closed, filtered or unreachable.
  - Several destinations and ports in one task are traced at the same time.
  - The managed host needs Linux and Python 3.8 or newer, nothing else. Raw sockets need C(CAP_NET_RAW), so give the task
    C(become=true). The process that reads packets gives up every privilege before it does. Without the privilege a trace is
    measured by connections of the kernel, which sees less; RV(method) tells.
  - A destination that was not reached is a result and no failure. The task fails where a trace could not be measured.
author:
  - The nornir_tcptraceroute authors (@nornir-tcptraceroute)
extends_documentation_fragment:
  - netprobe.path.attributes
attributes:
  check_mode:
    support: full
    details: Checks options, names, route and privilege, and returns RV(plan). No probe is sent.
  async:
    support: partial
    details: The result that M(ansible.builtin.async_status) fetches is the module's. The controller warns that its hops
      are not analysed, which the filter P(netprobe.path.analysis#filter) does.
options:
  destination:
    description:
      - Host name or address to trace to.
      - This or O(destinations) is required, unless O(packet) tells it.
    type: str
  destinations:
    description:
      - Several host names or addresses to trace to, at the same time.
      - Excludes O(destination).
    type: list
    elements: str
  port:
    description:
      - TCP port at the destination.
      - Between 1 and 65535.
    type: int
    default: 80
  ports:
    description:
      - Several TCP ports at each destination, traced to at the same time.
      - Excludes O(port).
    type: list
    elements: int
  family:
    description:
      - IP version to use; by default the first that the name resolves to.
    type: int
    choices:
      - 4
      - 6
  first_ttl:
    description:
      - TTL (hop limit) to start from.
      - Between 1 and 255.
    type: int
    default: 1
  max_ttl:
    description:
      - TTL (hop limit) to stop at.
      - Between 1 and 255.
    type: int
    default: 30
  queries:
    description:
      - Queries for each hop.
      - Between 1 and 50.
    type: int
    default: 3
  wait:
    description:
      - Longest time to wait for the answer to a probe; a shorter one is used once the path's round-trip times are known.
      - Between 0.05 and 300 s.
    type: float
    default: 3.0
  deadline:
    description:
      - End the whole trace after this time; by default it ends by itself.
      - Between 0.05 and 86400 s.
    type: float
  gap_limit:
    description:
      - End the trace after this many silent hops in a row; 0 goes on to max_ttl.
      - Between 0 and 255.
    type: int
    default: 0
  parallel:
    description:
      - How many hops beyond the furthest answer are probed at the same time; 1 is one probe at a time.
      - Between 1 and 255.
    type: int
    default: 8
  source:
    description:
      - Source address (or a name of it), one of this host's; by default the route's.
    type: str
  source_port:
    description:
      - Source port of every probe; by default a free one.
      - Between 1 and 65535.
    type: int
  interface:
    description:
      - Interface that the probes leave through; by default the route's.
    type: str
  flags:
    description:
      - TCP flags of the probes, separated by commas.
    type: str
    default: SYN
  tcp_options:
    description:
      - 'TCP options of the probes: none, mss alone, or those of a Linux SYN.'
    type: str
    choices:
      - none
      - mss
      - linux
    default: none
  length:
    description:
      - Length of the whole IP packet, filled up with payload; by default the headers alone.
      - Between 40 and 65535 bytes.
    type: int
  tos:
    description:
      - 'Type of service (IPv4) or traffic class (IPv6): DSCP times 4, plus ECN.'
      - Between 0 and 255.
    type: int
    default: 0
  dont_fragment:
    description:
      - Set the don't-fragment bit (IPv4; IPv6 routers never fragment).
    type: bool
    default: false
  packet:
    description:
      - Packet to send as it is but for TTL, numbers and checksums, base64 from the IP header on; it decides the shape.
      - At most 65535 bytes of IPv4 or IPv6 with a TCP header, such as Scapy builds on the controller.
      - It also decides O(destination), O(port), O(family), O(source) and O(source_port) as far as it tells them; an unspecified
        address and port 0 leave them to these options. An option that says otherwise is refused.
    type: str
  method:
    description:
      - 'How probes are sent: raw needs CAP_NET_RAW, connect no privilege (it sees less), auto is raw where that may be.'
    type: str
    choices:
      - auto
      - raw
      - connect
    default: auto
  names:
    description:
      - 'Which hops are looked up in DNS after the trace: none, all, or all but RFC 1918 addresses.'
    type: str
    choices:
      - none
      - all
      - public
    default: public
  evidence:
    description:
      - 'Which replies are kept whole: none, the first of each kind and address in a hop, or all.'
    type: str
    choices:
      - none
      - notable
      - all
    default: notable
  rate:
    description:
      - Probes per second of all traces of the task together, from this host. A near router gets at most a fifth of it, a
        destination at most 500.
      - A number between 1 and 1000000, or V(unlimited).
    type: str
    default: '5000'
  networks:
    description:
      - Your networks, the prefixes of each; of several that hold an address, the longest counts. Hops are labelled with them.
      - Without it, the variable V(netprobe_networks) counts, which belongs into V(group_vars/all).
      - For the controller's analysis alone; the managed host does not see it.
    type: dict
  devices:
    description:
      - Name of the device, or names, of each address, besides those of the play's inventory.
      - Those are V(ansible_host), the name of the host where it is an address, and V(netprobe_addresses), a list in the variables
        of the host. They count as they stand in the inventory and in V(host_vars); no template is rendered, no name looked up.
      - Without it, the variable V(netprobe_devices) counts.
    type: dict
  asn_database:
    description:
      - MaxMind DB file of AS numbers on the controller, such as GeoLite2-ASN; needs the Python package maxminddb there.
      - Without it, the variable V(netprobe_asn_database) counts.
    type: str
  expect:
    description:
      - What the path has to be. The controller judges it, and the task fails where something is not met, with its whole trace.
      - What the trace neither proves nor refutes, such as a forbidden network behind silent hops, is a warning and no failure.
      - Places are addresses, prefixes, names of O(networks), or names of devices; see O(devices).
      - Needs the Python package nornir-tcptraceroute on the controller, and no C(async); see P(netprobe.path.analysis#filter).
    type: dict
    suboptions:
      reached:
        description: Whether the destination answers.
        type: bool
      port_state:
        description: What the port is, V(open), V(closed), V(filtered) or V(unreachable); of several, any.
        type: list
        elements: str
      transit:
        description: Routers or networks that the path passes, in whatever order; each of them.
        type: list
        elements: str
      ordered:
        description: Routers or networks that the path passes in this order; others may be between them.
        type: list
        elements: str
      forbidden:
        description: Routers or networks that the path avoids; each of them.
        type: list
        elements: str
      first_hop:
        description: The router at TTL 1; every address that answers there is one of these.
        type: list
        elements: str
      last_hop:
        description: The last router before the destination; every address that answers there is one of these.
        type: list
        elements: str
      min_hops:
        description: The TTL at which the destination answers is at least this.
        type: int
      max_hops:
        description: The TTL at which the destination answers is at most this.
        type: int
      max_rtt_ms:
        description: The average round-trip time to the destination is at most this.
        type: float
      max_loss_pct:
        description: At most this share of the queries to the destination has no answer.
        type: float
      unmodified:
        description: No router shows a field of the probe rewritten. Nothing but V(true) may be said.
        type: bool
      no_nat:
        description: No router shows the probe's addresses or ports translated. Nothing but V(true) may be said.
        type: bool
  baseline:
    description:
      - File on the controller with a known-good path, which the path has to be; relative to the playbook.
      - C({host}), C({destination}) and C({port}) in its name stand for those of the trace. Hosts and items of a loop need
        files of their own, by these or by templates.
      - The result's C(diff) has the difference. With C(--diff) it is shown.
    type: str
  baseline_action:
    description:
      - V(compare) with the baseline, V(record) it anew, or V(merge) what the trace shows into it, as another equal-cost path.
      - It is written only where all that is expected is met, and never in check mode. The task has changed where the file has.
    type: str
    choices:
      - compare
      - record
      - merge
    default: compare
  retries:
    description:
      - How often a trace that is not as expected is measured again, for networks that converge; only those that are not met.
      - Between 0 and 100. Not the keyword C(retries) of a task, which runs all of it again.
    type: int
    default: 0
  delay:
    description:
      - Pause before each of these, in seconds, between 0 and 3600.
    type: float
    default: 5.0
  locate_block:
    description:
      - Trace the port beside one that works, and say where on the way it is blocked, in RV(block). A blocked port is a result and
        no failure. Takes one destination and one port, and several traces of them.
      - Needs the Python package nornir-tcptraceroute on the controller, and no C(async).
    type: dict
    suboptions:
      working_port:
        description: TCP port of the same destination that works; without it, the port in question is asked by ACK too.
        type: int
  requests:
    description:
      - What the controller asks the managed host for where a judgement needs traces of several kinds.
      - Not for playbooks, in which it is refused.
    type: list
    elements: dict
notes:
  - The controller says what replies mean and whose hops are, where it has the Python package nornir-tcptraceroute. Without it the
    result is whole otherwise, and a warning says so.
  - Names from DNS are escaped to letters, digits, V(.), V(_), V(-) and V(\\x) sequences before anything else sees them.
  - A record is at most 64 KiB as JSON. Where a trace is larger, RV(packets) are left out first, then evidence, then single
    replies, and one of RV(warnings) says so.
seealso:
  - plugin: netprobe.path.hop_table
    plugin_type: filter
  - plugin: netprobe.path.reached
    plugin_type: test
"""

EXAMPLES = r"""
---
- name: Trace the path to the database
  netprobe.path.tcptraceroute:
    destination: db.example.net
    port: 5432
  become: true
  register: path

- name: Show it as a table
  ansible.builtin.debug:
    msg: "{{ (path | netprobe.path.hop_table).splitlines() }}"

- name: Fail where the port is not open, or the path leaves the company's networks
  ansible.builtin.assert:
    that:
      - path is netprobe.path.reached
      - path.port_state == 'open'
      - path is netprobe.path.via('10.0.0.0/8')

- name: Trace to several services at the same time, without names of hops
  netprobe.path.tcptraceroute:
    destinations: [web1.example.net, web2.example.net]
    ports: [80, 443]
    names: none
  become: true
  register: paths

- name: List those that were not reached
  ansible.builtin.debug:
    msg: "{{ paths.traces | rejectattr('reached') | map(attribute='destination') }}"

- name: End hopeless traces early, where routers answer nothing
  netprobe.path.tcptraceroute:
    destination: 192.0.2.80
    gap_limit: 5
    wait: 1
    deadline: 10
  become: true

- name: Look as a Linux client does, over IPv6, with full-size packets
  netprobe.path.tcptraceroute:
    destination: www.example.net
    port: 443
    family: 6
    tcp_options: linux
    length: 1500
  become: true

- name: Trace through the second uplink, marked as DSCP EF
  netprobe.path.tcptraceroute:
    destination: voice.example.net
    port: 5061
    interface: eth1
    tos: 184
  become: true

- name: Trace from the controller
  netprobe.path.tcptraceroute:
    destination: "{{ ansible_host | default(inventory_hostname) }}"
    port: 22
  become: true
  delegate_to: localhost

- name: Keep every reply's bytes, for a closer look at what the path rewrites
  netprobe.path.tcptraceroute:
    destination: db.example.net
    port: 5432
    queries: 1
    evidence: all
  become: true

- name: Name the hops by the company's networks
  netprobe.path.tcptraceroute:
    destination: db.example.net
    port: 5432
    networks:
      dc1: [10.1.0.0/16, 2001:db8:1::/48]
      transit: [192.0.2.0/24]
  become: true
  register: path

- name: Fail where a router on the way takes the marking away
  ansible.builtin.assert:
    that: "'dscp' not in path.hops | map(attribute='modified', default=[]) | flatten | map(attribute='field') | list"

- name: Be gentle, one probe at a time
  netprobe.path.tcptraceroute:
    destination: db.example.net
    port: 5432
    parallel: 1
    queries: 1
  become: true

- name: Fail where the path is not as it has to be, after up to a minute to converge
  netprobe.path.tcptraceroute:
    destination: db.example.net
    port: 5432
    networks:
      dc1: [10.1.0.0/16]
      internet: [198.51.100.0/24]
    expect:
      port_state: open
      transit: dc1
      forbidden: internet
      max_hops: 8
      no_nat: true
    retries: 6
    delay: 10
  become: true

- name: Fail where the path is another than the one in version control; with --diff, show how
  netprobe.path.tcptraceroute:
    destination: db.example.net
    port: 5432
    baseline: "baselines/{host}-{destination}-{port}.yaml"
  become: true

- name: Record the known-good paths anew
  netprobe.path.tcptraceroute:
    destination: db.example.net
    ports: [5432, 443]
    expect:
      reached: true
    baseline: "baselines/{host}-{destination}-{port}.yaml"
    baseline_action: record
  become: true

- name: Find out where on the way a port is blocked
  netprobe.path.tcptraceroute:
    destination: db.example.net
    port: 5432
    locate_block:
      working_port: 443
  become: true
  register: path

- name: Say it
  ansible.builtin.debug:
    msg: "{{ path.block.sentence }}"

- name: Trace to where the service of each host lives
  netprobe.path.tcptraceroute:
    destination: "{{ item.host }}"
    port: "{{ item.port }}"
  become: true
  loop: "{{ services }}"
  loop_control:
    label: "{{ item.host }}:{{ item.port }}"
  register: path_of_services
"""

RETURN = r"""
---
destination:
  description:
    - The host as it was asked for.
  returned: one trace
  type: str
  sample: db.example.net
address:
  description:
    - The address that the probes went to.
  returned: one trace
  type: str
  sample: 192.0.2.80
family:
  description:
    - IP version of the probes.
  returned: one trace
  type: int
  sample: 4
port:
  description:
    - TCP port of the destination.
  returned: one trace
  type: int
  sample: 5432
vantage:
  description:
    - Name of the host that the probes left from.
  returned: one trace
  type: str
  sample: host1
source:
  description:
    - Their source address.
  returned: one trace
  type: str
  sample: 198.51.100.7
source_port:
  description:
    - Their source port, one for the whole trace.
  returned: one trace
  type: int
  sample: 46849
interface:
  description:
    - The interface that was asked for; null where the route decided.
  returned: one trace
  type: str
  sample: eth0
method:
  description:
    - 'How packets were sent: V(raw).'
  returned: one trace
  type: str
  sample: raw
probe:
  description:
    - How every probe looked.
  returned: one trace
  type: dict
  contains:
    flags:
      description:
        - TCP flags, such as V(SYN) or V(SYN,ECE,CWR).
      returned: success
      type: str
      sample: SYN
    tcp_options:
      description:
        - V(none), V(mss) or V(linux); V(packet) where O(packet) has its own.
      returned: success
      type: str
      sample: none
    length:
      description:
        - Length of the whole IP packet.
      returned: success
      type: int
      sample: 40
    tos:
      description:
        - 'Type of service (IPv4) or traffic class (IPv6): DSCP times 4, plus ECN.'
      returned: success
      type: int
      sample: 0
    dont_fragment:
      description:
        - The don't-fragment bit (IPv4).
      returned: success
      type: bool
      sample: false
started_at:
  description:
    - Wall clock at the start, ISO 8601 in UTC. No other time of the record depends on the wall clock.
  returned: one trace
  type: str
  sample: '2026-11-23T19:30:38.292Z'
elapsed_ms:
  description:
    - From the first probe to the end.
  returned: one trace
  type: float
  sample: 251.577
reached:
  description:
    - Whether the destination itself answered with TCP.
  returned: one trace
  type: bool
  sample: true
port_state:
  description:
    - V(open), V(closed), V(filtered), V(unreachable) or V(unknown), see below.
  returned: one trace
  type: str
  sample: open
stop_reason:
  description:
    - Why the trace ended, see below.
  returned: one trace
  type: str
  sample: reached
hops:
  description:
    - One for each TTL from the first asked to the end of the path; what was asked beyond it is left out.
  returned: one trace
  type: list
  elements: dict
  contains:
    ttl:
      description:
        - TTL or hop limit of the probes.
      returned: success
      type: int
      sample: 1
    address:
      description:
        - The address that answered first; null for a silent hop.
      returned: success
      type: str
      sample: 198.51.100.1
    addresses:
      description:
        - 'All that answered, in the order of their first answers. More than one: the path changed, or balances by packet.'
      returned: success
      type: list
      elements: str
      sample:
        - 198.51.100.1
    name:
      description:
        - Name of V(address) in DNS, escaped; null where it was not looked up or not found.
      returned: success
      type: str
      sample: gateway.example.net
    replies:
      description:
        - One for each query in order, then duplicates.
      returned: success
      type: list
      elements: dict
      contains:
        query:
          description:
            - Number of the query in its hop.
          returned: success
          type: int
          sample: 1
        kind:
          description:
            - V(time_exceeded), V(tcp), V(unreachable) (also IPv6 "packet too big"), V(timeout) or V(send_error).
          returned: success
          type: str
          sample: time_exceeded
        address:
          description:
            - Who answered; null for V(timeout) and V(send_error).
          returned: success
          type: str
          sample: 198.51.100.1
        name:
          description:
            - Its name in DNS, escaped.
          returned: success
          type: str
          sample: gateway.example.net
        rtt_ms:
          description:
            - From sending to the kernel's receive timestamp, by a clock that never steps.
          returned: success
          type: float
          sample: 0.133
        reply_ttl:
          description:
            - TTL or hop limit that the reply arrived with.
          returned: success
          type: int
          sample: 64
        icmp_type:
          description:
            - Type of an ICMP reply (RFC 792, RFC 4443).
          returned: success
          type: int
          sample: 11
        icmp_code:
          description:
            - Its code.
          returned: success
          type: int
          sample: 0
        tcp_flags:
          description:
            - Flags of a TCP reply, such as V(SYN,ACK).
          returned: success
          type: str
          sample: SYN,ACK
        mtu:
          description:
            - Next-hop MTU that a "fragmentation needed" or "packet too big" told (RFC 1191, RFC 4443).
          returned: success
          type: int
          sample: 1400
        quoted:
          description:
            - The probe as an ICMP reply quotes it.
          returned: success
          type: dict
          contains:
            ttl:
              description:
                - 'TTL or hop limit of the quoted packet: 1 where the router had decremented nothing before it answered.'
              returned: success
              type: int
              sample: 1
            tos:
              description:
                - Type of service or traffic class; other than the probe's where the path rewrote it.
              returned: success
              type: int
              sample: 0
            source:
              description:
                - Quoted source address; other than the probe's where a NAT on the path rewrote it.
              returned: success
              type: str
              sample: 198.51.100.7
            source_port:
              description:
                - Likewise.
              returned: success
              type: int
              sample: 46849
            address:
              description:
                - Quoted destination, likewise.
              returned: success
              type: str
              sample: 192.0.2.80
            port:
              description:
                - Likewise.
              returned: success
              type: int
              sample: 5432
        altered:
          description:
            - 'What the path had rewritten in the quoted probe: V(source), V(source_port), V(address), V(port) (NAT), V(sequence)
              (a firewall that shifts it), V(identification) (IPv4) or V(window) (IPv6) (a middlebox that rewrites them).'
          returned: success
          type: list
          elements: str
          sample:
            - source
            - source_port
        attempts:
          description:
            - Probes sent for this query; more than one where it was asked again.
          returned: success
          type: int
          sample: 1
        late:
          description:
            - The answer came after the query had been given up.
          returned: success
          type: bool
          sample: false
        duplicate:
          description:
            - A further answer to a probe that had been answered before; it never replaces the first.
          returned: success
          type: bool
          sample: false
        error:
          description:
            - Name of the system's error of a V(send_error), such as V(ENETUNREACH). It is this host's, and no loss on the
              path.
          returned: success
          type: str
          sample: ENETUNREACH
        evidence:
          description:
            - 'The reply''s bytes from its IP header on (IPv6: from the ICMPv6 or TCP header on); the option V(evidence)
              says which replies keep them.'
          returned: success
          type: str
          sample: RQAAOA...
    rtt_ms:
      description:
        - Round-trip times of the answers, duplicates left out.
      returned: success
      type: dict
      contains:
        min:
          description:
            - Shortest.
          returned: success
          type: float
          sample: 0.091
        avg:
          description:
            - Mean.
          returned: success
          type: float
          sample: 0.106
        max:
          description:
            - Longest.
          returned: success
          type: float
          sample: 0.133
        stddev:
          description:
            - Standard deviation of the population.
          returned: success
          type: float
          sample: 0.019
    loss:
      description:
        - Share of the queries that stayed without an answer; null where none was sent.
      returned: success
      type: float
      sample: 0.0
    silence:
      description:
        - 'null where every probe was answered, V(silent) where none was; else what the unanswered ones turned out to be:
          V(rate_limited) (each had followed the hop''s last answer sooner than any answered one) or V(lost).'
      returned: success
      type: str
      sample: rate_limited
    mpls:
      description:
        - The MPLS label stack that the probe arrived with, top first (RFC 4950).
      returned: a reply quotes the probe, and the controller has the package
      type: list
      elements: dict
      contains:
        label:
          description:
            - The label.
          returned: success
          type: int
          sample: 100704
        traffic_class:
          description:
            - Its traffic class (RFC 5462).
          returned: success
          type: int
          sample: 0
        bottom:
          description:
            - Whether it is the last of the stack.
          returned: success
          type: bool
          sample: true
        ttl:
          description:
            - TTL of the entry.
          returned: success
          type: int
          sample: 1
    interface:
      description:
        - The router's interfaces that its answer tells of (RFC 5837).
      returned: a reply quotes the probe, and the controller has the package
      type: list
      elements: dict
      contains:
        role:
          description:
            - V(incoming) where the probe arrived, V(incoming_sub_ip) for a component of that one, V(outgoing) where it would have
              left, V(next_hop) for the address that it would have gone to.
          returned: success
          type: str
          sample: incoming
        index:
          description:
            - The router's ifIndex (RFC 2863); V(null) where not told.
          returned: success
          type: int
          sample: 12
        address:
          description:
            - An IP address of it, likewise.
          returned: success
          type: str
          sample: 192.0.2.1
        name:
          description:
            - Its ifName, escaped, likewise.
          returned: success
          type: str
          sample: xe-0/0/1.100
        mtu:
          description:
            - Its MTU in bytes, likewise.
          returned: success
          type: int
          sample: 9000
    modified:
      description:
        - What the path had rewritten in the probe, where this hop is the first to show it.
      returned: a reply quotes the probe, and the controller has the package
      type: list
      elements: dict
      contains:
        field:
          description:
            - Name of the field, such as V(dscp) or V(source_port).
          returned: success
          type: str
          sample: dscp
        sent:
          description:
            - The value that the probe left with.
          returned: success
          type: str
          sample: "46"
        seen:
          description:
            - The value that this hop quotes.
          returned: success
          type: str
          sample: "0"
        after:
          description:
            - TTL of the last hop before that saw the field as it had been. It was rewritten between that hop and this one.
            - V(null) where no hop before showed it.
          returned: success
          type: int
          sample: 3
    unseen:
      description:
        - Names of the fields that this hop's quotes are too short to show.
      returned: a reply quotes the probe, and the controller has the package
      type: list
      elements: str
      sample:
        - tcp_options
    network:
      description:
        - The network of RV(hops[].address).
      returned: the hop answered, and the controller has the package
      type: dict
      contains:
        kind:
          description:
            - V(loopback), V(link_local), V(private), V(shared), V(benchmarking), V(documentation) or V(public).
          returned: success
          type: str
          sample: private
        name:
          description:
            - Name of your network with the longest prefix that holds the address, see O(networks); V(null) for none.
          returned: success
          type: str
          sample: dc1
        prefix:
          description:
            - That prefix.
          returned: success
          type: str
          sample: 10.1.0.0/16
        asn:
          description:
            - The autonomous system that announces the address, see O(asn_database); V(null) where not known.
          returned: success
          type: int
          sample: 64496
        organization:
          description:
            - Name of that system, escaped.
          returned: success
          type: str
          sample: Example
    device:
      description:
        - Name of the inventory's host, or of O(devices), that RV(hops[].address) belongs to.
      returned: it is known
      type: str
      sample: core1
    notes:
      description:
        - All of this as short sentences, for a reader; P(netprobe.path.hop_table#filter) shows them.
      returned: the controller has the package
      type: list
      elements: str
      sample:
        - core1, in dc1
        - dscp 46 -> 0 between hop 3 (10.3.0.1) and here
counters:
  description:
    - Packets by what became of them, see below.
  returned: one trace
  type: dict
  sample:
    matched: 22
    sent: 25
warnings:
  description:
    - What the reader should know before believing the rest.
  returned: one trace, where there are any
  type: list
  elements: str
  sample:
    - '3 of 9 addresses have no name because their lookups had not ended within 2 s: check this host''s resolver, or ask
      for no names'
packets:
  description:
    - Every probe and every answer to one, in the order of their times, while the record is not larger than 64 KiB with them.
  returned: one trace, and O(evidence=all)
  type: list
  elements: dict
  contains:
    at_ms:
      description:
        - When it was sent or received, in milliseconds since RV(started_at).
      returned: success
      type: float
      sample: 1.25
    direction:
      description:
        - V(sent) or V(received).
      returned: success
      type: str
      sample: received
    data:
      description:
        - Its bytes from the IP header on, base64.
      returned: success
      type: str
      sample: RQAAOA...
schema:
  description:
    - Version of this form. It changes when a reader of the old form would be misled.
  returned: one trace
  type: int
  sample: 1
traces:
  description:
    - One entry for each trace that could be measured, each with the keys of one trace, in the order of O(destinations)
      and, for each of them, of O(ports).
  returned: O(destinations) or O(ports) is given
  type: list
  elements: dict
  sample:
    - destination: db.example.net
      port: 5432
      reached: true
      port_state: open
verdicts:
  description:
    - What became of each expectation, then of the baseline. Of several traces, each has its own.
  returned: O(expect) or O(baseline) is given
  type: list
  elements: dict
  contains:
    name:
      description:
        - Its name, such as V(transit).
      returned: success
      type: str
      sample: transit
    outcome:
      description:
        - V(success), V(failure), V(error) (nothing could be measured) or V(skipped) (the trace proves neither).
      returned: success
      type: str
      sample: failure
    reason:
      description:
        - One sentence.
      returned: success
      type: str
      sample: the path does not pass dc1, and every hop answered
    expected:
      description:
        - What was expected; of a baseline, its file.
      returned: success
      type: raw
      sample: [dc1]
    actual:
      description:
        - What was found; V(null) where it is not known.
      returned: success
      type: raw
      sample: []
outcome:
  description:
    - The worst outcome of RV(verdicts), from V(success) over V(skipped) and V(failure) to V(error).
  returned: O(expect) or O(baseline) is given
  type: str
  sample: failure
attempts:
  description:
    - How often it was measured.
  returned: O(expect), O(baseline) or O(locate_block) is given
  type: int
  sample: 1
diff:
  description:
    - The path as in the baseline and as it is, in which only what differs differs; or the baseline's file before and after it was
      written. Of several traces, a list.
  returned: something differs
  type: raw
  sample:
    before_header: baselines/db.yaml
    after_header: trace
    before: "hops:\n  1: [10.1.0.1]\n"
    after: "hops:\n  1: [10.2.0.1]\n"
block:
  description:
    - Where the port is blocked.
  returned: O(locate_block) is given
  type: dict
  contains:
    verdict:
      description:
        - V(open), V(closed) (by the destination's own RST), V(dropped), V(rejected), V(substituted) (answered by something else
          in the destination's name) or V(unknown).
      returned: success
      type: str
      sample: dropped
    is_blocked:
      description:
        - Whether something on the way keeps the probes from the destination; V(null) where that is not known.
      returned: success
      type: bool
      sample: true
    sentence:
      description:
        - The verdict in one sentence.
      returned: success
      type: str
      sample: 443 reaches 10.6.0.2; 5432 is dropped silently between hop 4 (10.3.0.1) and hop 5 (10.4.0.1)
    reason:
      description:
        - Why nothing can be said, such as V(paths_differ); V(null) unless the verdict is V(unknown).
      returned: success
      type: str
      sample: paths_differ
    passes:
      description:
        - The last place that the probes are known to have passed, with RV(block.passes.ttl) (0 is the vantage itself),
          RV(block.passes.address), RV(block.passes.role) (V(vantage), V(router) or V(destination)) and RV(block.passes.device).
      returned: success
      type: dict
      contains: &place
        ttl:
          description:
            - Its TTL.
          returned: success
          type: int
          sample: 4
        address:
          description:
            - Of the router there; V(null) where none is known.
          returned: success
          type: str
          sample: 10.3.0.1
        role:
          description:
            - V(vantage), V(router) or V(destination).
          returned: success
          type: str
          sample: router
        device:
          description:
            - Name of the device that has the address; V(null) where not known.
          returned: success
          type: str
          sample: core1
    blocks:
      description:
        - The next place that is known; the block is at one of these two or between them. V(null) where not known.
      returned: success
      type: dict
      contains: *place
    likely:
      description:
        - Which place it most likely is; V(null) where nothing speaks for one of them.
      returned: success
      type: dict
      contains: *place
    how:
      description:
        - What rejects or answers, in words; V(null) for what was neither rejected nor substituted.
      returned: success
      type: str
      sample: port unreachable (ICMP type 3 code 3)
    icmp_type:
      description:
        - ICMP type of a rejection.
      returned: success
      type: int
      sample: 3
    icmp_code:
      description:
        - ICMP code of a rejection.
      returned: success
      type: int
      sample: 3
    notes:
      description:
        - What else a reader should know, one sentence each.
      returned: success
      type: list
      elements: str
      sample: []
working:
  description:
    - The trace of the port that works, with the keys of one trace.
  returned: O(locate_block) is given
  type: dict
  sample:
    port: 443
    port_state: open
problems:
  description:
    - One entry for each trace that could not be measured, with the reason. The task has failed, and RV(traces) still holds
      the others.
  returned: O(destinations) or O(ports) is given, and a trace could not be measured
  type: list
  elements: dict
  contains:
    destination:
      description:
        - As it was asked for.
      returned: success
      type: str
      sample: nowhere.example.net
    port:
      description:
        - Likewise.
      returned: success
      type: int
      sample: 443
    msg:
      description:
        - What was wrong and what to do, in one sentence.
      returned: success
      type: str
      sample: 'nowhere.example.net does not resolve (Name or service not known): check the name and this host''s resolver,
        or give an address'
plan:
  description:
    - 'One entry for each trace that the task would measure. No probe was sent.'
  returned: check mode
  type: list
  elements: dict
  contains:
    destination:
      description:
        - As it was asked for.
      returned: success
      type: str
      sample: db.example.net
    address:
      description:
        - The address that it has now.
      returned: success
      type: str
      sample: 192.0.2.80
    family:
      description:
        - IP version of that address.
      returned: success
      type: int
      sample: 4
    port:
      description:
        - TCP port of the destination.
      returned: success
      type: int
      sample: 5432
    source:
      description:
        - The source address that the route gives.
      returned: success
      type: str
      sample: 198.51.100.7
    interface:
      description:
        - The interface that the route leaves through.
      returned: success
      type: str
      sample: eth0
    probes:
      description:
        - The most queries, where none has to be asked again.
      returned: success
      type: int
      sample: 90
    probes_per_second:
      description:
        - The most that would go to one destination.
      returned: success
      type: float
      sample: 500.0
    method:
      description:
        - How probes would be sent, V(raw) or V(connect).
      returned: success
      type: str
      sample: raw
    problem:
      description:
        - Why the trace could not be measured from here now; V(null) for nothing.
      returned: success
      type: str
      sample: raw sockets need CAP_NET_RAW
"""

from typing import Any, Dict, List, Tuple

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.probe.errors import OptionError, ProbeError
from ..module_utils.probe.options import TraceOptions
from ..module_utils.result_size import within_bounds
from ..module_utils.task_options import argument_spec, rate_of, requests_of
from ..module_utils.unprivileged import measure


def main() -> None:
    """Run the task."""
    module = AnsibleModule(
        argument_spec=argument_spec(),
        mutually_exclusive=[("destination", "destinations")],
        required_one_of=[("destination", "destinations", "packet")],
        supports_check_mode=True,
    )
    try:
        requests, several = _asked(module.params)
        if module.check_mode:
            _tell_plan(module, requests)
        traces, problems = measure(requests, rate_of(module.params))
    except OptionError as error:
        module.fail_json(msg="; ".join(error.problems))
    except ProbeError as error:
        module.fail_json(msg=str(error))
    records = [within_bounds(trace) for trace in traces]
    if several and problems:
        module.fail_json(msg=_told(problems, len(requests)), traces=records, problems=problems)
    if several:
        module.exit_json(changed=False, traces=records)
    if problems:
        module.fail_json(msg=problems[0]["msg"])
    record = records[0]
    for warning in record.pop("warnings"):
        # The record's warnings are those of the task: Ansible shows them, and puts them where the record has them.
        module.warn(warning)
    module.exit_json(changed=False, **record)


def _asked(arguments: Dict[str, Any]) -> Tuple[List[TraceOptions], bool]:
    """The requests, and whether they are several."""
    if arguments["requests"] is not None:
        return [TraceOptions.from_dict(request) for request in arguments["requests"]], True
    return requests_of(arguments)


def _tell_plan(module: AnsibleModule, requests: List[TraceOptions]) -> None:
    """End in check mode: with what would be sent, or with why nothing could be."""
    # Compiled on the host like all that is imported, which only this task needs.
    from ..module_utils.probe.plan import plan

    plans = []
    problems = []
    for request in requests:
        try:
            plans.append(plan(request))
        except ProbeError as error:
            problems.append({"destination": request.destination, "port": request.port, "msg": str(error)})
    # What is missing here is missing for all.
    missing = [told["problem"] for told in plans if told["problem"] is not None]
    if missing:
        module.fail_json(msg=missing[0], plan=plans)
    if problems:
        told = problems[0]["msg"] if len(requests) == 1 else _told(problems, len(requests))
        module.fail_json(msg=told, plan=plans, problems=problems)
    module.exit_json(changed=False, plan=plans)


def _told(problems: List[Dict[str, Any]], asked: int) -> str:
    """The failure of some traces in one sentence, with the first reason."""
    return "{} of {} traces could not be measured: {}".format(len(problems), asked, problems[0]["msg"])


if __name__ == "__main__":
    main()
