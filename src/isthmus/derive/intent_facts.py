# SPDX-License-Identifier: Apache-2.0
"""What derivation needs of each resource, so that a write that changes nothing but etags runs no
unit.

Names in policy are made of resource ids in lower case: a router is called like its virtual network,
a segment ``network/subnet``, a port like its networkInterface, a host like its server, a rule set
like its access control list, a group like its security tag.
"""

from __future__ import annotations

from typing import NamedTuple

from isthmus.addresses import mac_text, parse_address, parse_mac, parse_prefix
from isthmus.intent import access_control_lists
from isthmus.intent.access_control_lists import WITH_PORTS, AccessControlList, AclRule
from isthmus.intent.fields import decode
from isthmus.intent.logical_networks import LogicalNetwork
from isthmus.intent.model import Stored
from isthmus.intent.network_interfaces import IpConfiguration, NetworkInterface
from isthmus.intent.peerings import VirtualNetworkPeering
from isthmus.intent.port_settings import Guard, PortSettings
from isthmus.intent.references import key_of
from isthmus.intent.rule_values import ANY, HIGHEST_PORT, ports, protocol_number
from isthmus.intent.virtual_networks import VirtualNetwork, VirtualSubnet
from isthmus.policy.rows import Rule
from isthmus.policy.values import (
    Action,
    AddressPair,
    Direction,
    HostRoute,
    PortGuard,
    PortRange,
    pair_order,
    route_order,
)


class CarrierFact(NamedTuple):
    """A logical network that carries virtual networks."""

    ref: str
    name: str


class NetworkFact(NamedTuple):
    ref: str
    name: str
    carrier: str
    dns: tuple[str, ...]
    rdid: int
    prefixes: tuple[str, ...]
    instance_id: str


class SubnetFact(NamedTuple):
    """`segment_key` is the key of the subnet that the segment is called after: its own but for the
    IPv6 half of a dual-stack pair."""

    key: str
    ref: str
    network: str
    segment_key: str
    prefix: str
    vsid: int
    routes: tuple[HostRoute, ...]
    rules: str


class PeeringFact(NamedTuple):
    """One side of a peering: keys of both networks, which one of the remote's name is meant, and
    whether it allows access."""

    network: str
    remote: str
    remote_instance: str
    allows: bool


class InterfaceFact(NamedTuple):
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
    pairs: tuple[AddressPair, ...]
    guards: tuple[PortGuard, ...]
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


class RuleSetFact(NamedTuple):
    ref: str
    name: str
    in_default: Action
    out_default: Action
    tags: tuple[str, ...]
    """Keys of the tags that it is applied to."""


class RuleFact(NamedTuple):
    """A rule is derived from nothing but itself."""

    row: Rule


class ServerFact(NamedTuple):
    ref: str
    name: str


Fact = (
    CarrierFact
    | NetworkFact
    | SubnetFact
    | PeeringFact
    | InterfaceFact
    | AddressFact
    | RuleSetFact
    | RuleFact
    | ServerFact
)


def fact(stored: Stored) -> Fact | None:
    """What derivation needs of a resource; None for what has no place in policy."""
    name = stored.resource_id.lower()
    match stored.kind:
        case "logicalNetworks":
            carries = decode(stored, LogicalNetwork).network_virtualization_enabled
            return CarrierFact(stored.ref, name) if carries else None
        case "virtualNetworks":
            network = decode(stored, VirtualNetwork)
            dns = network.dhcp_options.dns_servers if network.dhcp_options else ()
            carrier = key_of(network.logical_network)
            prefixes = tuple(sorted(network.address_space.address_prefixes))
            return NetworkFact(
                *(stored.ref, name, carrier, dns, network.rdid, prefixes, stored.instance_id)
            )
        case "virtualNetworks/subnets":
            subnet = decode(stored, VirtualSubnet)
            routes = {
                HostRoute(parse_prefix(route.destination), parse_address(route.next_hop))
                for route in subnet.routes
            }
            return SubnetFact(
                stored.key,
                stored.ref,
                stored.parent or "",
                subnet.segment_key(stored.key),
                subnet.address_prefix,
                subnet.virtual_subnet_id,
                tuple(sorted(routes, key=route_order)),
                named(subnet.access_control_list),
            )
        case "virtualNetworks/virtualNetworkPeerings":
            peering = decode(stored, VirtualNetworkPeering)
            remote = key_of(peering.remote_virtual_network)
            return PeeringFact(
                stored.parent or "",
                remote,
                peering.remote_instance,
                peering.allow_virtual_network_access,
            )
        case "networkInterfaces":
            interface = decode(stored, NetworkInterface)
            return InterfaceFact(
                stored.key,
                stored.ref,
                name,
                stored.instance_id,
                stored.etag,
                mac_text(parse_mac(interface.private_mac_address or "")),
                interface.dns_settings.dns_servers,
                tuple(sorted(map(key_of, interface.security_tags))),
                tuple(sorted(map(named, interface.allowed_servers))),
                _pairs(interface),
                _guards(interface.port_settings),
                interface.port_settings.storm_limit,
            )
        case "networkInterfaces/ipConfigurations":
            config = decode(stored, IpConfiguration)
            if not config.is_virtual or not config.private_ip_address:
                return None
            subnet_key = key_of(config.subnet)
            rank = (not config.is_primary, stored.position)
            return AddressFact(
                stored.parent or "",
                rank,
                subnet_key,
                segment_of(config.segment or subnet_key),
                config.private_ip_address,
                named(config.access_control_list),
            )
        case "accessControlLists":
            acl = decode(stored, AccessControlList)
            return RuleSetFact(
                stored.ref,
                name,
                _ACTION[acl.inbound_default_action],
                _ACTION[acl.outbound_default_action],
                tuple(sorted(map(key_of, acl.security_tags))),
            )
        case "accessControlLists/aclRules":
            return RuleFact(_rule(stored, decode(stored, AclRule)))
        case "servers":
            return ServerFact(stored.ref, name)
    return None


