# BSD-3-Clause, see LICENSE
"""Names, forward and reverse, outside the receive path; and which addresses are never traced to.

What a resolver says is hostile: ``safe_name`` is the one place where a name is made fit for a terminal, a log or a template.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Callable, Deque, Dict, Iterable, List, Optional, Sequence, Tuple

from .errors import ResolveError
from .options import is_address
from .record_class import replaced

if TYPE_CHECKING:
    from .records import Hop, Trace

__all__ = ("ReverseNames", "forbidden", "resolve", "safe_name", "with_names")

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_LONGEST_NAME = 253
_MOST_THREADS = 16
_MOST_ADDRESSES = 512
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_MAPPED = b"\x00" * 10 + b"\xff\xff"


def resolve(host: str, family: Optional[int]) -> List[Tuple[int, str]]:
    """Find the addresses of a host.

    Arguments:
        host: a name, an IPv4 address, or an IPv6 address with or without a zone such as ``%eth0``; an address needs no resolver.
        family: 4 or 6 for addresses of that IP version alone, None for both.

    Returns:
        IP version and address of each, at least one, in the order of preference that the system gives (RFC 6724), none twice.
        Addresses are in their canonical form (RFC 5952), with the zone where there is one.

    Raises:
        ResolveError: the name has no address, or none of the family asked for, or the resolver failed.
    """
    version = is_address(host)
    if version:
        return [_literal(host, version, family)]
    shown = safe_name(host)
    if not host.isascii() or "\x00" in host:
        raise ResolveError("{} does not resolve (no name in ASCII): give a host name or an address".format(shown))
    try:
        # Bytes, because a text would load the codec for international names, 5 ms of start-up for nothing.
        name = host.encode("ascii")
        found = _lookup(name, family)
        others = _lookup(name, None) if family is not None and not found else []
    except (OSError, ValueError) as error:
        raise ResolveError(
            "{} does not resolve ({}): check the name and this host's resolver, or give an address".format(shown, _word(error))
        ) from None
    if others:
        raise ResolveError(
            "{} has no IPv{} address, only IPv{}: ask for that, or give an address".format(shown, family, others[0][0])
        )
    if not found:
        raise ResolveError("{} does not resolve (no usable address): check the name, or give an address".format(shown))
    return found


def _literal(host: str, version: int, family: Optional[int]) -> Tuple[int, str]:
    address, percent, zone = host.partition("%")
    packed = socket.inet_pton(_FAMILIES[version], address)
    if version == 6 and packed[:12] == _MAPPED:
        plain = socket.inet_ntop(socket.AF_INET, packed[12:])
        raise ResolveError("{} is an IPv4 address in IPv6 form: give {} instead".format(host, plain))
    if family is not None and family != version:
        raise ResolveError("{} is not an IPv{} address: give one, or ask for IPv{}".format(host, family, version))
    return version, socket.inet_ntop(_FAMILIES[version], packed) + percent + zone


#: The resolver's words for "no such name" and "no address of that family". A system may lack some of them.
_ABSENT = frozenset(getattr(socket, name, socket.EAI_NONAME) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY"))


def _lookup(name: bytes, family: Optional[int]) -> List[Tuple[int, str]]:
    asked = socket.AF_UNSPEC if family is None else _FAMILIES[family]
    try:
        answers = socket.getaddrinfo(name, None, asked, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except socket.gaierror as error:
        # Only a question for both families, which the caller asks next, tells no such name from no address of this family.
        if family is not None and error.errno in _ABSENT:
            return []
        raise
    found: Dict[Tuple[int, str], None] = {}
    for *_kind, place in answers:
        address = str(place[0])
        version = is_address(address)
        if version == 6 and socket.inet_pton(socket.AF_INET6, address.partition("%")[0])[:12] == _MAPPED:
            continue
        if version == 6 and len(place) == 4 and place[3] and "%" not in address:
            address = "{}%{}".format(address, _zone(place[3]))
        if version:
            found[version, address] = None
    return list(found)


def _zone(scope: int) -> str:
    try:
        return socket.if_indextoname(scope)
    except OSError:
        # The interface went away since; its number is a zone too (RFC 4007 section 11.2), and the route will be refused by name.
        return str(scope)


def _word(error: Exception) -> str:
    text = str(getattr(error, "strerror", None) or error)
    return "".join(character if " " <= character <= "~" else _escaped(character) for character in text)


def forbidden(address: str, family: int) -> Optional[str]:
    """Tell why an address must never be traced to.

    Arguments:
        address: the address that packets would be sent to, with or without a zone.
        family: its IP version, 4 or 6.

    Returns:
        What the address is, so that "ADDRESS is ..., which is never traced to" is a sentence; None where nothing is against it.
    """
    try:
        packed = socket.inet_pton(_FAMILIES[family], address.partition("%")[0] if family == 6 else address)
    except (OSError, ValueError):
        return "not an IPv{} address".format(family)
    if not any(packed):
        return "the unspecified address"
    if family == 6:
        if packed[0] == 0xFF:
            return "a multicast address (RFC 4291 section 2.7)"
        return "an IPv4-mapped address (RFC 4291 section 2.5.5.2)" if packed[:12] == _MAPPED else None
    if packed == b"\xff\xff\xff\xff":
        return "the limited broadcast address (RFC 919 section 7)"
    if packed[0] >= 240:
        return "in 240.0.0.0/4, which is reserved (RFC 1112 section 4)"
    return "a multicast address (RFC 1112 section 4)" if packed[0] >= 224 else None


def safe_name(text: str) -> str:
    r"""Make a name from DNS fit for a terminal, a log and a template.

    ASCII letters, digits, ``.``, ``_`` and ``-`` stay, anything else becomes ``\xNN`` for each byte of its UTF-8 form; a
    trailing dot goes.

    Arguments:
        text: the name as the resolver gave it; bytes that were no UTF-8 are those that Python smuggled as surrogates (PEP 383).

    Returns:
        At most 253 characters (RFC 1035 section 2.3.4 allows no longer name); a longer result ends with ``...``.
    """
    pieces = []
    length = 0
    for character in text.rstrip(".")[: _LONGEST_NAME + 1]:
        piece = character if character in _SAFE else _escaped(character)
        pieces.append(piece)
        length += len(piece)
    if length <= _LONGEST_NAME:
        return "".join(pieces)
    while length > _LONGEST_NAME - 3:
        length -= len(pieces.pop())
    return "".join(pieces) + "..."


def _escaped(character: str) -> str:
    try:
        octets = character.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        octets = character.encode("utf-8", "surrogatepass")
    return "".join("\\x{:02x}".format(octet) for octet in octets)


def _from_system(address: str) -> Sequence[object]:
    # Not getnameinfo(), in which Python 3.8 keeps every other thread waiting for the answer. Bytes for the reason in resolve().
    return socket.gethostbyaddr(address.encode("ascii"))  # type: ignore[arg-type]


class _Lookup:
    """One reverse lookup: when nobody waits for it any more, whether it ended, and the name that it found."""

    __slots__ = ("ended", "expires_at", "name")

    def __init__(self, expires_at: float) -> None:
        self.expires_at = expires_at
        self.ended = False
        self.name: Optional[str] = None


class ReverseNames:
    """Reverse lookups in the background; any number of traces may share one object.

    Each address has ``budget_s`` seconds from the moment it is asked for. All run at the same time, so a dead resolver costs
    the budget once and not once for each hop. At most 16 daemon threads look up, only while there is work, and none is
    started before the first ``ask``; so many addresses at most are known at once, the oldest that is ready makes room for a new
    one.

    Arguments:
        mode: ``none``, ``all``, or ``public`` for all but the private IPv4 addresses of RFC 1918.
        budget_s: time for each address in seconds.
        lookup: takes an address without its zone and returns a tuple that starts with its name, as ``socket.gethostbyaddr``
            does; may raise OSError or ValueError where there is none.
        most_addresses: that are known at once.
    """

    def __init__(
        self,
        mode: str,
        budget_s: float = 2.0,
        lookup: Callable[[str], Sequence[object]] = _from_system,
        most_addresses: int = _MOST_ADDRESSES,
    ) -> None:
        self.mode = mode
        self.budget_s = budget_s
        self._lookup = lookup
        self._most_addresses = most_addresses
        self._changed = threading.Condition()
        self._lookups: Dict[str, _Lookup] = {}
        self._queue: Deque[Tuple[str, _Lookup]] = deque()
        self._workers = 0
        self._closed = False

    def wants(self, address: str) -> bool:
        """Whether the mode has this address looked up."""
        return self.mode == "all" or (self.mode == "public" and not _is_private(address))

    def ask(self, address: str) -> None:
        """Start the lookup of an address; nothing happens where it is known, not wanted, or the object is closed."""
        if not self.wants(address):
            return
        with self._changed:
            if self._closed or address in self._lookups or not self._has_room():
                return
            lookup = self._lookups[address] = _Lookup(time.monotonic() + self.budget_s)
            self._queue.append((address, lookup))
            if self._workers < _MOST_THREADS:
                self._start_worker()

    def ready(self, address: str) -> bool:
        """Whether waiting for this address is of no use: its lookup ended, its time is over, or none is under way."""
        with self._changed:
            lookup = self._lookups.get(address)
            return lookup is None or lookup.ended or self._closed or time.monotonic() >= lookup.expires_at

    def get(self, address: str) -> Optional[str]:
        """The name of an address, escaped; None where it has none, or none that is known yet."""
        with self._changed:
            lookup = self._lookups.get(address)
            return lookup.name if lookup else None

    def unfinished(self, address: str) -> bool:
        """Whether this address should have been looked up and has not been, so that no name means nothing."""
        if not self.wants(address):
            return False
        with self._changed:
            lookup = self._lookups.get(address)
            return lookup is None or not lookup.ended

    def wait(self, seconds: float, addresses: Optional[Iterable[str]] = None) -> None:
        """Wait until addresses are ready.

        Arguments:
            seconds: longest time to wait.
            addresses: those to wait for; by default all that were asked for.
        """
        end = time.monotonic() + seconds
        wanted = None if addresses is None else list(addresses)
        with self._changed:
            while not self._closed:
                lookups = [self._lookups[one] for one in (self._lookups if wanted is None else wanted) if one in self._lookups]
                expiries = [lookup.expires_at for lookup in lookups if not lookup.ended]
                left = min(end, max(expiries, default=0.0)) - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)

    def close(self) -> None:
        """Start no lookup any more, and let whoever waits go on. Lookups under way end by themselves, in their daemon threads."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()

    def _has_room(self) -> bool:
        if len(self._lookups) < self._most_addresses:
            return True
        now = time.monotonic()
        oldest = next((address for address, lookup in self._lookups.items() if lookup.ended or now >= lookup.expires_at), None)
        if oldest is not None:
            del self._lookups[oldest]
        return oldest is not None

    def _start_worker(self) -> None:
        worker = threading.Thread(target=self._work, name="reverse-names", daemon=True)
        try:
            worker.start()
        except RuntimeError:
            # No thread to be had. The address waits for a worker that runs, or ends as unfinished when its time is over.
            return
        self._workers += 1

    def _work(self) -> None:
        while True:
            with self._changed:
                work = self._next()
                if work is None:
                    self._workers -= 1
                    return
            address, lookup = work
            name = self._name_of(address)
            with self._changed:
                lookup.ended, lookup.name = True, name
                self._changed.notify_all()

    def _next(self) -> Optional[Tuple[str, _Lookup]]:
        now = time.monotonic()
        while self._queue:
            address, lookup = self._queue.popleft()
            # Behind a dead resolver the queue is full of addresses that nobody waits for any more.
            if now < lookup.expires_at:
                return address, lookup
        return None

    def _name_of(self, address: str) -> Optional[str]:
        try:
            name = str(self._lookup(address.partition("%")[0])[0])
        except (OSError, ValueError):
            return None
        # A name that reads as an address could only mislead.
        return (safe_name(name) or None) if not is_address(name.rstrip(".")) else None


