"""What a node does to packets, as nftables rules: pure data that `inside/netlink.py` encodes.

An expression is a pair of the expression's name and its attributes, both named as in the kernel's linux/netfilter/nf_tables.h
without prefix; bytes stand as hexadecimal text, so that a ruleset travels as JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .topology import TCP_OPTIONS, Host
from .values import UNREACHABLE_CODES

if TYPE_CHECKING:
    from .plan import NodePlan, Plan
    from .topology import Address, FirewallRule, Router

Expression = tuple[str, dict[str, Any]]
Rule = list[Expression]

# linux/netfilter/nf_tables.h
REGISTER_VERDICT, REGISTER_1, REGISTER_2 = 0, 1, 2
META_IIFNAME, META_OIFNAME, META_NFPROTO, META_L4PROTO = 6, 7, 15, 16
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2
EQUAL, NOT_EQUAL, LESS = 0, 1, 2
DROP = 0
CHECKSUM_INET = 1
REJECT_ICMP, REJECT_TCP_RESET = 0, 1
SNAT, DNAT = 0, 1
LIMIT_PACKETS, LIMIT_INVERTED = 0, 1
NUMGEN_RANDOM = 1
HOST_TO_NETWORK = 1
JUMP = -3
TCP_ACK = 0x10
EXTENSION_TCP_OPTION = 1
NFPROTO = {4: 2, 6: 10}
IPPROTO_TCP = 6
IPPROTO_ICMP = {4: 1, 6: 58}
INTERFACE_NAME_BYTES = 16
# RFC 792 and RFC 4443: destination unreachable, packet too big, time exceeded, parameter problem; redirects are switched off.
ICMP_ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}


def _compare(value: bytes, operation: int = EQUAL) -> Expression:
    return "cmp", {"SREG": REGISTER_1, "OP": operation, "DATA": {"VALUE": value.hex()}}


def _meta(key: int, value: bytes) -> Rule:
    return [("meta", {"DREG": REGISTER_1, "KEY": key}), _compare(value)]


def _family(family: int) -> Rule:
    return _meta(META_NFPROTO, bytes([NFPROTO[family]]))


def _interface(key: int, name: str) -> Rule:
    return _meta(key, name.encode().ljust(INTERFACE_NAME_BYTES, b"\0"))


def _load(base: int, offset: int, length: int) -> Expression:
    return "payload", {"DREG": REGISTER_1, "BASE": base, "OFFSET": offset, "LEN": length}


def _field(base: int, offset: int, value: bytes, operation: int = EQUAL) -> Rule:
    return [_load(base, offset, len(value)), _compare(value, operation)]


def _immediate(value: bytes, register: int = REGISTER_1) -> Expression:
    return "immediate", {"DREG": register, "DATA": {"VALUE": value.hex()}}


def _store(base: int, offset: int, length: int, checksum: int | None, *, pseudo_header: bool = False) -> Expression:
    attributes: dict[str, Any] = {"SREG": REGISTER_1, "BASE": base, "OFFSET": offset, "LEN": length}
    if checksum is not None:
        attributes |= {"CSUM_TYPE": CHECKSUM_INET, "CSUM_OFFSET": checksum}
    if pseudo_header:
        attributes["CSUM_FLAGS"] = ["NFT_PAYLOAD_L4CSUM_PSEUDOHDR"]
    return "payload", attributes


def _bits(length: int, mask: int, exclusive_or: int) -> Expression:
    """Register = register & mask ^ exclusive_or."""
    values = {"MASK": {"VALUE": mask.to_bytes(length, "big").hex()}, "XOR": {"VALUE": exclusive_or.to_bytes(length, "big").hex()}}
    return "bitwise", {"SREG": REGISTER_1, "DREG": REGISTER_1, "LEN": length, **values}


def _drop() -> Expression:
    return "immediate", {"DREG": REGISTER_VERDICT, "DATA": {"VERDICT": {"CODE": DROP}}}


def _tcp(family: int | None = None) -> Rule:
    return [*(_family(family) if family else []), *_meta(META_L4PROTO, bytes([IPPROTO_TCP]))]


def _action(rule: FirewallRule, family: int) -> Expression:
    if rule.do == "drop":
        return _drop()
    if rule.do == "reset":
        return "reject", {"TYPE": REJECT_TCP_RESET, "ICMP_CODE": 0}
    return "reject", {"TYPE": REJECT_ICMP, "ICMP_CODE": UNREACHABLE_CODES[rule.do][family]}


def _firewall(node: Host | Router) -> list[Rule]:
    rules = []
    for rule in node.firewall:
        for family in rule.families:
            ports: list[Rule] = [_field(TRANSPORT_HEADER, 2, port.to_bytes(2, "big")) for port in rule.port] or [[]]
            rules += [[*_tcp(family), *port, _action(rule, family)] for port in ports]
    return rules


def _icmp_errors() -> list[Rule]:
    """Send the node's own ICMP errors through the chain `errors`."""
    jump: Expression = ("immediate", {"DREG": REGISTER_VERDICT, "DATA": {"VERDICT": {"CODE": JUMP, "CHAIN": "errors"}}})
    return [
        [*_family(family), *_meta(META_L4PROTO, bytes([IPPROTO_ICMP[family]])), *_field(TRANSPORT_HEADER, 0, bytes([kind])), jump]
        for family, kinds in ICMP_ERRORS.items()
        for kind in kinds
    ]


