# SPDX-License-Identifier: Apache-2.0
"""No field is taken and not done: each that a client may write changes what the network does, or is
refused by its name, or says of itself that it is kept as information only.

The fields are those of the declarations, so that a new one cannot come without its proof here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec
import pytest

from isthmus.derive.from_intent.program import new_engine, put
from isthmus.derive.from_intent.underlay import Underlay
from isthmus.errors import IsthmusError
from isthmus.intent.fields import Access, Part
from isthmus.intent.model import Json
from isthmus.intent.refusals import NotOffered
from isthmus.intent.registry import KINDS
from isthmus.intent.specs import FieldSpec, Nested, fields_of
from isthmus.intent.values import Many
from isthmus.policy.rows import DESIRED, Port
from tests.intent.cloud import POOL, SUBNET, Cloud, child, interface, network, ref

Written = dict[str, Json]

CREDENTIAL: Written = {"type": "X509Certificate", "value": "AB"}
RULE: Written = {
    "type": "Inbound",
    "action": "Allow",
    "protocol": "TCP",
    "priority": "100",
    "sourceAddressPrefix": "*",
    "destinationAddressPrefix": "*",
    "sourcePortRange": "*",
    "destinationPortRange": "*",
}
ADDRESS: Written = {"subnet": ref(SUBNET), "privateIPAddress": "10.0.1.9"}


class Values(NamedTuple):
    """Two values of a field that must not come to the same; `around` is what else both need."""

    one: Json
    other: Json
    around: Mapping[str, Json] = {}


VALUES: dict[str, dict[str, Values]] = {
    "accessControlLists": {
        "inboundDefaultAction": Values("Permit", "Deny"),
        "outboundDefaultAction": Values("Permit", "Deny"),
        "securityTags": Values([], [ref("/securityTags/t")]),
    },
    "accessControlLists/aclRules": {
        "type": Values("Inbound", "Outbound"),
        "action": Values("Allow", "Deny"),
        "protocol": Values("TCP", "UDP"),
        "priority": Values(100, 101),
        "sourceAddressPrefix": Values("*", "10.0.0.0/8"),
        "destinationAddressPrefix": Values("*", "10.0.0.0/8"),
        "sourcePortRange": Values("*", "7"),
        "destinationPortRange": Values("*", "7"),
        "sourceSecurityTags": Values(
            ref("/securityTags/t"), ref("/securityTags/u"), {"sourceAddressPrefix": None}
        ),
        "destinationSecurityTags": Values(
            ref("/securityTags/t"), ref("/securityTags/u"), {"destinationAddressPrefix": None}
        ),
        "icmpType": Values(0, 8, {"protocol": "ICMPv4"}),
        "icmpCode": Values(None, 1, {"protocol": "ICMPv4", "icmpType": 3}),
        "stateless": Values(False, True),
    },
    "logicalNetworks": {"networkVirtualizationEnabled": Values("True", "False")},
    "logicalNetworks/subnets": {
        "addressPrefix": Values("10.8.0.0/24", "10.9.0.0/24"),
        "defaultGateways": Values([], ["10.8.0.9"], {"addressPrefix": "10.8.0.0/24"}),
    },
    "logicalNetworks/subnets/ipPools": {
        "startIpAddress": Values("10.8.0.10", "10.8.0.11", {"endIpAddress": "10.8.0.19"}),
        "endIpAddress": Values("10.8.0.10", "10.8.0.9", {"startIpAddress": "10.8.0.10"}),
    },
    "macPools": {
        "startMacAddress": Values("02-00-00-00-00-01", "02-00-00-00-00-02"),
        "endMacAddress": Values("02-00-00-00-00-0F", "02-00-00-00-00-00"),
    },
    "networkInterfaces": {
        "privateMacAddress": Values("020000000001", "020000000002"),
        "privateMacAllocationMethod": Values(
            "Static", "Dynamic", {"privateMacAddress": "020000000001"}
        ),
        "isHostVirtualNetworkInterface": Values(False, True),
        "isPrimary": Values(True, False, {"dnsSettings": {"dnsServers": ["10.0.1.2"]}}),
        "dnsSettings.dnsServers": Values([], ["10.0.1.2"]),
        "portSettings.macSpoofingEnabled": Values("Disabled", "Enabled"),
        "portSettings.dhcpGuardEnabled": Values("Disabled", "Enabled"),
        "portSettings.routerGuardEnabled": Values("Enabled", "Disabled"),
        "portSettings.stormLimit": Values(0, 7),
        "portSettings.portFlowLimit": Values(0, 7),
        "portSettings.qosSettings.outboundReservedValue": Values(0, 7),
        "portSettings.qosSettings.outboundMaximumMbps": Values(0, 7),
        "portSettings.qosSettings.inboundMaximumMbps": Values(0, 7),
        "portSettings.qosSettings.enableHardwareLimits": Values(False, True),
        "securityTags": Values([], [ref("/securityTags/t")]),
        "allowedServers": Values([], [ref("/servers/h")]),
        "allowedAddressPairs[].ipAddress": Values("10.0.1.7", "10.0.1.8"),
        "allowedAddressPairs[].macAddress": Values(
            None, "020000000002", {"allowedAddressPairs": [{"ipAddress": "10.0.1.7"}]}
        ),
    },
    "networkInterfaces/ipConfigurations": {
        "subnet": Values(ref(SUBNET), ref("/virtualNetworks/v/subnets/t")),
        "privateIPAddress": Values("10.0.1.9", "10.0.1.10"),
        # the router's own: refused, or another one is given
        "privateIPAllocationMethod": Values("Dynamic", "Static", {"privateIPAddress": "10.0.1.1"}),
        "isPrimary": Values(None, True),
        "accessControlList": Values(None, ref("/accessControlLists/a")),
    },
    "securityTags": {"accessControlList": Values(None, ref("/accessControlLists/a"))},
    "servers": {"auditingEnabled": Values(["Disabled"], ["Firewall"])},
    "virtualNetworkManager": {
        "networkVirtualizationProtocol": Values("VXLAN", "NVGRE"),
        "distributedRouterState": Values("Enabled", "Disabled"),
        "virtualSubnetIdRange.startId": Values(
            5000, 5001, {"virtualSubnetIdRange": {"endId": 6000}}
        ),
        "virtualSubnetIdRange.endId": Values(
            6000, 4999, {"virtualSubnetIdRange": {"startId": 5000}}
        ),
        "enableMetering": Values(False, True),
    },
    "virtualNetworks": {
        "addressSpace.addressPrefixes": Values(["10.0.0.0/16"], ["10.0.0.0/15"]),
        "logicalNetwork": Values(ref("/logicalNetworks/HNVPA"), ref("/logicalNetworks/other")),
        "dhcpOptions.dnsServers": Values([], ["10.0.1.2"]),
    },
    "virtualNetworks/subnets": {
        "addressPrefix": Values("10.0.3.0/24", "10.0.4.0/24"),
        "routes[].destination": Values(
            "10.7.0.0/16", "10.8.0.0/16", {"routes": [{"nextHop": "10.0.3.9"}]}
        ),
        "routes[].nextHop": Values(
            "10.0.3.9", "10.0.3.8", {"routes": [{"destination": "10.7.0.0/16"}]}
        ),
        "accessControlList": Values(None, ref("/accessControlLists/a")),
        "dualStackSubnet": Values(None, ref(SUBNET), {"addressPrefix": "fd00::/64"}),
    },
    "virtualNetworks/virtualNetworkPeerings": {
        "remoteVirtualNetwork": Values(ref("/virtualNetworks/w"), ref("/virtualNetworks/x")),
        "allowVirtualNetworkAccess": Values(True, False),
        "useRemoteGateways": Values(False, True),
    },
}
"""By kind and path of a field."""

WRITTEN: dict[str, Written] = {
    "accessControlLists/aclRules": RULE,
    "credentials": CREDENTIAL,
    "logicalNetworks/subnets/ipPools": {"startIpAddress": "10.8.0.10", "endIpAddress": "10.8.0.19"},
    "macPools": {"startMacAddress": "02-00-00-00-00-01", "endMacAddress": "02-00-00-00-00-0F"},
    "networkInterfaces": {
        "privateMacAddress": "020000000001",
        **interface(privateIPAddress="10.0.1.9"),
    },
    "networkInterfaces/ipConfigurations": ADDRESS,
    "virtualNetworks": network("10.0.0.0/16", subnets={"s": "10.0.1.0/24", "t": "10.0.2.0/24"}),
    "virtualNetworks/subnets": {"addressPrefix": "10.0.3.0/24"},
    "virtualNetworks/virtualNetworkPeerings": {"remoteVirtualNetwork": ref("/virtualNetworks/w")},
}
"""What a resource of the kind needs."""

PATHS = {
    "accessControlLists/aclRules": "/accessControlLists/a/aclRules/r",
    "logicalNetworks/subnets": "/logicalNetworks/other/subnets/s",
    "logicalNetworks/subnets/ipPools": "/logicalNetworks/other/subnets/s/ipPools/p",
    "macPools": "/macPools/default",
    "networkInterfaces/ipConfigurations": "/networkInterfaces/second/ipConfigurations/c",
    "virtualNetworkManager": "/virtualNetworkManager/configuration",
    "virtualNetworks": "/virtualNetworks/v",
    "virtualNetworks/subnets": "/virtualNetworks/v/subnets/n",
    "virtualNetworks/virtualNetworkPeerings": "/virtualNetworks/v/virtualNetworkPeerings/p",
}


def declared() -> Iterator[tuple[str, str, FieldSpec]]:
    """Every field that a client may write: kind, path, declaration."""
    for kind in KINDS.values():
        for path, spec in _writable(kind.model, ""):
            yield kind.name, path, spec


def _writable(model: type[Part], prefix: str) -> Iterator[tuple[str, FieldSpec]]:
    for spec in fields_of(model):
        if spec.rules.access in (Access.READ_ONLY, Access.INTERNAL):
            continue
        inner, suffix = spec.type, "."
        if isinstance(inner, Many):
            inner, suffix = inner.item, "[]."
        if isinstance(inner, Nested) and not spec.rules.kept:
            yield from _writable(inner.model, f"{prefix}{spec.wire}{suffix}")
        else:
            yield f"{prefix}{spec.wire}", spec


ALL = {f"{kind} {path}": spec for kind, path, spec in declared()}
DONE = sorted(
    name
    for name, spec in ALL.items()
    if not spec.rules.kept and not isinstance(spec.type, NotOffered)
)


def surroundings(kind: str) -> Cloud:
    """What the resource under test may refer to, and what shows that it does something."""
    cloud = Cloud()
    cloud.put("/logicalNetworks/HNVPA", {"networkVirtualizationEnabled": True})
    cloud.put("/logicalNetworks/other", {"networkVirtualizationEnabled": True})
    cloud.put("/securityTags/t")
    cloud.put("/securityTags/u")
    cloud.put("/accessControlLists/a", {"inboundDefaultAction": "Deny"})
    cloud.put("/servers/h")
    cloud.put("/credentials/c", CREDENTIAL)
    if kind not in ("macPools", "virtualNetworkManager"):
        cloud.put("/macPools/default", POOL)
        for name, number in (("v", 10), ("w", 11), ("x", 12)):
            subnets = {"s": f"{number}.0.1.0/24", "t": f"{number}.0.2.0/24"}
            body = network(f"{number}.0.0.0/8", "fd00::/16", subnets=subnets)
            if kind.endswith("virtualNetworkPeerings"):
                body = network(f"{number}.0.0.0/8", subnets=subnets)
            cloud.put(f"/virtualNetworks/{name}", body)
    if kind.endswith("virtualNetworkPeerings"):
        for name in ("w", "x"):
            back: Written = {"remoteVirtualNetwork": ref("/virtualNetworks/v")}
            cloud.put(f"/virtualNetworks/{name}/virtualNetworkPeerings/p", back)
    if kind == "networkInterfaces/ipConfigurations":
        first = child("a", subnet=ref(SUBNET), privateIPAddress="10.0.1.5")
        cloud.put("/networkInterfaces/second", {"ipConfigurations": [first]})
    if kind.endswith("ipPools"):
        cloud.put("/logicalNetworks/other/subnets/s", {"addressPrefix": "10.8.0.0/24"})
    return cloud


def afterwards(kind: str, cloud: Cloud) -> None:
    """What is made with the resource under test in place."""
    if kind == "macPools":
        cloud.put("/networkInterfaces/later")
    if kind == "virtualNetworkManager":
        cloud.put("/virtualNetworks/v", network("10.0.0.0/16", subnets={"s": "10.0.1.0/24"}))
    if kind.endswith("ipPools"):
        cloud.put("/networkInterfaces/later", interface("/logicalNetworks/other/subnets/s"))
    if kind == "logicalNetworks/subnets":
        later = interface("/logicalNetworks/other/subnets/s", privateIPAddress="10.8.0.9")
        if "addressPrefix" in str(cloud.row("/logicalNetworks/other/subnets/s").properties):
            cloud.put("/networkInterfaces/later", later)
    if kind in ("accessControlLists", "securityTags", "virtualNetworks/subnets"):
        tagged = {"securityTags": [ref("/securityTags/t")]}
        subnet = PATHS[kind] if kind.endswith("subnets") else SUBNET
        cloud.put("/networkInterfaces/later", {**interface(subnet), **tagged})


def outcome(kind: str, written: Written) -> tuple[object, object]:
    """What comes of a resource with these properties: policy and allocations, or a refusal."""
    cloud = surroundings(kind)
    try:
        cloud.put(PATHS.get(kind, f"/{kind}/t"), written)
        afterwards(kind, cloud)
    except IsthmusError as error:
        return error.code, error.target
    engine = new_engine(Underlay())
    for row in cloud.store.rows.values():
        put(engine, None, row)
    engine.settle()
    assert not engine.failures
    policy = {
        (table.TABLE, key): _without_etag(row)
        for table in DESIRED
        for key, row in engine.rows(table).items()
    }
    held = {a for row in cloud.store.rows.values() for a in row.allocations}
    return policy, {allocation for allocation in held if allocation.scope != "instance"}


def _without_etag(row: object) -> object:
    return msgspec.structs.replace(row, revision="") if isinstance(row, Port) else row


def with_field(written: Written, path: str, value: Json) -> Written:
    """The properties with one field, which may be inside another."""
    name, dot, rest = path.partition(".")
    listed = name.endswith("[]")
    name = name.removesuffix("[]")
    if not dot:
        return {**written, name: value}
    inner = written.get(name) or {}
    if isinstance(inner, list):
        inner = inner[0] if inner else {}
    assert isinstance(inner, dict)
    changed = with_field(inner, rest, value)
    return {**written, name: [changed] if listed else changed}


@pytest.mark.parametrize("name", DONE)
def test_a_field_changes_what_the_network_does_or_is_refused_by_its_name(name: str) -> None:
    kind, path = name.split(" ")
    values = VALUES.get(kind, {}).get(path)
    assert values is not None, f"{name} needs values here, or Rules(kept=True)"
    base = {**WRITTEN.get(kind, {}), **values.around}
    one, other = (outcome(kind, with_field(base, path, value)) for value in values[:2])
    assert not isinstance(one[0], str), f"the first value is to be taken: {one}"
    assert one != other


def test_the_values_are_those_of_fields_that_are_declared() -> None:
    named = {f"{kind} {path}" for kind, paths in VALUES.items() for path in paths}
    assert named <= set(DONE)


@pytest.mark.parametrize(
    "name", sorted(name for name, spec in ALL.items() if isinstance(spec.type, NotOffered))
)
def test_what_is_not_offered_is_refused_by_its_name(name: str) -> None:
    kind, path = name.split(" ")
    written = with_field(WRITTEN.get(kind, {}), path, {"resourceRef": "/somewhere/else"})
    refusal = outcome(kind, written)
    assert refusal[0] == "OperationNotSupported"
    assert str(refusal[1]).endswith(path)


STANDARD: dict[str, str] = {
    "accessControlLists": "aclRules inboundDefaultAction outboundDefaultAction securityTags",
    "accessControlLists/aclRules": "protocol sourcePortRange destinationPortRange action"
    " sourceAddressPrefix destinationAddressPrefix sourceSecurityTags destinationSecurityTags"
    " priority type logging description",
    "credentials": "type userName value",
    "logicalNetworks": "networkVirtualizationEnabled subnets",
    "logicalNetworks/subnets": "addressPrefix vlanID routes ipPools dnsServers defaultGateways"
    " isPublic accessControlList",
    "logicalNetworks/subnets/ipPools": "startIpAddress endIpAddress",
    "logicalNetworks/subnets/routes": "destination nextHop",
    "macPools": "startMacAddress endMacAddress",
    "networkInterfaces": "ipConfigurations isHostVirtualNetworkInterface isMultitenantStack"
    " isPrimary internalDnsNameLabel privateMacAddress privateMacAllocationMethod dnsSettings"
    " serviceInsertionElements portSettings securityTags",
    "networkInterfaces/ipConfigurations": "privateIPAllocationMethod privateIPAddress subnet"
    " accessControlList learnedIp publicIPAddress isPrimary serviceInsertion"
    " loadBalancerBackendAddressPools loadBalancerInboundNatRules",
    "securityTags": "type accessControlList",
    "servers": "connections certificate rackSlot os model vendor serial auditingEnabled"
    " networkInterfaces",
    "servers/networkInterfaces": "interfaceName mac ipConfiguration vlanIds interfaceIndex"
    " interfaceSpeed isBMC logicalSubnets",
    "virtualNetworkManager": "distributedRouterState networkVirtualizationProtocol"
    " virtualSubnetIdRange enableMetering",
    "virtualNetworks": "addressSpace dhcpOptions subnets logicalNetwork virtualNetworkPeerings"
    " encryptionCredential unbilledAddressRanges",
    "virtualNetworks/subnets": "addressPrefix accessControlList dualStackSubnet routeTable"
    " encryptionEnabled serviceInsertion",
    "virtualNetworks/virtualNetworkPeerings": "remoteVirtualNetwork allowVirtualNetworkAccess"
    " allowForwardedTraffic allowGatewayTransit useRemoteGateways",
}
"""What the PUT schemas and examples of MS-NCNBI section 6 and 3.1.5 have for the kinds that are
offered."""


def test_no_field_of_the_standard_is_dropped_in_silence() -> None:
    for name, fields in STANDARD.items():
        kind = KINDS[name]
        known = {spec.wire for spec in kind.fields if spec.read}
        known |= {below.collection for below in kind.children}
        assert set(fields.split()) <= known, name
