"""Addresses that inventories tell, and devices from two places."""

from __future__ import annotations

from typing import Any

import pytest

from nornir_tcptraceroute.analysis.inventories import further_addresses, together

NO_LIST = "is not a list such as [10.1.0.1, '2001:db8:1::1/64']"
NO_ADDRESS = "is not an address such as 10.1.0.1 or 2001:db8:1::1/64"


@pytest.mark.parametrize(
    ("told", "addresses", "problems"),
    [
        ([], [], []),
        (
            ("10.1.0.1", "10.1.1.1/24", "2001:db8::1/64", "fe80::1%eth0"),
            ["10.1.0.1", "10.1.1.1", "2001:db8::1", "fe80::1%eth0"],
            [],
        ),
        (["core.lab", "10.1.0.1", 5], ["10.1.0.1"], [f"here: 'core.lab' {NO_ADDRESS}", f"here: 5 {NO_ADDRESS}"]),
        (["/", "\x1b"], [], [f"here: '/' {NO_ADDRESS}", f"here: '\\x1b' {NO_ADDRESS}"]),
        ("10.1.0.1", [], [f"here: '10.1.0.1' {NO_LIST}"]),
        (None, [], [f"here: None {NO_LIST}"]),
        ({"a": "b" * 100}, [], [f"here: {{'a': '{'b' * 70}... {NO_LIST}"]),
    ],
)
def test_further_addresses(told: Any, addresses: list[str], problems: list[str]) -> None:
    assert further_addresses(told, "here") == (addresses, problems)


@pytest.mark.parametrize(
    ("devices", "more", "both"),
    [
        ({"10.1.0.1": ["a"]}, None, {"10.1.0.1": ["a"]}),
        ({"10.1.0.1": ["a"]}, {}, {"10.1.0.1": ["a"]}),
        ({"10.1.0.1": "a"}, {"10.1.0.1": "b", "10.1.0.2": ("c", "d")}, {"10.1.0.1": ["a", "b"], "10.1.0.2": ["c", "d"]}),
        ({"10.1.0.1": ["a"]}, {"10.1.0.1": 5}, {"10.1.0.1": ["a", 5]}),
        ({"10.1.0.1": ["a"]}, ["b"], ["b"]),
        ({"10.1.0.1": ["a"]}, "", ""),
    ],
)
def test_devices_from_two_places(devices: Any, more: Any, both: Any) -> None:
    before = {address: list(names) for address, names in devices.items()}
    assert together(devices, more) == both
    assert {address: list(names) for address, names in devices.items()} == before
