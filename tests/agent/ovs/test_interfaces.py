# SPDX-License-Identifier: Apache-2.0
"""Interfaces that name no port, and several that name one."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from isthmus.agent.ovs.database import (
    OURS,
    Bridge,
    Interface,
    Switch,
    SwitchPort,
    local_ports,
    needed_operations,
)
from isthmus.agent.ovs.interfaces import MOST_NAMED, closed, problems
from isthmus.policy.host_problems import HostProblem
from isthmus.wire.openflow_replies import PortConfig, PortDescription
from isthmus.wire.ovsdb import Operation, RowId


def interface(name: str, iface_id: str = "", ofport: int | None = 1, link: str = "up") -> Interface:
    ids = {"iface-id": iface_id} if iface_id else {}
    error = None if ofport != -1 else f"could not open network device {name}"
    return Interface(name=name, ofport=ofport, link_state=link, external_ids=ids, error=error)


def found(*interfaces: Interface, unknown: tuple[str, ...] = ()) -> list[HostProblem]:
    profiles = {"aaaa": "web"}
    return problems(
        interfaces,
        bridge="br-int",
        unknown=unknown,
        port_of=lambda name: profiles.get(name, name),
        used={1},
    )


def test_an_interface_of_a_port_is_well_and_so_are_the_switch_s_own() -> None:
    own = Interface(name="isthmus-vxlan", ofport=9, external_ids=OURS)
    assert found(interface("tap0", "web"), interface("br-int"), own) == []


def test_one_that_names_nothing_or_no_port_is_said() -> None:
    bare, wrong = found(
        interface("tap0"), interface("tap1", "WEB"), interface("tap2", "wBe"), unknown=("wbe",)
    )
    assert (bare.code, bare.about) == ("interface-no-port", "")
    assert "tap0" in bare.finding
    assert (wrong.code, wrong.about) == ("interface-no-port", "wbe")
    assert "tap2 names 'wBe'" in wrong.finding


def test_of_several_that_name_one_port_all_are_named_with_which_is_used() -> None:
    (said,) = found(
        interface("tap0", "web", 1, "down"),
        interface("tap1", "aaaa", 7),
        interface("tap2", "Web", -1),
        interface("tap3", "db", 8),
    )
    assert (said.code, said.about) == ("interface-twice", "web")
    assert "tap0 (link down, used)" in said.finding
    assert "tap1 (link up, not used)" in said.finding
    assert "tap2 (not there: could not open network device tap2)" in said.finding


def test_of_very_many_some_are_named_and_the_others_counted() -> None:
    said = found(*(interface(f"tap{number:02}") for number in range(MOST_NAMED + 5)))
    assert len(said) == MOST_NAMED + 1
    assert "5 further interfaces" in said[-1].finding


def test_of_two_that_name_one_port_the_living_newer_one_has_it() -> None:
    dead, living = interface("tap0", "web", 1, "down"), interface("tap1", "web", 7)
    rows = {RowId("i0"): dead, RowId("i1"): living}
    ports = {
        RowId(f"p{number}"): SwitchPort(name=row.name, interfaces=frozenset([RowId(f"i{number}")]))
        for number, row in enumerate(rows.values())
    }
    bridge = Bridge(name="br-int", ports=frozenset(ports))
    replica: dict[type, Mapping[RowId, msgspec.Struct]] = {
        Interface: rows,
        SwitchPort: ports,
        Bridge: {RowId("b"): bridge},
    }
    assert local_ports(replica, "br-int")["web"].ofport == living.ofport


# -- the rows of the bridge and its tunnels --------------------------------------------------------


def test_a_bridge_that_may_not_speak_with_us_is_given_our_protocol_and_keeps_its_others() -> None:
    for protocols, given in (
        ((), False),
        (("OpenFlow10", "OpenFlow14"), False),
        (("OpenFlow10",), True),
    ):
        rows = _with_tunnel(OPTIONS)
        bridge = Bridge(
            name="br-int",
            fail_mode="secure",
            ports=frozenset([RowId("p")]),
            protocols=protocols,
        )
        operations = _needed_of({**rows, Bridge: {RowId("b"): bridge}})
        mutations = [operation["mutations"] for operation in operations]
        expected = [["protocols", "insert", "OpenFlow14"]]  # RFC 7047 section 5.1: a set of one
        assert msgspec.to_builtins(mutations) == ([expected] if given else [])


def test_what_the_switch_was_told_to_do_to_a_port_is_a_problem_of_that_port() -> None:
    said = closed(
        [
            Interface(name="br-int", type="internal", ofport=7),
            Interface(name="tap1", ofport=1, external_ids={"iface-id": "WEB"}),
            Interface(name="tap2", ofport=2, external_ids={"iface-id": "db"}),
            Interface(name="tap3", ofport=3, type="internal", external_ids={"iface-id": "cache"}),
            Interface(name="tap4", ofport=None, external_ids={"iface-id": "gone"}),
        ],
        [
            PortDescription(7, PortConfig.PORT_DOWN),
            PortDescription(1, PortConfig.NO_RECV | PortConfig.PORT_DOWN),
            PortDescription(2, PortConfig(0)),
            PortDescription(3, PortConfig.PORT_DOWN),
        ],
        bridge="br-int",
        port_of=str,
    )
    ((code, about, finding, repair),) = said
    assert (code, about) == ("interface-closed", "web")
    assert "interface tap1 is closed on the switch (PORT_DOWN, NO_RECV)" in finding
    assert "mod-port br-int tap1" in repair


def _with_tunnel(options: dict[str, str]) -> dict[type, Mapping[RowId, msgspec.Struct]]:
    tunnel = Interface(name="isthmus-vxlan", type="vxlan", options=options, external_ids=OURS)
    port = SwitchPort(name=tunnel.name, interfaces=frozenset([RowId("i")]))
    bridge = Bridge(name="br-int", fail_mode="secure", ports=frozenset([RowId("p")]))
    return {
        Interface: {RowId("i"): tunnel},
        SwitchPort: {RowId("p"): port},
        Bridge: {RowId("b"): bridge},
        Switch: {RowId("s"): Switch(bridges=frozenset([RowId("b")]))},
    }


def _needed(options: dict[str, str]) -> list[Operation]:
    return _needed_of(_with_tunnel(options))


def _needed_of(rows: dict[type, Mapping[RowId, msgspec.Struct]]) -> list[Operation]:
    return needed_operations(
        rows,
        bridge_name="br-int",
        datapath_type="netdev",
        encapsulations=("vxlan",),
        provider_address="192.0.2.1",
    )


OPTIONS = {"remote_ip": "flow", "key": "flow", "local_ip": "192.0.2.1"}


def test_tunnels_send_from_the_provider_address_and_keep_what_an_operator_has_set() -> None:
    assert _needed(OPTIONS) == []
    assert _needed({**OPTIONS, "tos": "inherit"}) == []
    for old in ({"remote_ip": "flow", "key": "flow"}, {**OPTIONS, "local_ip": "192.0.2.77"}):
        (operation,) = _needed({**old, "tos": "inherit"})
        assert operation["op"] == "update"
        row = operation["row"]
        assert isinstance(row, dict)
        assert dict(row["options"][1]) == {**OPTIONS, "tos": "inherit"}
