# SPDX-License-Identifier: Apache-2.0
"""Intent → policy: the units of the controller's engine.

`fact` turns a stored resource into what derivation needs of it, so that a write that changes
nothing but etags runs no unit. A virtual subnet is a segment, a subnet and a leg of the virtual
network's implicit router; a networkInterface with an address in a virtual subnet is a port.

Names in policy are made of resource ids in lower case: a router is called like its virtual
network, a segment ``network/subnet``, a port like its networkInterface, a host like its server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from isthmus.addresses import Mac, mac_text, parse_mac, parse_prefix
from isthmus.derive.engine import Engine, Index, Item, Key, Read, unit
from isthmus.intent.fields import decode
from isthmus.intent.logical_networks import LogicalNetwork
from isthmus.intent.model import Stored
from isthmus.intent.network_interfaces import IpConfiguration, NetworkInterface
from isthmus.intent.references import key_of
from isthmus.intent.virtual_networks import VirtualNetwork, VirtualSubnet
from isthmus.policy.rows import (
    DESIRED,
    Host,
    PhysicalNetwork,
    Port,
    Router,
    RouterPort,
    Segment,
    Subnet,
)

ROUTER_MAC = mac_text(Mac(0x123456789ABC))
"""Of every distributed router on every host, so that a guest that moves finds its gateway where it
was. Microsoft's own networks use the same one."""

OVERHEAD_BYTES = {"vxlan": 50, "nvgre": 42}
"""What an encapsulation adds to a guest's IP packet over IPv4: outer IPv4 20, inner Ethernet 14,
and UDP 8 + VXLAN 8 (RFC 7348 section 5) or GRE with key 8 (RFC 7637 section 3.2)."""


class Underlay(NamedTuple):
    """What the operator says of the physical network; one row, key `UNDERLAY`."""

    mtu_bytes: int = 1500
    transports: tuple[str, ...] = ("vxlan", "nvgre")


UNDERLAY = "underlay"


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


class SubnetFact(NamedTuple):
    ref: str
    network: str
    segment: str
    prefix: str
    vsid: int
    routes: tuple[str, ...]


class InterfaceFact(NamedTuple):
    key: str
    ref: str
    name: str
    instance_id: str
    etag: str
    mac: str
    dns: tuple[str, ...]


class AddressFact(NamedTuple):
    """An ipConfiguration in a virtual subnet."""

    interface: str
    rank: tuple[bool, int]
    """The primary address first, then in the client's order."""
    segment: str
    address: str


class ServerFact(NamedTuple):
    ref: str
    name: str


Fact = CarrierFact | NetworkFact | SubnetFact | InterfaceFact | AddressFact | ServerFact


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
            return NetworkFact(stored.ref, name, carrier, dns, network.rdid)
        case "virtualNetworks/subnets":
            subnet = decode(stored, VirtualSubnet)
            routes = tuple(f"{route.destination} {route.next_hop}" for route in subnet.routes)
            return SubnetFact(
                stored.ref,
                stored.parent or "",
                segment_of(stored.key),
                subnet.address_prefix,
                subnet.virtual_subnet_id,
                tuple(sorted(routes)),
            )
        case "networkInterfaces":
            interface = decode(stored, NetworkInterface)
            settings = interface.dns_settings
            return InterfaceFact(
                stored.key,
                stored.ref,
                name,
                stored.instance_id,
                stored.etag,
                mac_text(parse_mac(interface.private_mac_address or "")),
                settings.dns_servers if settings else (),
            )
        case "networkInterfaces/ipConfigurations":
            config = decode(stored, IpConfiguration)
            if not config.is_virtual or not config.private_ip_address:
                return None
            segment = segment_of(key_of(config.subnet))
            rank = (not config.is_primary, stored.position)
            return AddressFact(stored.parent or "", rank, segment, config.private_ip_address)
        case "servers":
            return ServerFact(stored.ref, name)
    return None


def segment_of(subnet_key: str) -> str:
    """``/virtualnetworks/v/subnets/s`` → ``v/s``."""
    _, _, network, _, subnet = subnet_key.split("/")
    return f"{network}/{subnet}"


_FACT_OF_KIND: dict[str, type] = {
    "logicalNetworks": CarrierFact,
    "virtualNetworks": NetworkFact,
    "virtualNetworks/subnets": SubnetFact,
    "networkInterfaces": InterfaceFact,
    "networkInterfaces/ipConfigurations": AddressFact,
    "servers": ServerFact,
}


