# BSD-3-Clause, see LICENSE
"""Frozen dataclasses that load ``dataclasses`` only where somebody asks them for what it knows.

That module loads ``inspect``, and with it Python's parser and disassembler, and compiles methods for each class: together a third
of the probe's start. A class made here behaves like ``@dataclass(frozen=True)``, is one to type checkers, and becomes one when
``dataclasses`` looks at it: for ``fields``, ``replace``, ``asdict`` or ``is_dataclass``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, NamedTuple, TypeVar

__all__ = ("Described", "descriptions", "record_class", "replaced")

_Record = TypeVar("_Record")
_UNSET = object()


class Described(NamedTuple):
    """The default of a field, with what there is to say of the field; see ``descriptions``."""

    default: Any
    description: Mapping[str, Any]


def replaced(record: _Record, **changes: Any) -> _Record:
    """A record like another but for some fields, checked like any new one, as ``dataclasses.replace`` makes it."""
    return type(record)(**{**vars(record), **changes})


def descriptions(cls: type) -> Dict[str, Described]:
    """The fields of a class that have a ``Described`` default, by their names."""
    described: Dict[str, Described] = cls._described  # type: ignore[attr-defined]  # of what ``record_class`` has made
    return described


if TYPE_CHECKING:
    from dataclasses import dataclass as record_class
else:

    def record_class(*, frozen: bool) -> Callable[[type], type]:
        """As ``dataclasses.dataclass``: the class's annotations are its fields, its attributes their defaults.

        Arguments:
            frozen: True; it is there for type checkers, to whom this is that function.

        Raises:
            ValueError: ``frozen`` is not True.
        """
        if not frozen:
            raise ValueError("a record class is frozen")
        return _made


class _FieldsWhenAskedFor:
    """Stands where ``dataclasses`` looks for a class's fields, and has it find them."""

    def __get__(self, _record: object, cls: type) -> Any:
        import dataclasses

        # The methods are there. This sets the attribute that it is asked for, in place of this object.
        dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
        return vars(cls)["__dataclass_fields__"]


def _made(cls: Any) -> Any:
    values = {name: vars(cls).get(name, _UNSET) for name in cls.__annotations__}
    cls._described = {name: value for name, value in values.items() if isinstance(value, Described)}
    for name, value in cls._described.items():
        values[name] = value.default
        setattr(cls, name, value.default)
    cls._unset = values
    cls._required = tuple(name for name, value in values.items() if value is _UNSET)
    cls._checked = hasattr(cls, "__post_init__")
    attributes = {"__match_args__": tuple(values), "__dataclass_fields__": _FieldsWhenAskedFor(), **_METHODS}
    for name, attribute in attributes.items():
        setattr(cls, name, attribute)
    return cls


def _initialize(self: Any, *values: Any, **named: Any) -> None:
    cls, held = type(self), vars(self)
    held.update(cls._unset)
    if values:
        names = cls.__match_args__[: len(values)]
        if len(values) > len(held) or not named.keys().isdisjoint(names):
            raise TypeError("{}() was given a field twice, or more values than it has fields".format(cls.__name__))
        held.update(zip(names, values))
    held.update(named)
    if len(held) > len(cls._unset):
        raise TypeError("{}() has no field {}".format(cls.__name__, ", ".join(sorted(held.keys() - cls._unset.keys()))))
    for name in cls._required:
        if held[name] is _UNSET:
            raise TypeError("{}() lacks {}".format(cls.__name__, name))
    if cls._checked:
        self.__post_init__()


def _refuse_to_set(self: Any, name: str, _value: object) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError("cannot assign to field {!r} of {}".format(name, type(self).__name__))


def _refuse_to_delete(self: Any, name: str) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError("cannot delete field {!r} of {}".format(name, type(self).__name__))


def _equal(self: Any, other: object) -> Any:
    return vars(self) == vars(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(tuple(vars(self).values()))


def _represented(self: Any) -> str:
    return "{}({})".format(type(self).__name__, ", ".join("{}={!r}".format(*item) for item in vars(self).items()))


_METHODS: Mapping[str, Callable[..., Any]] = {
    "__init__": _initialize,
    "__setattr__": _refuse_to_set,
    "__delattr__": _refuse_to_delete,
    "__eq__": _equal,
    "__hash__": _hash,
    "__repr__": _represented,
    # What ``copy.replace`` calls.
    "__replace__": replaced,
}
