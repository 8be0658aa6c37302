"""The exceptions: one tree, each also what the caller of the standard library expects, each crosses to another process."""

from __future__ import annotations

import copy
import pickle
from typing import Type

import pytest

from nornir_tcptraceroute.probe import errors
from nornir_tcptraceroute.probe.errors import (
    OptionError,
    PrivilegeError,
    ProbeError,
    RecordError,
    ResolveError,
    RouteError,
    TransportError,
    shown,
)

SENTENCE = "no.example does not resolve (Name or service not known): check the name"
CLASSES = [
    (OptionError, ValueError),
    (RecordError, ValueError),
    (PrivilegeError, PermissionError),
    (ResolveError, OSError),
    (RouteError, OSError),
    (TransportError, OSError),
]


def made(kind: Type[ProbeError]) -> ProbeError:
    return OptionError([SENTENCE, "port: 0 is not between 1 and 65535"]) if kind is OptionError else kind(SENTENCE)


def test_the_table_is_complete() -> None:
    assert {kind.__name__ for kind, _ in CLASSES} | {"ProbeError"} == set(errors.__all__) - {"shown"}


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        ("a'\x1bé", '"a\'\\x1b\\xe9"'),
        ("x" * 78, "'" + "x" * 78 + "'"),
        ("x" * 79, "'" + "x" * 76 + "..."),
        (nested(100_000), "<list>"),
    ],
)
def test_a_value_is_shown_in_printable_ascii_and_not_too_long(value: object, text: str) -> None:
    assert shown(value) == text
    assert shown(value, 500) == (ascii(value) if isinstance(value, (int, str)) else text)


def test_a_number_of_thousands_of_digits_is_shown() -> None:
    # Since Python 3.11 (and in late releases before) no text is made of it.
    assert shown(10**5000) in {"<int>", "1" + "0" * 76 + "..."}


@pytest.mark.parametrize(("kind", "expected"), CLASSES)
def test_every_exception_is_of_the_tree_and_of_its_builtin_kind(kind: Type[ProbeError], expected: Type[Exception]) -> None:
    assert issubclass(kind, ProbeError)
    assert issubclass(kind, expected)
    with pytest.raises(expected) as caught:
        raise made(kind)
    assert str(caught.value).startswith(SENTENCE)


@pytest.mark.parametrize("kind", [kind for kind, _ in CLASSES] + [ProbeError])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_kind_and_text(kind: Type[ProbeError], protocol: int) -> None:
    error = made(kind)
    for twin in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert getattr(twin, "problems", None) == getattr(error, "problems", None)


def test_an_option_error_tells_each_problem_in_its_own_line() -> None:
    error = OptionError(["port: 0 is not between 1 and 65535", "tos: 256 is not between 0 and 255"])
    assert error.problems == ("port: 0 is not between 1 and 65535", "tos: 256 is not between 0 and 255")
    assert str(error).splitlines() == list(error.problems)
