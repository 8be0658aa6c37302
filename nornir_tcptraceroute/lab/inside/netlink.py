"""Netlink messages in batches: one socket and a few system calls for a whole namespace."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES, nfgen_msg
from pyroute2.netlink.nfnetlink.nftsocket import (
    NFPROTO_INET,
    NFT_MSG_NEWCHAIN,
    NFT_MSG_NEWRULE,
    NFT_MSG_NEWTABLE,
    nft_chain_msg,
    nft_rule_msg,
    nft_table_msg,
)
from pyroute2.netlink.rtnl import RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEIGH, RTM_NEWROUTE
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# linux/netlink.h, linux/rtnetlink.h, linux/if.h
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x1, 0x4, 0x200, 0x400, 0x800
NLMSG_ERROR = 2
NETLINK_NETFILTER = 12
NETLINK_EXT_ACK = 11
NETLINK_CAP_ACK = 10
SOL_NETLINK = 270
NLMSGERR_ATTR_MSG = 1
NLM_F_ACK_TLVS = 0x200
RTMGRP_LINK = 1
RTNH_F_ONLINK = 4
IFF_UP = 1
IFA_F_NODAD = 2
IFLA_OPERSTATE = 16
IF_OPER_UP = 6
NUD_PERMANENT = 0x80
RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST = 254, 4, 0, 1
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 0x10, 0x11
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
LOOPBACK_INDEX = 1
TABLE = "lab"
# Chains: hook number, priority and type; linux/netfilter.h and linux/netfilter_ipv4.h. Destinations are rewritten before
# connection tracking and routing; sources only on leaving, because routing refuses packets that come from one's own address.
CHAINS = {
    "rewrite_in": (0, -300, "filter"),
    "dnat": (0, -100, "nat"),
    "input": (1, 0, "filter"),
    "forward": (2, 0, "filter"),
    "output": (3, 0, "filter"),
    "snat": (4, 100, "nat"),
    "rewrite_out": (4, 300, "filter"),
}
# Acknowledgements of one chunk have to fit the default receive buffer of 208 KiB; each takes up to 1 KiB of it.
CHUNK = 100
HEADER = struct.Struct("=IHHII")


class Channel:
    """A netlink socket of the namespace in which it is opened.

    Arguments:
        protocol: the netlink protocol.
        groups: what to hear of, as a mask of multicast groups.
    """

    def __init__(self, protocol: int = socket.NETLINK_ROUTE, groups: int = 0) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.bind((0, groups))
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._sequence = 0
        self._up: set[int] = set()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def request(self, messages: Iterable[tuple[str, Any]], chunk: int = CHUNK) -> None:
        """Send messages, and wait until the kernel has done all.

        Arguments:
            messages: what each is about, and the message of pyroute2.
            chunk: messages that go in one system call.

        Raises:
            OSError: the kernel refused one; the error names it.
        """
        listed = list(messages)
        for start in range(0, len(listed), chunk):
            self._send(listed[start : start + chunk])

    def _send(self, messages: list[tuple[str, Any]]) -> None:
        waiting = {}
        data = bytearray()
        for what, message in messages:
            self._sequence += 1
            message["header"]["sequence_number"] = self._sequence
            message.encode()
            data += message.data
            if message["header"]["flags"] & NLM_F_ACK:
                waiting[self._sequence] = what
        self._socket.sendto(bytes(data), (0, 0))
        while waiting:
            for kind, flags, sequence, body in self._receive():
                if kind == NLMSG_ERROR and (sequence in waiting or struct.unpack_from("=i", body)[0]):
                    _raise_error(flags, body, waiting.pop(sequence, "a batch"))

    def _receive(self) -> list[tuple[int, int, int, bytes]]:
        """The messages of one packet: kind, flags, sequence number and body. What it tells of interfaces is noted."""
        data = self._socket.recv(1 << 16)
        messages = []
        while len(data) >= HEADER.size:
            length, kind, flags, sequence, _ = HEADER.unpack_from(data)
            body = data[HEADER.size : length]
            messages.append((kind, flags, sequence, body))
            if kind == RTM_NEWLINK:
                self._up |= _carrying(body)
            data = data[(length + 3) & ~3 :]
        return messages

    def wait_until_up(self, indexes: Iterable[int], seconds: float) -> None:
        """Wait until the kernel has told of each interface that it carries packets.

        The socket must have heard of RTMGRP_LINK since before they were switched on.

        Raises:
            OSError: ETIMEDOUT, an interface did not come up in time.
        """
        wanted = set(indexes)
        self._socket.settimeout(seconds)
        while not wanted <= self._up:
            try:
                self._receive()
            except TimeoutError as error:
                raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), f"interfaces {sorted(wanted - self._up)}") from error


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3FFF, data[4:length]
        data = data[(max(length, 4) + 3) & ~3 :]


def _carrying(body: bytes) -> set[int]:
    """The index of the interface that a link message tells of, if its operational state is up (RFC 2863)."""
    (index,) = struct.unpack_from("=i", body, 4)
    states = [value[0] for kind, value in _attributes(body[16:]) if kind == IFLA_OPERSTATE]
    return {index} if states == [IF_OPER_UP] else set()


def _raise_error(flags: int, body: bytes, what: str) -> None:
    (number,) = struct.unpack_from("=i", body)
    if number == 0:
        return
    texts = [value for kind, value in _attributes(body[20:]) if kind == NLMSGERR_ATTR_MSG] if flags & NLM_F_ACK_TLVS else []
    reason = texts[0].rstrip(b"\0").decode(errors="replace") if texts else os.strerror(-number)
    raise OSError(-number, reason, what)


def _message(kind: Any, number: int, flags: int, fields: dict[str, Any], attributes: list[tuple[str, Any]]) -> Any:
    message = kind()
    message["header"]["type"] = number
    message["header"]["flags"] = NLM_F_REQUEST | flags
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    return message


def veth(left: dict[str, Any], right: dict[str, Any], namespaces: dict[str, int]) -> Any:
    """A pair of interfaces, each made in its own namespace at once.

    Arguments:
        left, right: `node`, `name`, `index`, `mtu` and `hardware_address` of each end.
        namespaces: descriptors by node.
    """

    def attributes(end: dict[str, Any]) -> list[tuple[str, Any]]:
        return [
            ("IFLA_IFNAME", end["name"]),
            ("IFLA_MTU", end["mtu"]),
            ("IFLA_ADDRESS", end["hardware_address"]),
            ("IFLA_NET_NS_FD", namespaces[end["node"]]),
        ]

    peer = {"index": right["index"], "attrs": attributes(right)}
    kind = {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", peer)]})]}
    flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
    return _message(ifinfmsg, RTM_NEWLINK, flags, {"index": left["index"]}, [*attributes(left), ("IFLA_LINKINFO", kind)])


def link_up(index: int) -> Any:
    """An interface is switched on."""
    return _message(ifinfmsg, RTM_NEWLINK, NLM_F_ACK, {"index": index, "flags": IFF_UP, "change": IFF_UP}, [])


def address(index: int, family: int, text: str, prefix_length: int) -> Any:
    """An interface gets an address, in use at once (no duplicate address detection)."""
    attributes = [("IFA_ADDRESS", text), ("IFA_FLAGS", IFA_F_NODAD)]
    if family == 4:
        attributes.append(("IFA_LOCAL", text))
    fields = {"index": index, "family": FAMILY[family], "prefixlen": prefix_length}
    return _message(ifaddrmsg, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, fields, attributes)


def neighbour(index: int, family: int, text: str, hardware_address: str) -> Any:
    """A neighbour is known for good, so that no probe waits for ARP or neighbour discovery."""
    fields = {"ifindex": index, "family": FAMILY[family], "state": NUD_PERMANENT}
    attributes = [("NDA_DST", text), ("NDA_LLADDR", hardware_address)]
    return _message(ndmsg, RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, fields, attributes)


def route(family: int, prefix: str, prefix_length: int, ways: list[tuple[int, str]]) -> Any:
    """A route over one gateway, or over several that share the flows.

    Arguments:
        family, prefix, prefix_length: the destination.
        ways: interface's index and gateway of each.
    """
    fields = {
        "family": FAMILY[family],
        "dst_len": prefix_length,
        "table": RT_TABLE_MAIN,
        "proto": RTPROT_STATIC,
        "scope": RT_SCOPE_UNIVERSE,
        "type": RTN_UNICAST,
    }
    attributes: list[tuple[str, Any]] = [("RTA_DST", prefix)] if prefix_length else []
    if len(ways) == 1:
        fields["flags"] = RTNH_F_ONLINK
        attributes += [("RTA_OIF", ways[0][0]), ("RTA_GATEWAY", ways[0][1])]
    else:
        hops = [{"oif": index, "hops": 0, "flags": RTNH_F_ONLINK, "attrs": [("RTA_GATEWAY", gateway)]} for index, gateway in ways]
        attributes.append(("RTA_MULTIPATH", hops))
    return _message(rtmsg, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, fields, attributes)


def _nested(prefix: str, attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes of an nftables object with the prefixes that its kind has in the kernel's names."""
    nested = {"DATA": "NFTA_DATA", "MASK": "NFTA_DATA", "XOR": "NFTA_DATA", "VERDICT": "NFTA_VERDICT"}
    encoded: list[tuple[str, Any]] = []
    for name, value in attributes.items():
        if isinstance(value, dict):
            content: Any = _nested(nested[name], value)
        else:
            content = bytes.fromhex(value) if name == "VALUE" else value
        encoded.append((f"{prefix}_{name}", content))
    return {"attrs": encoded}


