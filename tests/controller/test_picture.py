# SPDX-License-Identifier: Apache-2.0
"""What hosts have said, as configurationState (MS-NCNBI section A.9)."""

from __future__ import annotations

import re

import msgspec
import pytest

from isthmus.controller.hearing import Hearing
from isthmus.controller.picture import Picture
from isthmus.policy.heartbeats import SILENT_AFTER_S
from isthmus.policy.rows import Heartbeat, Host, Port, PortStatus, Row
from isthmus.policy.values import PortState
from tests.controller.clocks import Clock
from tests.switches.policy_rows import claim, port
from tests.texts import applied

NOW_S = 1_000_000.0
NIC = "11111111-1111-4111-8111-111111111111"
SERVER = "22222222-2222-4222-8222-222222222222"
PORT = msgspec.structs.replace(port("red", "a", 4), profile_id=NIC, revision="r2", origin="/nic")


def picture(*rows: Row, age_s: int = 0) -> Picture:
    """As it is so many seconds after the rows have come."""
    clock = Clock()
    made = Picture(lambda: NOW_S, Hearing(clock))
    made.name(SERVER, "h1")
    for row in (PORT, Host(id="h1", certificate_name="h1", origin="/servers/H1"), *rows):
        made.change(None, row)
    clock.go_on(age_s)
    return made


def status(
    state: str = "up",
    revision: str = "r2",
    host: str = "h1",
    code: str = "Success",
    detail: str = "",
) -> PortStatus:
    return PortStatus(
        port=PORT.id,
        host=host,
        segment=PORT.segment,
        revision=revision,
        state=PortState(state),
        code=code,
        detail=detail,
    )


def alive(host: str = "h1", problems: tuple[str, ...] = ()) -> Heartbeat:
    return Heartbeat(host=host, at_s=int(NOW_S) - 5, problems=problems)


def told(made: Picture, kind: str = "networkInterfaces", instance_id: str = NIC) -> tuple[str, str]:
    """Status and code."""
    found = made.configuration_state(kind, instance_id)
    assert found is not None
    details = found["detailedInfo"]
    assert isinstance(details, list)
    assert re.match(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}\+00:00\Z", str(found["lastUpdatedTime"])
    )
    assert found["id"] == instance_id
    return str(found["status"]), details[0]["code"]


def test_nothing_is_said_of_a_port_until_a_host_has_said_something() -> None:
    assert picture().configuration_state("networkInterfaces", NIC) is None
    assert picture(claim(PORT, "h1")).configuration_state("networkInterfaces", NIC) is None
    assert picture(alive(), status()).configuration_state("virtualNetworks", NIC) is None


def test_a_port_is_a_success_when_its_host_has_applied_the_last_change() -> None:
    assert told(picture(alive(), claim(PORT, "h1"), status())) == ("Success", "Success")
    assert told(picture(alive(), claim(PORT, "h1"), status(revision="r1"))) == (
        "InProgress",
        "Unknown",
    )


def test_an_error_of_a_port_is_a_failure_with_its_code_and_reason() -> None:
    made = picture(
        alive(), claim(PORT, "h1"), status("error", code="PortBlocked", detail="not yours")
    )
    assert told(made) == ("Failure", "PortBlocked")
    assert "not yours" in str(made.configuration_state("networkInterfaces", NIC))


def test_a_port_on_a_silent_host_is_unreachable() -> None:
    made = picture(alive(), claim(PORT, "h1"), status(), age_s=SILENT_AFTER_S)
    assert told(made) == ("Failure", "HostUnreachable")


def test_of_two_hosts_the_one_that_has_the_port_speaks_for_it() -> None:
    made = picture(
        alive(),
        alive("h2"),
        Host(id="h2", certificate_name="h2"),
        claim(PORT, "h1", "active", 1),
        claim(PORT, "h2", "active", 2),
        status("error", code="PortBlocked"),
        status(host="h2"),
    )
    assert told(made) == ("Success", "Success")
    made.change(claim(PORT, "h2", "active", 2), None)
    assert told(made) == ("Failure", "PortBlocked")


def test_an_unknown_host_has_nothing_whatever_it_claims() -> None:
    made = picture(alive("h9"), claim(PORT, "h9", "active", 9), status(host="h9"))
    assert made.configuration_state("networkInterfaces", NIC) is None
    assert made.claim_of(PORT.id) is None
    assert [view.host for view in made.host_views() if not view.known] == ["h9"]


