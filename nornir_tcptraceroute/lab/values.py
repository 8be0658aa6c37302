"""What several parts of a topology file are made of: ICMP codes by name, rates, and lists that may be one item."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

UNREACHABLE_CODES: dict[str, dict[int, int]] = {
    # RFC 792, RFC 1122 section 3.2.2.1 and RFC 1812 section 5.2.7.1 for IPv4; RFC 4443 section 3.1 for IPv6.
    "net-unreachable": {4: 0},
    "host-unreachable": {4: 1},
    "protocol-unreachable": {4: 2},
    "port-unreachable": {4: 3, 6: 4},
    "source-route-failed": {4: 5},
    "net-unknown": {4: 6},
    "host-unknown": {4: 7},
    "host-isolated": {4: 8},
    "net-prohibited": {4: 9},
    "host-prohibited": {4: 10},
    "net-tos": {4: 11},
    "host-tos": {4: 12},
    "admin-prohibited": {4: 13, 6: 1},
    "precedence-violation": {4: 14},
    "precedence-cutoff": {4: 15},
    "no-route": {6: 0},
    "beyond-scope": {6: 2},
    "address-unreachable": {6: 3},
    "policy-fail": {6: 5},
    "reject-route": {6: 6},
}


def as_sequence(value: object) -> object:
    """A list as it is, and one item as a list of it."""
    return value if isinstance(value, (list, tuple)) else (value,)


def _rate(value: object) -> object:
    match = re.fullmatch(r"([1-9][0-9]{0,5})/(s|min)", value) if isinstance(value, str) else None
    if match is None:
        rule = "is not a rate such as 10/s or 30/min"
        raise ValueError(rule)
    return value


Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
Rate = Annotated[str, BeforeValidator(_rate)]


class Model(BaseModel):
    """What all parts of a file have in common: no unknown keys, and no change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
