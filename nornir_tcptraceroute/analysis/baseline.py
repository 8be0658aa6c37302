"""A known-good path, kept as a file in the user's version control, and what a later trace shows of it.

A baseline holds sets of addresses by TTL: equal-cost paths put several there. What answers nothing contradicts nothing. Times are
no part of it.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..probe.errors import OptionError, shown
from ..probe.options import PARAMETERS, is_address
from ..probe.records import Trace
from . import document
from .document import Document
from .naming import Place, Problem
from .proven_path import ProvenPath, counted
from .verdicts import Verdict

__all__ = (
    "Baseline",
    "Difference",
    "baseline_verdict",
    "compare",
    "from_document",
    "merge",
    "read",
    "read_of",
    "record",
    "write",
)

#: The version of the form.
FORM = 1
MOST_HOPS = 255
MOST_ADDRESSES = 1000

HEADER = """\
# A known-good path: every address that may answer at each hop; [] is a hop that answered nothing, and so contradicts nothing.
# nornir-tcptraceroute writes and compares it; it belongs in version control.
"""


@dataclass(frozen=True)
class Baseline:
    """A known-good path.

    Attributes:
        destination, port, family: what was traced to.
        addresses: of the destination, in order.
        distances: TTLs at which the destination answers, in order: several where equal-cost paths differ in length; empty where
            it did not answer.
        hops: every router's address by TTL from 1 on, in order; an empty set is a hop that answered nothing.
    """

    destination: str
    port: int
    family: int
    addresses: tuple[str, ...]
    distances: tuple[int, ...]
    hops: tuple[tuple[str, ...], ...]

    def text(self) -> str:
        """The file's text; equal baselines give equal texts."""
        hops = "".join(f"  {ttl}: {_flow(addresses)}\n" for ttl, addresses in enumerate(self.hops, 1))
        return (
            f"{HEADER}baseline: {FORM}\n"
            f"destination: {_scalar(self.destination)}\n"
            f"port: {self.port}\n"
            f"family: {self.family}\n"
            f"addresses: {_flow(self.addresses)}\n"
            f"answers_at_hop: {_flow(self.distances)}\n"
            f"hops:{f'{chr(10)}{hops}' if hops else f' {{}}{chr(10)}'}"
        )


def _flow(values: Sequence[str] | Sequence[int]) -> str:
    return f"[{', '.join(map(_scalar, values))}]"


def _scalar(value: str | int) -> str:
    # Names and IPv6 addresses are printable ASCII without quotes and backslashes, and could be taken for something else.
    return str(value) if isinstance(value, int) or is_address(value) == 4 else f'"{value}"'


def _sorted(addresses: Any) -> tuple[str, ...]:
    def key(address: str) -> tuple[int, str]:
        return int(ipaddress.ip_address(address.partition("%")[0])), address

    return tuple(sorted(set(addresses), key=key))


# Recording.


def record(trace: Trace) -> Baseline:
    """Make a baseline of a trace.

    Arguments:
        trace: of a path that is as it should be.

    Returns:
        The path up to the destination, or up to the last router that answered.
    """
    path = ProvenPath(trace, None)
    hops = tuple(_sorted(router.address for router in path.at(ttl)) for ttl in range(1, path.end + 1))
    distances = () if path.distance is None else (path.distance,)
    return Baseline(trace.destination, trace.port, trace.family, (trace.address,), distances, hops)


def merge(baseline: Baseline, trace: Trace) -> Baseline:
    """Add what a trace shows to a baseline: the addresses and the length of another equal-cost path.

    Arguments:
        baseline: of the same destination, port and IP version.
        trace: of a path that is as good.

    Raises:
        OptionError: they are of different destinations.
    """
    new = record(trace)
    if (baseline.destination, baseline.port, baseline.family) != (new.destination, new.port, new.family):
        raise OptionError([f"baseline: {_mismatch(baseline, trace)}: record it anew instead of merging"])
    length = max(len(baseline.hops), len(new.hops))
    hops = [(*_at(baseline, ttl), *_at(new, ttl)) for ttl in range(1, length + 1)]
    return replace(
        baseline,
        addresses=_sorted((*baseline.addresses, *new.addresses)),
        distances=tuple(sorted({*baseline.distances, *new.distances})),
        hops=tuple(map(_sorted, hops)),
    )