def _expression(name: str, attributes: dict[str, Any]) -> dict[str, Any]:
    prefix = {"numgen": "NFTA_NG"}.get(name, f"NFTA_{name.upper()}")
    return {"attrs": [("NFTA_EXPR_NAME", name), ("NFTA_EXPR_DATA", _nested(prefix, attributes))]}


def _nftables(kind: Any, number: int, attributes: list[tuple[str, Any]]) -> Any:
    fields = {"nfgen_family": NFPROTO_INET}
    return _message(kind, NFNL_SUBSYS_NFTABLES << 8 | number, NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND, fields, attributes)


def _batch_mark(number: int) -> Any:
    return _message(nfgen_msg, number, 0, {"res_id": NFNL_SUBSYS_NFTABLES}, [])


def ruleset(rules: dict[str, list[list[tuple[str, dict[str, Any]]]]]) -> list[tuple[str, Any]]:
    """The messages of one transaction that makes a table with chains and rules.

    Arguments:
        rules: by chain, as firewall.ruleset has them.

    Returns:
        What each message is about, and the message; they go in one system call.
    """
    messages = [("begin", _batch_mark(NFNL_MSG_BATCH_BEGIN))]
    messages.append(("table", _nftables(nft_table_msg, NFT_MSG_NEWTABLE, [("NFTA_TABLE_NAME", TABLE)])))
    for chain in rules:
        attributes: list[tuple[str, Any]] = [("NFTA_CHAIN_TABLE", TABLE), ("NFTA_CHAIN_NAME", chain)]
        if chain in CHAINS:
            hook, priority, kind = CHAINS[chain]
            place = {"attrs": [("NFTA_HOOK_HOOKNUM", hook), ("NFTA_HOOK_PRIORITY", priority)]}
            attributes += [("NFTA_CHAIN_HOOK", place), ("NFTA_CHAIN_TYPE", kind)]
        messages.append((f"chain {chain}", _nftables(nft_chain_msg, NFT_MSG_NEWCHAIN, attributes)))
    for chain, listed in rules.items():
        for number, rule in enumerate(listed, start=1):
            expressions = [_expression(*expression) for expression in rule]
            attributes = [("NFTA_RULE_TABLE", TABLE), ("NFTA_RULE_CHAIN", chain), ("NFTA_RULE_EXPRESSIONS", expressions)]
            messages.append((f"rule {number} of chain {chain}", _nftables(nft_rule_msg, NFT_MSG_NEWRULE, attributes)))
    messages.append(("end", _batch_mark(NFNL_MSG_BATCH_END)))
    return messages
