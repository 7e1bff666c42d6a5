# SPDX-License-Identifier: Apache-2.0
"""The checks of the demonstration pass where they should, and fail where they must.

On switches that are programmed by hand, with and without protection: a check that something does
not arrive is worth as much as its failure where it does.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator

import pytest

from isthmus_lab.demo import isolation, reachability
from isthmus_lab.demo.__main__ import planned
from isthmus_lab.demo.check import Check, Unmet
from isthmus_lab.demo.cloud import HOSTS, PLACES, TENANTS, Cloud, PathKind, path_kind
from isthmus_lab.lab import Lab
from tests.lab import handmade
from tests.lab.conftest import TUNNELS
from tests.lab.remains import remains_of, unique_name


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    """The demonstration's guests; one flat segment a tenant, since nothing here routes."""
    with Lab(unique_name()) as lab:
        lab.up(HOSTS)
        made = Cloud(lab)
        for host in lab.hosts.values():
            handmade.make_bridge(host)
        for tenant in TENANTS:
            for number, (name, place) in enumerate(PLACES.items(), start=1):
                mac = f"02:00:00:00:{TENANTS.index(tenant):02x}:{number:02x}"
                guest = lab.add_guest(f"{tenant}-{name}", mac, f"{tenant}-{name}")
                lab.plug(guest, lab.host(place.host))
                guest.set_address(place.address, 16)
                guest.run(["ip", "route", "add", "default", "dev", "eth0"])
                made.addresses[guest.name] = place.address
        yield made
    assert remains_of(lab.name) == {}


programmed: dict[str, str] = {}
"""Lab → how its switches are programmed, so that it is done once for many tests."""


def program(cloud: Cloud, mode: str) -> Cloud:
    if programmed.get(cloud.lab.name) != mode:
        handmade.Hand(
            cloud.lab,
            TUNNELS,
            lambda guest: 5001 + TENANTS.index(guest.name.partition("-")[0]),
            protected=mode == "protected",
        ).program()
        programmed[cloud.lab.name] = mode
    for guest in cloud.lab.guests.values():
        # Where sources are not checked, an attack that succeeds leaves its lies there.
        guest.run(["ip", "neigh", "flush", "dev", "eth0"])
    return cloud


@pytest.fixture
def protected(cloud: Cloud) -> Cloud:
    return program(cloud, "protected")


@pytest.fixture
def open_to_all(cloud: Cloud) -> Cloud:
    return program(cloud, "open")


def named(check: Check) -> str:
    return f"{check.section}: {check.claim}"


@pytest.mark.system
@pytest.mark.parametrize("check", reachability.checks(), ids=named)
def test_a_check_of_reachability_passes_where_all_is_reachable(
    protected: Cloud, check: Check
) -> None:
    assert check.run(protected)


@pytest.mark.system
@pytest.mark.parametrize("check", isolation.checks(), ids=named)
def test_a_check_of_isolation_passes_on_protected_switches(protected: Cloud, check: Check) -> None:
    assert check.run(protected)


@pytest.mark.system
@pytest.mark.parametrize("check", isolation.checks(), ids=named)
def test_a_check_of_isolation_fails_on_unprotected_switches(
    open_to_all: Cloud, check: Check
) -> None:
    with pytest.raises(Unmet, match=r"expected (nothing|no forged).*; saw \d+ at .*; the first: "):
        check.run(open_to_all)


@pytest.mark.system
@pytest.mark.parametrize(
    "check",
    [
        functools.partial(reachability.answer, "red", PathKind("same subnet", "by VXLAN")),
        functools.partial(reachability.carried, "web1", "web2", "vxlan"),
        reachability.same_vsid,
        isolation.checks()[0].run,
        functools.partial(isolation.forge, "ip"),
        functools.partial(isolation.inject, "web2", "172.31.0.3"),
    ],
)
def test_where_nothing_arrives_at_all_no_check_passes(
    protected: Cloud, check: functools.partial[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for host in protected.lab.hosts.values():
        host.switch.ofctl("del-flows", "br-int")
    programmed.clear()
    monkeypatch.setattr(isolation, "_CONTROL_S", 1.0)
    with pytest.raises(Unmet, match="expected"):
        check(protected)


@pytest.mark.system
def test_a_pair_in_the_wrong_encapsulation_is_found(protected: Cloud) -> None:
    with pytest.raises(Unmet, match=r"expected vxlan only on the underlay; saw \['nvgre'\]"):
        reachability.carried("web1", "web3", "vxlan", protected)


def test_every_kind_of_path_has_a_pair() -> None:
    found = {path_kind(one, other) for one in PLACES for other in PLACES if one != other}
    assert found == set(reachability.KINDS)


def test_a_dry_run_names_every_check_and_makes_nothing() -> None:
    name = unique_name()
    done = subprocess.run(
        [sys.executable, "-m", "isthmus_lab.demo", "--dry-run", "--name", name],
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(f"  {check.claim}\n" in done.stdout for check in planned())
    assert remains_of(name) == {}
