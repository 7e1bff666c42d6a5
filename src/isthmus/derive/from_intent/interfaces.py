# SPDX-License-Identifier: Apache-2.0
"""Network interfaces and their addresses: an interface with an address in a virtual subnet is a
port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from isthmus.addresses import mac_text, parse_mac
from isthmus.derive.engine import Index, Item, Key, Read, unit
from isthmus.derive.from_intent.family import Family, item, reader
from isthmus.derive.from_intent.names import name_of, named, segment_of
from isthmus.derive.from_intent.rules import RULE_SETS_BY_TAG, RuleSetFact
from isthmus.derive.from_intent.subnets import SubnetFact
from isthmus.intent.fields import decode
from isthmus.intent.kinds import ip_configurations, network_interfaces
from isthmus.intent.kinds.ip_configurations import IpConfiguration
from isthmus.intent.kinds.network_interfaces import NetworkInterface
from isthmus.intent.kinds.port_settings import Guard, PortSettings
from isthmus.intent.model import Stored
from isthmus.intent.references import key_of
from isthmus.policy.rows import Port


class InterfaceFact(NamedTuple):
    """A network interface, without its addresses."""

    key: str
    ref: str
    name: str
    instance_id: str
    etag: str
    mac: str
    dns: tuple[str, ...]
    tags: tuple[str, ...]
    """Keys."""
    hosts: tuple[str, ...]
    pairs: tuple[str, ...]
    guards: tuple[str, ...]
    storm_pps: int


class AddressFact(NamedTuple):
    """An ipConfiguration in a virtual subnet."""

    interface: str
    rank: tuple[bool, int]
    """The primary address first, then in the client's order."""
    subnet: str
    segment: str
    address: str
    rules: str
    """Name of its rule set; empty for none."""


def interface_fact(stored: Stored) -> InterfaceFact:
    interface = decode(stored, NetworkInterface)
    return InterfaceFact(
        key=stored.key,
        ref=stored.ref,
        name=name_of(stored),
        instance_id=stored.instance_id,
        etag=stored.etag,
        mac=mac_text(parse_mac(interface.private_mac_address or "")),
        dns=interface.dns_settings.dns_servers,
        tags=tuple(sorted(map(key_of, interface.security_tags))),
        hosts=tuple(sorted(map(named, interface.allowed_servers))),
        pairs=_pairs(interface),
        guards=_guards(interface.port_settings),
        storm_pps=interface.port_settings.storm_limit,
    )


def address_fact(stored: Stored) -> AddressFact | None:
    config = decode(stored, IpConfiguration)
    if not config.is_virtual or not config.private_ip_address:
        return None
    subnet_key = key_of(config.subnet)
    return AddressFact(
        interface=stored.parent or "",
        rank=(not config.is_primary, stored.position),
        subnet=subnet_key,
        segment=segment_of(config.segment or subnet_key),
        address=config.private_ip_address,
        rules=named(config.access_control_list),
    )


def _pairs(interface: NetworkInterface) -> tuple[str, ...]:
    own = interface.private_mac_address or ""
    return tuple(
        sorted(
            {
                f"{pair.ip_address} {mac_text(parse_mac(pair.mac_address or own))}"
                for pair in interface.allowed_address_pairs
            }
        )
    )


def _guards(settings: PortSettings) -> tuple[str, ...]:
    found = {
        "dhcp-guard": settings.dhcp_guard_enabled is Guard.ENABLED,
        "mac-spoofing": settings.mac_spoofing_enabled is Guard.ENABLED,
        "router-advertisements": settings.router_guard_enabled is Guard.DISABLED,
    }
    return tuple(name for name, set_so in found.items() if set_so)


def network_interface(interface: InterfaceFact, read: Read) -> Iterator[Item]:
    """Over InterfaceFact: its port, if it has an address in a virtual subnet."""
    found = sorted(
        (
            address
            for key in read.find(ADDRESSES_BY_INTERFACE, interface.key)
            if (address := read.get(AddressFact, key)) is not None
        ),
        key=lambda address: address.rank,
    )
    if not found:
        return
    yield item(
        Port(
            id=interface.name,
            segment=found[0].segment,
            mac=interface.mac,
            addresses=tuple(sorted(address.address for address in found)),
            dhcp_address=next((a.address for a in found if ":" not in a.address), ""),
            profile_id=interface.instance_id,
            dns=interface.dns,
            hosts=interface.hosts,
            rule_sets=tuple(sorted(set(_rule_sets(interface, found, read)))),
            groups=tuple(sorted(map(named, interface.tags))),
            pairs=interface.pairs,
            guards=interface.guards,
            storm_pps=interface.storm_pps,
            revision=interface.etag,
            origin=interface.ref,
        )
    )


def _rule_sets(
    interface: InterfaceFact, addresses: Iterable[AddressFact], read: Read
) -> Iterator[str]:
    for address in addresses:
        subnet = read.get(SubnetFact, address.subnet)
        if subnet is not None and subnet.rules:
            yield f"subnet {address.address} {subnet.rules}"
        if address.rules:
            yield f"interface {address.address} {address.rules}"
    for tag in interface.tags:
        for key in read.find(RULE_SETS_BY_TAG, tag):
            applied = read.get(RuleSetFact, key)
            if applied is not None:
                yield f"interface * {applied.name}"


def _interface_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, AddressFact)
    return (row.interface,)


ADDRESSES_BY_INTERFACE = Index(AddressFact, "interface", _interface_of)

FAMILY = Family(
    readers=(
        reader(network_interfaces.KIND, InterfaceFact, interface_fact),
        reader(ip_configurations.KIND, AddressFact, address_fact),
    ),
    units=(unit(InterfaceFact, network_interface),),
    indexes=(ADDRESSES_BY_INTERFACE,),
)