def _at(baseline: Baseline, ttl: int) -> tuple[str, ...]:
    return baseline.hops[ttl - 1] if ttl <= len(baseline.hops) else ()


def write(file: str | os.PathLike[str], baseline: Baseline) -> bool:
    """Write a baseline's file, whole or not at all; its directory is made.

    Returns:
        Whether the file has changed.

    Raises:
        OptionError: it can't be written.
    """
    path, text = Path(file), baseline.text()
    try:
        if path.exists() and path.read_bytes() == text.encode():
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="ascii") as stream:
            try:
                stream.write(text)
                stream.flush()
                os.chmod(stream.name, mode)  # noqa: PTH101 - by name, beside os.replace
                os.replace(stream.name, path)  # noqa: PTH105 - likewise
            except BaseException:
                os.unlink(stream.name)  # noqa: PTH108 - likewise
                raise
    except OSError as error:
        raise OptionError([f"{ascii(os.fspath(file))[1:-1]}: can't be written: {error.strerror}"]) from None
    return True


def _umask() -> int:
    # There is no other way to ask for it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


# Reading.


def read(file: str | os.PathLike[str]) -> Baseline:
    """Read a baseline's file.

    Raises:
        OptionError: it can't be read or breaks rules: one sentence for each, with file and line.
    """
    return from_document(document.read(file))


def read_of(file: str | os.PathLike[str], destination: str, port: int) -> Baseline:
    """Read a baseline that has to be of one destination and port.

    Raises:
        OptionError: as for ``read``, or it is of another.
    """
    known = read(file)
    if (known.destination, known.port) != (destination, port):
        other = f"{known.destination} port {known.port}, not of {destination} port {port}"
        raise OptionError([f"{ascii(os.fspath(file))[1:-1]} is of {other}"])
    return known


def from_document(source: Document) -> Baseline:
    """Read a baseline.

    Raises:
        OptionError: it breaks rules: one sentence for each, with file and line.
    """
    content = source.content
    problems = list(_problems(content))
    if problems:
        raise source.refusal(problems)
    return Baseline(
        content["destination"],
        content["port"],
        content["family"],
        _sorted(content["addresses"]),
        tuple(sorted(set(content["answers_at_hop"]))),
        tuple(_sorted(content["hops"][ttl]) for ttl in sorted(content["hops"])),
    )


_KEYS = ("baseline", "destination", "port", "family", "addresses", "answers_at_hop", "hops")


def _problems(content: Any) -> Iterator[Problem]:
    if not isinstance(content, dict) or "baseline" not in content:
        yield Problem((), "this is no baseline: let nornir-tcptraceroute check --baselines record write one")
        return
    yield from (Problem((str(key),), "is not a key of a baseline") for key in content if key not in _KEYS)
    missing = [key for key in _KEYS if key not in content]
    yield from (Problem((key,), "is missing") for key in missing)
    if missing:
        return
    for key, rule in (("baseline", "1"), ("family", "4 or 6"), ("port", PARAMETERS["port"].rule)):
        value = content[key]
        allowed = {"baseline": range(1, 2), "family": (4, 6), "port": range(1, 65536)}[key]
        if type(value) is not int or value not in allowed:
            yield Problem((key,), f"{shown(value)} is not {rule}")
    if not isinstance(content["destination"], str) or not _plain(content["destination"]):
        yield Problem(("destination",), "is not a host name or an IP address")
    yield from _address_problems(content, ("addresses",), content["addresses"])
    yield from _hop_problems(content)


def _hop_problems(content: dict[str, Any]) -> Iterator[Problem]:
    distances = content["answers_at_hop"]
    if not isinstance(distances, list) or not all(type(ttl) is int and 1 <= ttl <= MOST_HOPS for ttl in distances):
        yield Problem(("answers_at_hop",), f"is not a list of whole numbers between 1 and {MOST_HOPS}")
    hops = content["hops"]
    if not isinstance(hops, dict) or sorted(map(str, hops)) != sorted(map(str, range(1, len(hops) + 1))) or len(hops) > MOST_HOPS:
        yield Problem(("hops",), f"is not a mapping of hops that are numbered from 1 on without a gap, at most {MOST_HOPS}")
        return
    if isinstance(distances, list) and any(type(ttl) is int and ttl > len(hops) + 1 for ttl in distances):
        yield Problem(("answers_at_hop",), f"is beyond the hops, of which there are {len(hops)}")
    for ttl, addresses in hops.items():
        if type(ttl) is not int:
            yield Problem(("hops", str(ttl)), "is not a number: leave the quotes out")
        yield from _address_problems(content, ("hops", str(ttl)), addresses)


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and not set(text) & set("\"'\\ ") and 0 < len(text) <= 255


