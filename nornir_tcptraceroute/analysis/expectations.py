"""What a path may be expected to be: the words, and reading expectations from plain data."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..probe.errors import OptionError, shown
from ..probe.records import PORT_STATES
from .naming import Place, Problem
from .proven_path import names_of, network_of

__all__ = ("WORDS", "Expectations", "Word", "problems")

#: So many operands at most in one expectation.
MOST_OPERANDS = 100

_LONGEST_NAME = 253


@dataclass(frozen=True)
class Word:
    """One word of the language of expectations.

    Attributes:
        kind: ``boolean``, ``true`` (nothing but true), ``integer``, ``number``, ``states`` or ``places``.
        help: what is expected, in one sentence.
        minimum, maximum: bounds of an integer or number. unit: of a number.
    """

    kind: str
    help: str
    minimum: float = 0
    maximum: float = 0
    unit: str = ""

    @property
    def rule(self) -> str:
        """What a value must be, as the end of the sentence "... is not ..."."""
        return {
            "boolean": "true or false",
            "true": "true: leave the word out where it does not matter",
            "integer": f"a whole number between {self.minimum:g} and {self.maximum:g}",
            "number": f"a number between {self.minimum:g} and {self.maximum:g} {self.unit}",
            "states": f"one of {', '.join(PORT_STATES)}, or a list of them",
            "places": "an address, a prefix, the name of a network or of a device, or a list of them",
        }[self.kind]


#: Every word, in the order of the verdicts.
WORDS: dict[str, Word] = {
    "reached": Word("boolean", "Whether the destination answers."),
    "port_state": Word("states", "What the port is; of several, any."),
    "transit": Word("places", "Routers or networks that the path passes, in whatever order; each of them."),
    "ordered": Word("places", "Routers or networks that the path passes in this order; others may be between them."),
    "forbidden": Word("places", "Routers or networks that the path avoids; each of them."),
    "first_hop": Word("places", "The router at TTL 1; every address that answers there is one of these."),
    "last_hop": Word("places", "The last router before the destination; every address that answers there is one of these."),
    "min_hops": Word("integer", "The TTL at which the destination answers is at least this.", 1, 255),
    "max_hops": Word("integer", "The TTL at which the destination answers is at most this.", 1, 255),
    "max_rtt_ms": Word("number", "The average round-trip time to the destination is at most this.", 0, 1e6, "milliseconds"),
    "max_loss_pct": Word("number", "At most this share of the queries to the destination has no answer.", 0, 100, "percent"),
    "unmodified": Word("true", "No router shows a field of the probe rewritten."),
    "no_nat": Word("true", "No router shows the probe's addresses or ports translated."),
}


@dataclass(frozen=True)
class Expectations:
    """What a path is expected to be; frozen and hashable. Each attribute is a key of ``WORDS``; None is not expected."""

    reached: bool | None = None
    port_state: tuple[str, ...] | None = None
    transit: tuple[str, ...] | None = None
    ordered: tuple[str, ...] | None = None
    forbidden: tuple[str, ...] | None = None
    first_hop: tuple[str, ...] | None = None
    last_hop: tuple[str, ...] | None = None
    min_hops: int | None = None
    max_hops: int | None = None
    max_rtt_ms: float | None = None
    max_loss_pct: float | None = None
    unmodified: bool | None = None
    no_nat: bool | None = None

    @classmethod
    def from_dict(cls, values: Any, names: Collection[str] | None = None) -> Expectations:
        """Read expectations that came as JSON or YAML.

        Arguments:
            values: words and what is expected.
            names: every name of a network or device that there is, escaped or not; None where that is not known.

        Raises:
            OptionError: every unknown word, every value that breaks its rule and every unknown name, one sentence each.
        """
        found = problems(values, names)
        if found:
            raise OptionError([str(Problem(("expect", *problem.place), problem.rule)) for problem in found])
        return cls(**{name: _kept(WORDS[name], value) for name, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """What is expected, as JSON types; ``from_dict`` reads it back."""
        values = {name: getattr(self, name) for name in WORDS if getattr(self, name) is not None}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def problems(values: Any, names: Collection[str] | None = None) -> list[Problem]:
    """Everything that is wrong with expectations that came as JSON or YAML.

    Arguments:
        values, names: as for ``Expectations.from_dict``.

    Returns:
        For each problem its place below ``expect`` and the rule that is broken.
    """
    if not isinstance(values, Mapping):
        return [Problem((), f"{shown(values)} is not a mapping of expectations, such as reached: true")]
    found: list[Problem] = [] if values else [Problem((), f"nothing is expected: take any of {', '.join(WORDS)}")]
    for name, value in values.items():
        if not isinstance(name, str) or name not in WORDS:
            found.append(Problem((str(name)[:80],), f"is not an expectation; there are {', '.join(WORDS)}"))
            continue
        found += _PROBLEMS[WORDS[name].kind](name, value, names)
    return found or list(_contradictions(values))


def _contradictions(values: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong between words that are right by themselves."""
    lowest, highest = values.get("min_hops"), values.get("max_hops")
    if lowest is not None and highest is not None and lowest > highest:
        yield Problem(("min_hops",), f"{lowest} is not at most max_hops ({highest})")
    avoided = set(_several(values.get("forbidden", [])))
    for name in ("transit", "ordered", "first_hop", "last_hop"):
        for operand in _several(values.get(name, [])):
            if operand in avoided:
                yield Problem((name,), f"{shown(operand)} is forbidden as well")
    if values.get("reached") is False:
        for name in ("max_rtt_ms", "max_loss_pct"):
            if name in values and not (name == "max_loss_pct" and values[name] == 100):
                yield Problem((name,), "can't be met by a destination that is expected not to be reached")


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _kept(word: Word, value: Any) -> Any:
    if word.kind in {"states", "places"}:
        return tuple(_several(value))
    return float(value) if word.kind == "number" else value