def segment_of(subnet_key: str) -> str:
    """``/virtualnetworks/v/subnets/s`` → ``v/s``."""
    _, _, network, _, subnet = subnet_key.split("/")
    return f"{network}/{subnet}"


def named(ref: str | None) -> str:
    """The name in policy of what a reference to a top-level resource names."""
    return "" if ref is None else key_of(ref).rpartition("/")[2]


_ACTION: dict[str, Action] = {
    "Permit": Action.ALLOW,
    "Allow": Action.ALLOW,
    "Deny": Action.DENY,
}
_DIRECTION = {
    access_control_lists.Direction.INBOUND: Direction.IN,
    access_control_lists.Direction.OUTBOUND: Direction.OUT,
}


def _rule(stored: Stored, rule: AclRule) -> Rule:
    number = protocol_number(rule.protocol)
    # All with a range of ports is TCP and UDP with these (`policy.rules.protocols`)
    with_ports = number is None or number in WITH_PORTS
    every = number is None
    return Rule(
        rule_set=named(stored.parent),
        id=stored.resource_id.lower(),
        direction=_DIRECTION[rule.type],
        priority=rule.priority,
        action=_ACTION[rule.action],
        family=rule.ip_version or 0,
        protocol=-1 if number is None else number,
        source=_end(rule.source_address_prefix),
        destination=_end(rule.destination_address_prefix),
        source_groups=tuple(sorted(map(named, rule.source_security_tags))),
        destination_groups=tuple(sorted(map(named, rule.destination_security_tags))),
        source_ports=_ports(rule.source_port_range, every) if with_ports else None,
        destination_ports=_ports(rule.destination_port_range, every) if with_ports else None,
        icmp_type=-1 if rule.icmp_type is None else rule.icmp_type,
        icmp_code=-1 if rule.icmp_code is None else rule.icmp_code,
        stateless=rule.stateless,
        origin=stored.ref,
    )


def _end(prefix: str | None) -> str:
    """``0.0.0.0/0`` stays: it is any address of one family."""
    return "" if prefix is None or prefix == ANY else prefix


def _ports(text: str, every_protocol: bool) -> PortRange | None:
    """None for all ports. 1-65535 is what the text of MS-NCNBI section 3.1.5.1 calls all of them,
    so that with protocol All it is every protocol; port 0 of TCP and UDP is left out where one of
    these is named."""
    first, last = ports(text)
    lowest = 1 if every_protocol else 0
    return None if first <= lowest and last == HIGHEST_PORT else PortRange(first, last)


def _pairs(interface: NetworkInterface) -> tuple[AddressPair, ...]:
    own = interface.private_mac_address or ""
    pairs = {
        AddressPair(parse_prefix(pair.ip_address), parse_mac(pair.mac_address or own))
        for pair in interface.allowed_address_pairs
    }
    return tuple(sorted(pairs, key=pair_order))


def _guards(settings: PortSettings) -> tuple[PortGuard, ...]:
    found = {
        PortGuard.DHCP: settings.dhcp_guard_enabled is Guard.ENABLED,
        PortGuard.MAC_SPOOFING: settings.mac_spoofing_enabled is Guard.ENABLED,
        PortGuard.ROUTER_ADVERTISEMENTS: settings.router_guard_enabled is Guard.DISABLED,
    }
    return tuple(sorted(name for name, set_so in found.items() if set_so))


FACT_OF_KIND: dict[str, type] = {
    "logicalNetworks": CarrierFact,
    "virtualNetworks": NetworkFact,
    "virtualNetworks/subnets": SubnetFact,
    "virtualNetworks/virtualNetworkPeerings": PeeringFact,
    "networkInterfaces": InterfaceFact,
    "networkInterfaces/ipConfigurations": AddressFact,
    "accessControlLists": RuleSetFact,
    "accessControlLists/aclRules": RuleFact,
    "servers": ServerFact,
}