def _address_problems(content: dict[str, Any], place: Place, addresses: Any) -> Iterator[Problem]:
    if not isinstance(addresses, list) or len(addresses) > MOST_ADDRESSES:
        yield Problem(place, f"is not a list of at most {MOST_ADDRESSES} addresses")
        return
    for index, address in enumerate(addresses):
        if not isinstance(address, str) or not is_address(address):
            yield Problem((*place, index), f"{shown(address)} is not an IP address")
        elif content["family"] in {4, 6} and is_address(address) != content["family"]:
            yield Problem((*place, index), f"{address} is not of the baseline's family, IPv{content['family']}")


# Comparing.


@dataclass(frozen=True)
class Difference:
    """What a trace shows of a baseline.

    Attributes:
        outcome: ``success``: nothing differs; ``failure``: something does; ``skipped``: what can be seen does not differ, but the
            destination did not answer, so that the rest of the path is not known.
        changes: one sentence each, such as "the path is 2 hops longer from hop 4 on".
        before, after: the baseline's text, and the same with what differs; equal where nothing does.
        told: what the verdict says where nothing differs.
    """

    outcome: str
    changes: tuple[str, ...]
    before: str
    after: str
    told: str

    def diff(self, name: str = "baseline") -> str:
        """The difference as a unified diff; empty where there is none.

        Arguments:
            name: what the baseline is called, usually the path of its file.
        """
        before, after = self.before.splitlines(keepends=True), self.after.splitlines(keepends=True)
        return "".join(difflib.unified_diff(before, after, name, "trace"))


def compare(trace: Trace, baseline: Baseline) -> Difference:
    """Compare a trace with a baseline.

    A hop whose addresses the baseline all knows is the same, however many paths there are; a silent one on either side
    contradicts nothing. Where the path got longer or shorter, the rest of it is compared at its new distance.

    Arguments:
        trace: the later trace, of the same destination, port and IP version.
        baseline: the path as it was recorded.
    """
    before = baseline.text()
    mismatch = _mismatch(baseline, trace)
    new = record(trace)
    if mismatch:
        return Difference("failure", (mismatch,), before, new.text(), "")
    beside = _laid_beside(new, baseline)
    changes = list(_changes(beside, new, baseline))
    if changes:
        return Difference("failure", tuple(changes), before, _shown(beside, new, baseline).text(), "")
    if baseline.distances and not new.distances:
        where = f"; up to hop {len(new.hops)} the path is the same" if new.hops else ""
        return Difference("skipped", (), before, before, f"the destination did not answer{where}")
    return Difference("success", (), before, before, "the path is the same")


def baseline_verdict(difference: Difference, name: str) -> Verdict:
    """The verdict that belongs to a difference.

    Arguments:
        difference: from ``compare``.
        name: what the baseline is called, usually the path of its file.
    """
    reason = "; ".join(difference.changes) or difference.told
    actual = list(difference.changes)
    return Verdict("baseline", difference.outcome, reason, name, actual)


def _mismatch(baseline: Baseline, trace: Trace) -> str:
    told = (baseline.destination, baseline.port, baseline.family)
    if told == (trace.destination, trace.port, trace.family):
        return ""
    return (
        f"the baseline is of {told[0]} port {told[1]} over IPv{told[2]}, "
        f"and the trace of {trace.destination} port {trace.port} over IPv{trace.family}"
    )


@dataclass(frozen=True)
class _Beside:
    """A trace laid beside a baseline.

    Attributes:
        steps: TTLs of the trace and of the baseline that stand for one another; None where the other has no such hop.
        length: so many hops of the baseline were compared: one of the lengths that its equal-cost paths have.
    """

    steps: tuple[tuple[int | None, int | None], ...]
    length: int


def _laid_beside(new: Baseline, old: Baseline) -> _Beside:
    """Lay a trace beside a baseline as cheaply as it can be."""
    both = bool(new.distances and old.distances)
    lengths = [distance - 1 for distance in old.distances] if both else [len(old.hops)]
    found = [(*_aligned(new.hops, old.hops[:length], not new.distances, not old.distances), length) for length in lengths]
    _, steps, length = min(found, key=lambda entry: entry[0])
    return _Beside(tuple(steps), length)