def _is_private(address: str) -> bool:
    """Whether an address is one of RFC 1918 section 3."""
    if is_address(address) != 4:
        return False
    first, second = socket.inet_pton(socket.AF_INET, address)[:2]
    return first == 10 or (first == 172 and 16 <= second <= 31) or (first == 192 and second == 168)


def with_names(trace: Trace, names: ReverseNames) -> Trace:
    """Fill in the names of a trace's hops and replies, all looked up at once.

    Arguments:
        trace: a trace that ended.
        names: does the lookups; its budget is the longest time that this call takes.

    Returns:
        A trace with names, and with a warning where lookups had not ended in time; the same object where mode is ``none``.
    """
    if names.mode == "none":
        return trace
    addresses = list(dict.fromkeys(address for hop in trace.hops for address in _addresses(hop)))
    for address in addresses:
        names.ask(address)
    names.wait(names.budget_s, addresses)
    unfinished = sum(names.unfinished(address) for address in addresses)
    warnings = trace.warnings
    if unfinished:
        warnings += (
            "{} of {} addresses have no name because their lookups had not ended within {:g} s: "
            "check this host's resolver, or ask for no names".format(unfinished, len(addresses), names.budget_s),
        )
    return replaced(trace, hops=tuple(_named(hop, names) for hop in trace.hops), warnings=warnings)


def _addresses(hop: Hop) -> List[str]:
    return [address for address in (hop.address, *hop.addresses, *(reply.address for reply in hop.replies)) if address]


def _named(hop: Hop, names: ReverseNames) -> Hop:
    replies = tuple(replaced(reply, name=names.get(reply.address)) if reply.address else reply for reply in hop.replies)
    return replaced(hop, name=names.get(hop.address) if hop.address else None, replies=replies)
