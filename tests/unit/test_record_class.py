"""Record classes beside what ``dataclasses`` makes of the same class: nobody can tell them apart but by the start of Python."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any, Callable, List, Tuple

import pytest

from nornir_tcptraceroute.probe.record_class import Described, descriptions, record_class, replaced


@record_class(frozen=True)
class Made:
    """Two fields that are needed, and two that are not."""

    ttl: int
    address: str
    loss: float = 0.0
    names: Tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Reference:
    """The same as Made."""

    ttl: int
    address: str
    loss: float = 0.0
    names: Tuple[str, ...] = ()


@record_class(frozen=True)
class Checked:
    """A class that looks at its fields, and says something of one of them."""

    ttl: int = Described(1, {"unit": "hops"})  # type: ignore[assignment]  # it stands for its default

    def __post_init__(self) -> None:
        if self.ttl < 1:
            raise ValueError("ttl")
        object.__setattr__(self, "ttl", int(self.ttl))


GOOD: List[Callable[[Any], Any]] = [
    lambda cls: cls(1, "a"),
    lambda cls: cls(1, address="a"),
    lambda cls: cls(address="a", ttl=1),
    lambda cls: cls(1, "a", 0.5, ("x",)),
    lambda cls: cls(1, "a", names=("x", "y")),
]
BAD: List[Callable[[Any], Any]] = [
    lambda cls: cls(),
    lambda cls: cls(1),
    lambda cls: cls(address="a"),
    lambda cls: cls(1, "a", 0.5, (), 5),
    lambda cls: cls(1, "a", ttl=1),
    lambda cls: cls(1, "a", port=80),
    lambda cls: cls(1, address="a", port=80, loss=0.5),
]


@pytest.mark.parametrize("make", GOOD)
def test_what_is_made_is_what_dataclasses_make(make: Callable[[Any], Any]) -> None:
    made, reference = make(Made), make(Reference)
    assert vars(made) == vars(reference)
    assert repr(made) == repr(reference).replace("Reference", "Made")
    assert made == make(Made)
    assert hash(made) == hash(make(Made))
    assert made != reference
    assert made != replaced(made, ttl=9)
    assert dataclasses.asdict(made) == dataclasses.asdict(reference)
    assert dataclasses.replace(made, loss=0.25) == replaced(made, loss=0.25)
    assert vars(replaced(made, loss=0.25)) == vars(dataclasses.replace(reference, loss=0.25))
    for copied in (copy.copy(made), copy.deepcopy(made), *(pickle.loads(pickle.dumps(made, each)) for each in range(6))):  # noqa: S301
        assert copied == made
        assert hash(copied) == hash(made)


@pytest.mark.parametrize("make", BAD)
def test_what_dataclasses_refuse_is_refused(make: Callable[[Any], Any]) -> None:
    for cls in (Made, Reference):
        with pytest.raises(TypeError):
            make(cls)
    with pytest.raises(TypeError):
        replaced(Made(1, "a"), port=80)


def test_records_do_not_change() -> None:
    made: Any = Made(1, "a")
    for name in ("ttl", "names", "port"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, name, 2)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(made, name)
    assert made == Made(1, "a")


def test_there_is_no_record_class_that_changes() -> None:
    with pytest.raises(ValueError, match="frozen"):
        record_class(frozen=False)


def test_dataclasses_know_them() -> None:
    assert dataclasses.is_dataclass(Made)
    assert [(field.name, field.default) for field in dataclasses.fields(Made)] == [
        (field.name, field.default) for field in dataclasses.fields(Reference)
    ]
    assert vars(Made)["__match_args__"] == ("ttl", "address", "loss", "names")


def test_a_class_may_check_its_fields_and_describe_them() -> None:
    assert Checked().ttl == 1
    assert Checked(ttl=True).ttl == 1
    makers: List[Callable[[], Checked]] = [
        lambda: Checked(0),
        lambda: replaced(Checked(), ttl=0),
        lambda: dataclasses.replace(Checked(), ttl=0),
    ]
    for make in makers:
        with pytest.raises(ValueError, match="ttl"):
            make()
    assert descriptions(Checked) == {"ttl": Described(1, {"unit": "hops"})}
    assert descriptions(Made) == {}
