# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the controller makes of a result, with the package nornir-tcptraceroute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.netprobe.path.plugins.module_utils.probe.errors import OptionError, RecordError
from ansible_collections.netprobe.path.plugins.module_utils.probe.records import Hop, ProbeShape, Trace
from ansible_collections.netprobe.path.plugins.plugin_utils.analysis import MISSING, analysed, naming_of

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

DEVICES = {"10.1.0.1": ["core1"]}


def result(**more: Any) -> dict[str, Any]:
    hops = tuple(
        Hop(ttl, address, (address,) if address else (), None, (), None, None)
        for ttl, address in enumerate(("10.1.0.1", None, "192.0.2.80"), 1)
    )
    shape = ProbeShape("SYN", "none", 40, 0, False)
    trace = Trace(
        "db", "192.0.2.80", 4, 443, "v", "10.0.0.1", 5, None, "raw", shape, "t", 1.0, True, "open", "reached", hops, {"sent": 4}
    )
    return {**trace.to_dict(), "changed": False, **more}


def labels(record: dict[str, Any]) -> list[Any]:
    return [(hop.get("device"), hop.get("network", {}).get("name"), hop.get("notes")) for hop in record["hops"]]


NAMED = [("core1", "dc1", ["core1, in dc1"]), (None, None, None), ("db1", None, ["db1", "documentation"])]


def test_one_trace() -> None:
    naming = naming_of({"netprobe_networks": {"dc1": ["10.1.0.0/16"]}, "devices": {"192.0.2.80": "db1"}}, DEVICES)
    found, warnings = analysed(result(warnings=["Ansible's own \x1b"], item=1), naming)
    assert labels(found) == NAMED
    assert warnings == ()
    # What else was in the result is as it was.
    assert {**found, "hops": None} == {**result(warnings=["Ansible's own \x1b"], item=1), "hops": None}


def test_several_traces() -> None:
    naming = naming_of({"networks": {"dc1": "10.1.0.0/16"}, "devices": {"192.0.2.80": ["db1"]}}, DEVICES)
    found, warnings = analysed({"traces": [result(), result()], "changed": False}, naming)
    assert [labels(trace) for trace in found["traces"]] == [NAMED, NAMED]
    assert warnings == ()


def test_an_address_has_the_names_of_both_places() -> None:
    found = analysed(result(), naming_of({"devices": {"10.1.0.1": "gateway"}}, DEVICES)).result
    assert found["hops"][0]["notes"][0] == "core1 or gateway"


def test_autonomous_systems_are_told_from_a_database_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("maxminddb", reason="AS numbers need maxminddb")
    writer_module = pytest.importorskip("mmdb_writer", reason="the test's database is written with mmdb_writer")
    netaddr = pytest.importorskip("netaddr", reason="mmdb_writer needs netaddr")
    writer = writer_module.MMDBWriter(4)
    record = {"autonomous_system_number": 64496, "autonomous_system_organization": "Example"}
    writer.insert_network(netaddr.IPSet(["192.0.2.0/24"]), record)
    writer.to_db_file(str(tmp_path / "asn.mmdb"))
    monkeypatch.setenv("HOME", str(tmp_path))
    found = analysed(result(), naming_of({"netprobe_asn_database": "~/asn.mmdb"}, {})).result
    network = found["hops"][2]["network"]
    assert (network["asn"], network["organization"]) == (64496, "Example")


@pytest.mark.parametrize(
    ("told", "problems"),
    [
        ({"networks": {"dc1": ["10.1.0.0/33"]}}, ["networks.dc1[0]: '10.1.0.0/33' is not a prefix such as"]),
        ({"netprobe_networks": {"dc1": "x"}}, ["netprobe_networks.dc1: 'x' is not a prefix such as"]),
        ({"netprobe_networks": ["10.0.0.0/8"]}, ["netprobe_networks: ['10.0.0.0/8'] is not a mapping such as"]),
        (
            {"networks": {"a": "10.0.0.0/8", "b": "10.0.0.0/8"}, "netprobe_devices": {"x": "y"}},
            ["networks.b: 10.0.0.0/8 stands in networks.a too", "netprobe_devices.x: is not an address"],
        ),
        ({"devices": 5}, ["devices: 5 is not a mapping"]),
        ({"netprobe_asn_database": 5}, ["netprobe_asn_database: 5 is not the path of a file"]),
    ],
)
def test_problems_are_told_by_the_name_that_the_user_gave(told: dict[str, Any], problems: list[str]) -> None:
    with pytest.raises(OptionError) as caught:
        naming_of(told, DEVICES)
    assert len(caught.value.problems) == len(problems)
    for problem, start in zip(caught.value.problems, problems, strict=True):
        assert problem.startswith(start)


def test_a_record_of_another_form_is_told() -> None:
    with pytest.raises(RecordError, match=r"trace\.schema is not one of 1.*of one version"):
        analysed(result(schema=2), naming_of({}, {}))