def _aligned(
    new: Sequence[tuple[str, ...]],
    old: Sequence[tuple[str, ...]],
    new_is_open: bool,  # noqa: FBT001 - one caller
    old_is_open: bool,  # noqa: FBT001 - likewise
) -> tuple[float, list[tuple[int | None, int | None]]]:
    """The cheapest alignment and its cost; what the trace lacks behind its last answer costs nothing, as it may be there."""
    costs: dict[tuple[int, int], tuple[float, tuple[int | None, int | None]]] = {(0, 0): (0.0, (None, None))}
    for i in range(len(new) + 1):
        for j in range(len(old) + 1):
            choices: list[tuple[float, tuple[int | None, int | None]]] = []
            if i:
                choices.append((costs[i - 1, j][0] + 1.0, (i, None)))
            if j:
                choices.append((costs[i, j - 1][0] + (0.0 if new_is_open and i == len(new) else 1.0), (None, j)))
            if i and j:
                choices.append((costs[i - 1, j - 1][0] + _price(new[i - 1], old[j - 1]), (i, j)))
            if choices:
                # Of equals the first: what changed is told before what it shifted.
                costs[i, j] = min(choices, key=lambda choice: choice[0])
    steps: list[tuple[int | None, int | None]] = []
    i, j = len(new), len(old)
    while i or j:
        step = costs[i, j][1]
        steps.append(step)
        i, j = i - (step[0] is not None), j - (step[1] is not None)
    steps.reverse()
    while steps and ((new_is_open and steps[-1][0] is None) or (old_is_open and steps[-1][1] is None)):
        steps.pop()
    return costs[len(new), len(old)][0], steps


def _price(seen: tuple[str, ...], known: tuple[str, ...]) -> float:
    """What it costs to take a hop of the trace for one of the baseline; a hop that came or went costs 1."""
    if not seen or not known:
        # Less than any change, and more than certainty: a router that is known is not laid beside silence.
        return 0.0 if not seen and not known else 0.001
    if set(seen) <= set(known):
        return 0.0
    return 0.8 if set(seen) & set(known) else 0.9


def _changes(beside: _Beside, new: Baseline, old: Baseline) -> Iterator[str]:
    """What differs, one sentence each, in the order of the hops."""
    if not set(new.addresses) <= set(old.addresses):
        yield f"{new.destination} has the address {new.addresses[0]}, not {' or '.join(old.addresses)}"
    ttl, shift, first, total = 0, 0, 0, 0
    # The last step is the end of both.
    for mine, known in (*beside.steps, (256, 256)):
        if mine is None or known is None:
            first = first if shift else ttl + 1
            shift += 1 if known is None else -1
        elif shift:
            total += shift
            told = f"{counted(abs(total))} {'longer' if total > 0 else 'shorter'}" if total else "as long as it was"
            yield f"the path is {told} from hop {first} on"
            shift = 0
        if mine is not None and known is not None and mine <= len(new.hops):
            seen, expected = new.hops[mine - 1], old.hops[known - 1]
            others = [address for address in seen if address not in expected]
            if others and expected:
                yield f"hop {mine} is {' and '.join(others)}, not {' or '.join(expected)}"
        ttl = mine or ttl


def _shown(beside: _Beside, new: Baseline, old: Baseline) -> Baseline:
    """The trace as a baseline in which only what differs differs: silence and equal-cost paths are as they were."""
    hops: list[tuple[str, ...]] = []
    for ttl, known in beside.steps:
        if ttl is not None:
            seen, expected = new.hops[ttl - 1], () if known is None else old.hops[known - 1]
            hops.append(expected if set(seen) <= set(expected) else seen)
    known_length = not new.distances or set(new.distances) <= set(old.distances)
    if known_length:
        compared = max((known for _, known in beside.steps if known is not None), default=0)
        hops += old.hops[compared:]
    elif not old.distances:
        hops += new.hops[max((ttl for ttl, _ in beside.steps if ttl is not None), default=0) :]
    return replace(
        old,
        addresses=old.addresses if set(new.addresses) <= set(old.addresses) else new.addresses,
        distances=old.distances if known_length else new.distances,
        hops=tuple(hops),
    )
