"""Hops that a Nornir run has named: from the inventory's addresses and the networks of its options, for both vantages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import netaddr
import pytest
from mmdb_writer import MMDBWriter
from nornir.core.inventory import Defaults, Group, Groups, Host, Hosts, Inventory, ParentGroups

from nornir_tcptraceroute import OptionError
from nornir_tcptraceroute.lab import Lab
from nornir_tcptraceroute.plugins.tasks.inventory_naming import device_addresses, namings_of
from tests.nornir.conftest import Run, managed

HOST_BITS = "'10.1.0.1/16' has host bits set: write 10.1.0.0/16 for the network, or 10.1.0.1/32 for the address alone"


def inventory(hosts: dict[str, Any], hostname: str | None = None) -> Inventory:
    defaults = Defaults(hostname=hostname)
    return Inventory(
        hosts=Hosts({name: Host(name=name, defaults=defaults, **settings) for name, settings in hosts.items()}),
        groups=Groups({"g": Group("g")}),
        defaults=defaults,
    )


def with_addresses(addresses: Any) -> dict[str, Any]:
    return {"data": {"tcptraceroute": {"addresses": addresses}}}


def test_devices_have_the_addresses_that_the_inventory_tells() -> None:
    known = inventory(
        {
            "core1": {"hostname": "10.0.0.1", **with_addresses(["10.0.1.1/24", "2001:db8::1/64", "10.0.2.1"])},
            "core2": {"hostname": "10.0.0.1"},
            "edge": {"hostname": "edge.example.net"},
            "10.0.0.9": {},
            "fe80::1%eth0": {"hostname": ""},
            "plain": {"data": {"addresses": "nothing of ours", "tcptraceroute": {"port": 443}}},
            "odd": {"data": {"tcptraceroute": "told elsewhere"}},
            "none": with_addresses(None),
        }
    )
    assert device_addresses(known) == {
        "10.0.0.1": ["core1", "core2"],
        "10.0.1.1": ["core1"],
        "2001:db8::1": ["core1"],
        "10.0.2.1": ["core1"],
        "10.0.0.9": ["10.0.0.9"],
        "fe80::1%eth0": ["fe80::1%eth0"],
    }


def test_addresses_that_are_none_are_refused_all_at_once() -> None:
    known = inventory(
        {
            "one": with_addresses("10.0.0.1"),
            "two": with_addresses(["10.0.0.300", 5, "core.lab"]),
            "three": with_addresses(["::1"]),
        }
    )
    with pytest.raises(OptionError) as raised:
        device_addresses(known)
    assert raised.value.problems == (
        "one: addresses: '10.0.0.1' is not a list such as [10.1.0.1, '2001:db8:1::1/64']",
        "two: addresses: '10.0.0.300' is not an address such as 10.1.0.1 or 2001:db8:1::1/64",
        "two: addresses: 5 is not an address such as 10.1.0.1 or 2001:db8:1::1/64",
        "two: addresses: 'core.lab' is not an address such as 10.1.0.1 or 2001:db8:1::1/64",
    )


def test_what_is_known_is_made_once_while_it_is_used_and_anew_afterwards() -> None:
    known = inventory({"core1": {"hostname": "10.0.0.1"}})
    with namings_of(known) as first:
        dc1 = first.of({"dc1": ["10.0.0.0/8"]}, None, None)
        with namings_of(known) as second:
            assert second is first
            # Equal options, whoever gives them.
            assert second.of({"dc1": ["10.0.0.0/8"]}, None, None) is dc1
            assert second.of({"dc2": ["10.0.0.0/8"]}, None, None) is not dc1
        assert first.of({"dc1": ["10.0.0.0/8"]}, None, None) is dc1
    known.hosts["core1"].hostname = "10.0.0.2"
    with namings_of(known) as third:
        assert third is not first
        assert third.of(None, None, None).devices("10.0.0.2") == ("core1",)


def test_devices_of_the_options_and_of_the_inventory_are_told_together() -> None:
    with namings_of(inventory({"core1": {"hostname": "10.0.0.1"}})) as namings:
        naming = namings.of(None, {"10.0.0.1": "a", "10.0.0.2": ["b", "c"]}, None)
        assert (naming.devices("10.0.0.1"), naming.devices("10.0.0.2")) == (("a", "core1"), ("b", "c"))
        with pytest.raises(OptionError, match=r"^devices: 5 is not a mapping"):
            namings.of(None, 5, None)


def test_an_inventory_with_groups_tells_addresses_of_hosts_alone() -> None:
    group = Group("g", data={"tcptraceroute": {"addresses": ["10.0.0.1"]}})
    host = Host("h", groups=ParentGroups([group]), defaults=Defaults())
    assert device_addresses(Inventory(Hosts({"h": host}), Groups({"g": group}), Defaults())) == {}


@pytest.fixture(scope="module")
def routers(fleet: Lab) -> dict[str, Any]:
    """The routers as hosts of the inventory, with the addresses of all their interfaces."""
    return {
        name: {
            "hostname": f"{name}.lab",
            "data": {"tcptraceroute": {"addresses": [f"{one}/24" for one in fleet.truth.addresses(name)]}},
        }
        for name in ("management", "west", "north", "core", "firewall")
    }


def test_a_trace_from_the_controller_is_named(
    fleet: Lab, run_on_controller: Run, routers: dict[str, Any], tmp_path: Path
) -> None:
    service = fleet.truth.address("service")
    writer = MMDBWriter(4)
    writer.insert_network(netaddr.IPSet([f"{service}/32"]), {"asn": "AS64496", "as_name": "Example"})
    writer.to_db_file(str(tmp_path / "asn.mmdb"))
    defaults = {
        "data": {
            "tcptraceroute": {
                "networks": {"lab": ["10.0.0.0/8"], "rack": [f"{service}/31"]},
                "asn_database": str(tmp_path / "asn.mmdb"),
            }
        }
    }
    hosts = {"service": {"hostname": service}, **routers}
    result = run_on_controller(hosts, defaults=defaults, family=4, port=80, names="none")
    single: Any = result["service"][0]
    assert single.trace.reached, single.result
    nodes = [
        node
        for path in fleet.truth.paths("controller", "service")
        if path.matches([hop.address for hop in single.trace.hops])
        for node in path.nodes
    ]
    assert [hop.device for hop in single.trace.hops] == nodes
    assert [hop.network.name for hop in single.trace.hops] == ["lab"] * (len(nodes) - 1) + ["rack"]
    assert [hop.notes[-1] for hop in single.trace.hops[:-1]] == [f"{node}, in lab" for node in nodes[:-1]]
    assert single.trace.hops[-1].notes == ("service, in rack", "AS64496 Example")
    # Nothing is rewritten on the way, and the replies that quote a probe have been looked at.
    assert [hop.modified for hop in single.trace.hops[:-1]] == [()] * (len(nodes) - 1)
    assert single.result == single.trace.to_dict()


@pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed: openssh-client")
def test_a_trace_from_a_host_is_named_by_the_controller(fleet: Lab, run_on_controller: Run, routers: dict[str, Any]) -> None:
    service = fleet.truth.address("service")
    own: dict[str, Any] = {"networks": {"here": ["10.0.0.0/8"]}, "devices": {service: "the service"}}
    hosts = {"alpha": managed("alpha", "root", "openssh", destination=service, family=4, **own), **routers}
    result = run_on_controller(hosts, defaults={"data": {"tcptraceroute": {"names": "none", "max_ttl": 3}}}, max_ttl=30)
    single: Any = result["alpha"][0]
    trace = single.trace
    assert trace is not None, single.result
    assert trace.vantage == "alpha"
    assert trace.hops[0].device == "west"
    assert trace.hops[0].notes == ("west, in here",)
    assert trace.hops[-1].device == "the service"


def test_networks_of_the_call_go_first(fleet: Lab, run_on_controller: Run) -> None:
    hosts = {
        "service": {"hostname": fleet.truth.address("service"), "data": {"tcptraceroute": {"networks": {"own": "10.0.0.0/8"}}}}
    }
    own: Any = run_on_controller(hosts, names="none")["service"][0]
    call: Any = run_on_controller(hosts, names="none", networks={"call": ["10.0.0.0/9", "10.128.0.0/9"]})["service"][0]
    assert {hop.network.name for hop in own.trace.hops} == {"own"}
    assert {hop.network.name for hop in call.trace.hops} == {"call"}


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_is_wrong_is_told_with_the_rest(run_on_controller: Run, dry_run: bool) -> None:
    hosts: dict[str, Any] = {
        "one": {"hostname": "service", **with_addresses(["10.0.0.1/24", "core"])},
        "two": {"hostname": "service", "groups": ["g"]},
    }
    group = {"g": {"data": {"tcptraceroute": {"addresses": ["10.0.0.1"]}}}}
    networks = {"dc1": ["10.1.0.1/16"], "dc2": "10.2.0.0/16", "dc3": "10.2.0.0/16"}
    result = run_on_controller(hosts, group=group, networks=networks, asn_database="/no/such/file", max_ttl=0, dry_run=dry_run)
    assert result["one"][0].result.splitlines() == [
        "one: max_ttl: 0 is not between 1 and 255",
        "one: addresses: 'core' is not an address such as 10.1.0.1 or 2001:db8:1::1/64",
        f"one: networks.dc1[0]: {HOST_BITS}",
        "one: networks.dc3: 10.2.0.0/16 stands in networks.dc2 too: leave it in one of the two",
        "one: asn_database: '/no/such/file' can't be read: No such file or directory",
    ]
    assert result["two"][0].result == "two: 'addresses' in tcptraceroute of group g belongs into the data of a host"