def _limit(rate: str, burst: int) -> Rule:
    """Drop what is over a rate."""
    number, unit = rate.split("/")
    seconds = {"s": 1, "min": 60}[unit]
    attributes = {"RATE": int(number), "UNIT": seconds, "BURST": burst, "TYPE": LIMIT_PACKETS, "FLAGS": LIMIT_INVERTED}
    return [("limit", attributes), _drop()]


def _loss(share: float) -> Rule:
    modulus = 1_000_000
    attributes = {"DREG": REGISTER_1, "MODULUS": modulus, "TYPE": NUMGEN_RANDOM, "OFFSET": 0}
    swap: Expression = ("byteorder", {"SREG": REGISTER_1, "DREG": REGISTER_1, "OP": HOST_TO_NETWORK, "LEN": 4, "SIZE": 4})
    return [("numgen", attributes), swap, _compare(round(share * modulus).to_bytes(4, "big"), LESS), _drop()]


def _traffic_class(mask: int, value: int) -> list[Rule]:
    """Set bits of the IPv4 TOS byte or of the IPv6 traffic class: both are in the first 16 bits (RFC 791 3.1, RFC 8200 3)."""
    shift = {4: 0, 6: 4}
    offset_of_checksum = {4: 10, 6: None}
    return [
        [
            *_tcp(family),
            _load(NETWORK_HEADER, 0, 2),
            _bits(2, 0xFFFF ^ mask << shift[family], value << shift[family]),
            _store(NETWORK_HEADER, 0, 2, offset_of_checksum[family]),
        ]
        for family in (4, 6)
    ]


def _ttl(value: int) -> list[Rule]:
    """Set the IPv4 time to live or the IPv6 hop limit, each with the byte beside it: checksums are mended in 16-bit words."""
    return [
        [*_tcp(4), _load(NETWORK_HEADER, 8, 2), _bits(2, 0x00FF, value << 8), _store(NETWORK_HEADER, 8, 2, 10)],
        [*_tcp(6), _load(NETWORK_HEADER, 6, 2), _bits(2, 0xFF00, value), _store(NETWORK_HEADER, 6, 2, None)],
    ]


def _maximum_segment_size(value: int) -> Rule:
    """Write the TCP option of kind 2. RFC 9293 section 3.7.1."""
    attributes = {"SREG": REGISTER_1, "TYPE": TCP_OPTIONS["mss"], "OFFSET": 2, "LEN": 2, "OP": EXTENSION_TCP_OPTION}
    return [*_tcp(), _immediate(value.to_bytes(2, "big")), ("exthdr", attributes)]


def _without_option(name: str) -> Rule:
    """Overwrite a TCP option with NOPs, which is what a kernel does that is asked for an option without a register."""
    attributes = {"TYPE": TCP_OPTIONS[name], "OP": EXTENSION_TCP_OPTION}
    return [*_tcp(), ("exthdr", attributes)]


def _shifted_sequence(interface: str) -> list[Rule]:
    """Add 2^31, which flips the top bit, to sequence numbers from a neighbour and to acknowledgement numbers that go there."""

    def flip(offset: int) -> Rule:
        return [_load(TRANSPORT_HEADER, offset, 4), _bits(4, 0xFFFFFFFF, 0x80000000), _store(TRANSPORT_HEADER, offset, 4, 16)]

    acknowledges = [_load(TRANSPORT_HEADER, 13, 1), _bits(1, TCP_ACK, 0), _compare(b"\0", NOT_EQUAL)]
    return [
        [*_interface(META_IIFNAME, interface), *_tcp(), *flip(4)],
        [*_interface(META_OIFNAME, interface), *_tcp(), *acknowledges, *flip(8)],
    ]