def test_servers_are_judged_by_their_heartbeats() -> None:
    assert picture().configuration_state("servers", SERVER) is None
    assert told(picture(alive()), "servers", SERVER) == ("Success", "Success")
    assert told(picture(alive(problems=("x",))), "servers", SERVER)[0] == "Warning"
    assert told(picture(alive(), age_s=1000), "servers", SERVER) == (
        "Failure",
        "HostNotConnectedToController",
    )


def test_a_port_knows_its_server_and_a_server_its_ports() -> None:
    made = picture(alive(), claim(PORT, "h1"))
    assert made.located("networkInterfaces", NIC) == ("/servers/H1",)
    assert made.located("servers", SERVER) == ["/nic"]
    made.change(claim(PORT, "h1"), None)
    assert made.located("networkInterfaces", NIC) == ()
    assert made.located("servers", SERVER) == []


def test_a_port_that_is_made_anew_replaces_the_old_one_in_either_order() -> None:
    made = picture(alive(), claim(PORT, "h1"), status())
    new: Port = msgspec.structs.replace(PORT, profile_id="33333333-3333-4333-8333-333333333333")
    made.change(PORT, None)
    made.change(None, new)
    assert made.configuration_state("networkInterfaces", NIC) is None
    assert made.configuration_state("networkInterfaces", new.profile_id) is not None


LIST = "44444444-4444-4444-8444-444444444444"


@pytest.mark.parametrize("name", ["web", "db web"])
def test_a_list_of_rules_is_as_the_ports_under_it(name: str) -> None:
    entries = (f"interface * {name}", f"subnet 10.0.1.4 {name}")
    under = msgspec.structs.replace(PORT, rule_sets=applied(*entries))
    kind = "accessControlLists"
    made = picture(under, alive(), claim(PORT, "h1"))
    made.name(LIST, name)
    assert made.configuration_state(kind, LIST) is None  # no host has said anything
    made.change(None, status())
    assert told(made, kind, LIST) == ("Success", "Success")
    assert "applied to 1 ports" in str(made.configuration_state(kind, LIST))
    made.change(status(), status("error", code="PortBlocked", detail="refused"))
    assert told(made, kind, LIST) == ("Failure", "PolicyConfigurationFailure")
    found = made.configuration_state(kind, LIST)
    assert found is not None
    assert "1 of 1 ports under it are in error" in str(found["detailedInfo"])
    assert found["virtualNetworkInterfaceErrors"] == [
        made.configuration_state("networkInterfaces", NIC)
    ]
    made.change(under, PORT)  # no longer under it
    assert made.configuration_state(kind, LIST) is None
    made.change(PORT, under)
    made.change(under, None)
    assert made.configuration_state(kind, LIST) is None
    made.name(LIST, None)
    assert made.configuration_state(kind, LIST) is None


def test_a_network_is_as_the_ports_in_it_whatever_their_hosts_have_said_before() -> None:
    network, kind = "55555555-5555-4555-8555-555555555555", "virtualNetworks"
    made = picture(alive(), claim(PORT, "h1"))
    made.name(network, "red")
    assert made.configuration_state(kind, network) is None
    made.change(None, status())
    assert told(made, kind, network) == ("Success", "Success")
    wrong = status("error", code="PortBlocked", detail="refused")
    made.change(status(), wrong)
    assert told(made, kind, network) == ("Failure", "PolicyConfigurationFailure")
    found = made.configuration_state(kind, network)
    assert found is not None
    assert found["virtualNetworkInterfaceErrors"] == [
        made.configuration_state("networkInterfaces", NIC)
    ]
    # Where another host has the port, it is that one's word.
    made.change(None, Host(id="h2", certificate_name="h2", origin="/servers/h2"))
    made.change(None, claim(PORT, "h2", sequence=9))
    made.change(None, status(host="h2"))
    made.change(status(host="h2"), None)
    made.change(claim(PORT, "h2", sequence=9), None)
    assert told(made, kind, network) == ("Failure", "PolicyConfigurationFailure")
    made.change(wrong, None)
    assert made.configuration_state(kind, network) is None
    made.change(None, msgspec.structs.replace(status(), segment="blue/a"))
    assert made.configuration_state(kind, network) is None
