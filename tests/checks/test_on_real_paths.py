"""Verdicts on paths that routers really change, over IPv4 and IPv6: each names the right hop, and clean paths show nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nornir_tcptraceroute.lab import Lab, NamespaceError, load_topology
from tests.checks.test_check_command import run

Checked = Callable[[str, dict[str, Any], dict[str, Any]], dict[str, tuple[str, str]]]


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checked]:
    """Runs one check in a shipped network; outcome and reason by expectation."""
    running: dict[str, Lab] = {}
    directory = tmp_path_factory.mktemp("checks")

    def check(name: str, trace: dict[str, Any], expect: dict[str, Any]) -> dict[str, tuple[str, str]]:
        if name not in running:
            lab = Lab(load_topology(name))
            try:
                lab.start()
            except NamespaceError as error:
                pytest.skip(str(error))
            running[name] = lab
        lab = running[name]
        file, result = directory / "checks.yaml", directory / "result.json"
        file.write_text(json.dumps({"checks": [{"name": "a", "names": "none", **trace, "expect": expect}]}))
        done = run(lab, file, "--json", str(result))
        assert done.stderr == ""
        (outcome,) = json.loads(result.read_text())["checks"]
        return {verdict["name"]: (verdict["outcome"], verdict["reason"]) for verdict in outcome["verdicts"]}

    yield check
    for lab in running.values():
        lab.close()


UNTOUCHED = {"unmodified": True, "no_nat": True}
CHANGED = [
    # network, destination by IP version, options, hop of the change by expectation
    ("rewrite", {4: "server", 6: "server"}, {"tos": 184}, {"unmodified": ("dscp 46 -> 8 at hop 3",)}),
    ("rewrite", {4: "server", 6: "server"}, {"tcp_options": "linux"}, {"unmodified": ("-> 1000 at hop 4", "at hop 5")}),
    (
        "nat",
        {4: "203.0.113.90", 6: "2001:db8::90"},
        {},
        {"unmodified": ("address ", "at hop 2"), "no_nat": ("address at hop 2",)},
    ),
]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("network", "destinations", "options", "told"), CHANGED, ids=["dscp", "tcp-options", "address"])
def test_a_change_is_told_with_its_hop(
    checked: Checked, family: int, network: str, destinations: dict[int, str], options: dict[str, Any], told: dict[str, Any]
) -> None:
    found = checked(network, {"destination": destinations[family], "family": family, **options}, UNTOUCHED)
    for name in UNTOUCHED:
        outcome, reason = found[name]
        assert outcome == ("failure" if name in told else "success"), reason
        assert all(words in reason for words in told.get(name, ()))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("network", ["chain", "ecmp", "silent", "ports"])
def test_nothing_is_told_of_a_clean_path(checked: Checked, family: int, network: str) -> None:
    trace = {"destination": "server", "family": family, "tos": 184, "tcp_options": "linux"}
    found = checked(
        network, trace, {"reached": True, **UNTOUCHED, "max_loss_pct": 0, "forbidden": ["192.0.2.0/24", "2001:db8::/32"]}
    )
    # Where a router is silent, nothing proves what was avoided.
    expected = {**dict.fromkeys(found, "success"), **({"forbidden": "skipped"} if network == "silent" else {})}
    assert {name: outcome for name, (outcome, _) in found.items()} == expected


@pytest.mark.parametrize("family", [4, 6])
def test_a_refusing_firewall_is_the_last_router(checked: Checked, family: int) -> None:
    place = {4: "10.10.0.2", 6: "fd00:10::2"}[family]
    trace = {"destination": "server", "port": 23, "family": family}
    found = checked("demo", trace, {"last_hop": place, "min_hops": 7, "max_hops": 7, "reached": False})
    assert {name: outcome for name, (outcome, _) in found.items()} == {
        "last_hop": "success",
        "min_hops": "success",
        "max_hops": "failure",
        "reached": "success",
    }
    assert f"hop 7 ({place})" in found["last_hop"][1]