def _boolean_problems(name: str, value: Any, _names: Collection[str] | None) -> list[Problem]:
    return [] if isinstance(value, bool) else [Problem((name,), f"{shown(value)} is not {WORDS[name].rule}")]


def _true_problems(name: str, value: Any, _names: Collection[str] | None) -> list[Problem]:
    return [] if value is True else [Problem((name,), f"{shown(value)} is not {WORDS[name].rule}")]


def _number_problems(name: str, value: Any, _names: Collection[str] | None) -> list[Problem]:
    word = WORDS[name]
    kinds = int if word.kind == "integer" else (int, float)
    fits = isinstance(value, kinds) and not isinstance(value, bool) and word.minimum <= value <= word.maximum
    return [] if fits else [Problem((name,), f"{shown(value)} is not {word.rule}")]


def _state_problems(name: str, value: Any, _names: Collection[str] | None) -> list[Problem]:
    states = _several(value)
    wrong = [state for state in states if not isinstance(state, str) or state not in PORT_STATES]
    if wrong or not states:
        return [Problem((name,), f"{shown(state)} is not {WORDS[name].rule}") for state in wrong or [value]]
    return []


def _place_problems(name: str, value: Any, names: Collection[str] | None) -> list[Problem]:
    operands = _several(value)
    if not operands or len(operands) > MOST_OPERANDS:
        return [Problem((name,), f"{len(operands)} places are not between 1 and {MOST_OPERANDS}")]
    single = not isinstance(value, (list, tuple))
    found: list[Problem] = []
    for index, operand in enumerate(operands):
        place: Place = (name,) if single else (name, index)
        if not isinstance(operand, str):
            found.append(Problem(place, f"{shown(operand)} is not {WORDS[name].rule}"))
        elif network_of(operand) is not None:
            continue
        elif names is not None and not names_of(operand) & set(names):
            known = f"known names are {_listed(sorted(names))}" if names else "there are no names"
            found.append(Problem(place, f"{shown(operand)} is no address, no prefix and no name: {known}"))
        elif names is None and (not 0 < len(operand.strip()) <= _LONGEST_NAME or _looks_like_an_address(operand)):
            found.append(Problem(place, f"{shown(operand)} is not {WORDS[name].rule}"))
    return found


def _looks_like_an_address(text: str) -> bool:
    """Whether a text must have been meant as an address or prefix, so that it is no name."""
    return re.fullmatch(r"[0-9.]+(/.*)?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(/.*)?", text) is not None


def _listed(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


_PROBLEMS: dict[str, Callable[[str, Any, Collection[str] | None], list[Problem]]] = {
    "boolean": _boolean_problems,
    "true": _true_problems,
    "integer": _number_problems,
    "number": _number_problems,
    "states": _state_problems,
    "places": _place_problems,
}