def _rewritten(old: Address, new: Address, *, source: bool, flip_port: bool) -> list[Rule]:
    """Write another address into the IP header, and mend the checksums of IP and TCP.

    What comes for the old address is rewritten whatever it is: ICMP errors, too, find their way back.
    """
    offset = {(4, True): 12, (4, False): 16, (6, True): 8, (6, False): 24}[old.version, source]
    length = len(old.packed)
    checksum = 10 if old.version == 4 else None
    addressed = _field(NETWORK_HEADER, offset, old.packed)
    rules = [
        [
            *(_tcp(old.version) if source else _family(old.version)),
            *addressed,
            _immediate(new.packed),
            _store(NETWORK_HEADER, offset, length, checksum, pseudo_header=True),
        ]
    ]
    if flip_port:
        at = 0 if source else 2
        flip = [_load(TRANSPORT_HEADER, at, 2), _bits(2, 0xFFFF, 0x8000), _store(TRANSPORT_HEADER, at, 2, 16)]
        # While the packet still has the address that tells whose port it is.
        rules.insert(0, [*_tcp(old.version), *addressed, *flip])
    return rules


def _translated(kind: int, address: Address, port: int | None) -> Rule:
    attributes: dict[str, Any] = {"TYPE": kind, "FAMILY": NFPROTO[address.version], "REG_ADDR_MIN": REGISTER_1}
    load = [_immediate(address.packed)]
    if port is not None:
        load.append(_immediate(port.to_bytes(2, "big"), REGISTER_2))
        attributes["REG_PROTO_MIN"] = REGISTER_2
    return [*load, ("nat", attributes)]


def _destinations(plan: Plan, router: Router) -> list[Rule]:
    rules = []
    for rule in router.dnat:
        offset = 16 if rule.address.version == 4 else 24
        port = _field(TRANSPORT_HEADER, 2, rule.port.to_bytes(2, "big")) if rule.port else []
        to = plan.address(rule.to, rule.address.version)
        match = [*_tcp(rule.address.version), *_field(NETWORK_HEADER, offset, rule.address.packed), *port]
        rules.append([*match, *_translated(DNAT, to, rule.to_port)])
    return rules


def _interfaces(node: NodePlan, neighbour: str) -> list[str]:
    return [interface.name for interface in node.interfaces.values() if interface.neighbour == neighbour]


def _sources(node: NodePlan, router: Router) -> list[Rule]:
    rules = [
        [*_interface(META_OIFNAME, name), *_tcp(rule.address.version), *_translated(SNAT, rule.address, None)]
        for rule in router.snat
        for name in _interfaces(node, rule.out)
    ]
    masked = [name for neighbour in router.masquerade for name in _interfaces(node, neighbour)]
    return rules + [[*_interface(META_OIFNAME, name), *_tcp(), ("masq", {})] for name in masked]


def _forwarded(node: NodePlan, router: Router) -> list[Rule]:
    rules = [_loss(router.loss)] if router.loss is not None else []
    rules += _firewall(router)
    if router.set_dscp is not None:
        rules += _traffic_class(0xFC, router.set_dscp << 2)
    if router.set_ecn is not None:
        rules += _traffic_class(0x03, router.set_ecn)
    if router.set_ttl is not None:
        rules += _ttl(router.set_ttl)
    if router.clamp_mss is not None:
        rules.append(_maximum_segment_size(router.clamp_mss))
    rules += [_without_option(name) for name in router.strip_option]
    for name in _interfaces(node, router.shift_sequence) if router.shift_sequence else []:
        rules += _shifted_sequence(name)
    return rules


def ruleset(plan: Plan, node: NodePlan) -> dict[str, list[Rule]]:
    """The rules of a node, by chain; chains without rules are left out.

    Arguments:
        plan: the network, for addresses of other nodes.
        node: the node.

    Returns:
        Lists of rules by names of netlink.CHAINS, and `errors`, which the node's own ICMP errors go through.
    """
    options = node.options
    rules: dict[str, list[Rule]] = {"input": _firewall(options)}
    if options.silent:
        rules |= {"errors": [[_drop()]], "output": _icmp_errors()}
    if isinstance(options, Host):
        return {chain: listed for chain, listed in rules.items() if listed}
    if options.icmp_rate and not options.silent:
        rules |= {"errors": [_limit(options.icmp_rate, options.icmp_burst)], "output": _icmp_errors()}
    rules["forward"] = _forwarded(node, options)
    rules["dnat"] = _destinations(plan, options)
    rules["snat"] = _sources(node, options)
    rewriting = [(rule, plan.address(rule.to, rule.address.version)) for rule in options.rewrite]
    rules["rewrite_in"] = [
        made for rule, inside in rewriting for made in _rewritten(rule.address, inside, source=False, flip_port=rule.flip_port)
    ]
    rules["rewrite_out"] = [
        made for rule, inside in rewriting for made in _rewritten(inside, rule.address, source=True, flip_port=rule.flip_port)
    ]
    return {chain: listed for chain, listed in rules.items() if listed}