def put(engine: Engine, old: Stored | None, new: Stored | None) -> None:
    """Tell the engine of one changed resource; a replaced one may differ in all but its key."""
    stored = new or old
    assert stored is not None, "a change has a row before it or after it"
    table = _FACT_OF_KIND.get(stored.kind)
    if table is not None:
        engine.put(table, stored.key, None if new is None else fact(new))


def carrier(logical: CarrierFact, read: Read) -> Iterator[Item]:
    """Over CarrierFact: the underlay of virtual networks."""
    underlay = read.get(Underlay, UNDERLAY) or Underlay()
    yield _item(
        PhysicalNetwork(
            name=logical.name,
            transports=tuple(sorted(underlay.transports)),
            mtu_bytes=underlay.mtu_bytes,
            origin=logical.ref,
        )
    )


def virtual_network(network: NetworkFact, read: Read) -> Iterator[Item]:
    """Over NetworkFact: the implicit router of a virtual network."""
    yield _item(Router(id=network.name, rdid=network.rdid, mac=ROUTER_MAC, origin=network.ref))


def virtual_subnet(subnet: SubnetFact, read: Read) -> Iterator[Item]:
    """Over SubnetFact: its segment, its subnet, and the router's leg in it."""
    network = read.get(NetworkFact, subnet.network)
    carried_by = read.get(CarrierFact, network.carrier) if network else None
    if network is None or carried_by is None:
        return
    underlay = read.get(Underlay, UNDERLAY) or Underlay()
    overhead = max((OVERHEAD_BYTES[name] for name in underlay.transports), default=0)
    yield _item(
        Segment(
            id=subnet.segment,
            physical_network=carried_by.name,
            vsid=subnet.vsid,
            mtu_bytes=underlay.mtu_bytes - overhead,
            origin=subnet.ref,
        )
    )
    prefix = parse_prefix(subnet.prefix)
    # The lowest address is the distributed router's, as on Microsoft's own controller.
    gateway = prefix.network_address + 1
    yield _item(
        Subnet(
            segment=subnet.segment,
            prefix=subnet.prefix,
            gateway=str(gateway),
            dns=network.dns,
            host_routes=subnet.routes,
            origin=subnet.ref,
        )
    )
    yield _item(
        RouterPort(
            router=network.name,
            segment=subnet.segment,
            addresses=(f"{gateway}/{prefix.prefixlen}",),
            origin=subnet.ref,
        )
    )


def network_interface(interface: InterfaceFact, read: Read) -> Iterator[Item]:
    """Over InterfaceFact: its port, if it has an address in a virtual subnet."""
    found = [
        address
        for key in read.find(ADDRESSES_BY_INTERFACE, interface.key)
        if (address := read.get(AddressFact, key)) is not None
    ]
    if not found:
        return
    first = min(found, key=lambda address: address.rank)
    yield _item(
        Port(
            id=interface.name,
            segment=first.segment,
            mac=interface.mac,
            addresses=tuple(sorted(address.address for address in found)),
            dhcp_address=first.address,
            profile_id=interface.instance_id,
            dns=interface.dns,
            revision=interface.etag,
            origin=interface.ref,
        )
    )


def server(host: ServerFact, read: Read) -> Iterator[Item]:
    """Over ServerFact: a host that may speak; its certificate is named like it."""
    yield _item(Host(id=host.name, certificate_name=host.name, origin=host.ref))


def _item(row: PhysicalNetwork | Segment | Subnet | Router | RouterPort | Port | Host) -> Item:
    return Item(type(row), row.key, row)


def _interface_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, AddressFact)
    return (row.interface,)


ADDRESSES_BY_INTERFACE = Index(AddressFact, "interface", _interface_of)

UNITS = (
    unit(CarrierFact, carrier),
    unit(NetworkFact, virtual_network),
    unit(SubnetFact, virtual_subnet),
    unit(InterfaceFact, network_interface),
    unit(ServerFact, server),
)


def new_engine(underlay: Underlay) -> Engine:
    """An engine whose derived tables are `policy.rows.DESIRED`."""
    engine = Engine(UNITS, (ADDRESSES_BY_INTERFACE,), (Underlay, AddressFact, *DESIRED))
    engine.put(Underlay, UNDERLAY, underlay)
    return engine
