# SPDX-License-Identifier: Apache-2.0
"""Where the provider address is, and whether tunnel packets can leave from there: pure.

Open vSwitch in the kernel sends tunnel packets by the kernel's routes, from any interface. Its
userspace datapath (``netdev``) routes them itself, and finds the way only to an interface that is
a bridge of its own: else it drops each of them and says nothing
(docs.openvswitch.org, howto/userspace-tunneling). So the provider address must be on a netdev
bridge that has the uplink as a port. The agent makes that bridge when it is told which interface
it may take (`underlay_interface`): the bridge has the interface's MAC address, so nobody else on
the underlay sees a difference; the interface's IPv4 addresses and routes go to it, and what went is
kept on the bridge's row, to be given again when ovs-vswitchd has made the interface anew. IPv6
stays on the interface, which the kernel still hears.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from isthmus.agent.ovs.links import Belongings, Link
from isthmus.policy.host_problems import PROVIDER_ADDRESS, HostProblem

BRIDGE = "br-underlay"
KEPT = "isthmus-underlay"
"""Key in the bridge's external_ids: the `Belongings` that it was given."""
USERSPACE = "netdev"
FILE = "/etc/isthmus/isthmus.toml"


class Ground(NamedTuple):
    """What the host has. `bridges` are datapath types by name, as the switch's data base has
    them."""

    provider_address: str
    datapath_type: str
    """Of the integration bridge."""
    interface: str
    """The one that the agent may take; empty for none."""
    links: Mapping[str, Link]
    bridges: Mapping[str, str]
    kept: Belongings


class Steps(NamedTuple):
    """What to do next; one kind at a time, and then look again."""

    make_bridge: str = ""
    """With this MAC address."""
    keep: Belongings | None = None
    """Write it on the bridge's row; then move it."""
    give: Belongings | None = None
    """To the bridge."""


def carrier(ground: Ground) -> str:
    """The interface that has the provider address; a bridge before what is under it."""
    found = [
        link.name
        for link in ground.links.values()
        if any(one.address == ground.provider_address for one in link.belongings.addresses)
    ]
    return min(found, key=lambda name: (name not in ground.bridges, name), default="")


def is_well(
    provider_address: str,
    datapath_type: str,
    interface: str,
    addresses: Mapping[str, Sequence[str]],
    bridges: Mapping[str, str],
) -> bool:
    """Whether the addresses of interfaces alone show that nothing is wrong or to be done; what may
    be taken has none left."""
    carriers = [name for name, has in addresses.items() if provider_address in has]
    if datapath_type != USERSPACE:
        return bool(carriers)
    on_bridges = all(bridges.get(name) == USERSPACE for name in carriers)
    return bool(carriers) and on_bridges and not (interface and addresses.get(interface))


def steps(ground: Ground) -> Steps:
    """What makes the underlay be as the userspace datapath needs it; nothing where it is so, where
    the agent may do nothing, or where it has to wait for the switch."""
    link = ground.links.get(ground.interface)
    if ground.datapath_type != USERSPACE or link is None or refusal(ground) is not None:
        return Steps()
    if BRIDGE not in ground.bridges:
        on_bridge = ground.bridges.get(carrier(ground)) == USERSPACE
        return Steps() if on_bridge else Steps(make_bridge=link.mac)
    bridge = ground.links.get(BRIDGE)
    if bridge is None:
        return Steps()
    if link.belongings.addresses:
        return Steps(keep=link.belongings)
    has = {one.address for one in bridge.belongings.addresses}
    had = {one.address for one in ground.kept.addresses}
    is_new = ground.provider_address in had - has
    return Steps(give=ground.kept) if is_new else Steps()


def refusal(ground: Ground) -> HostProblem | None:
    """Why the interface that the agent may take is not taken."""
    if ground.datapath_type != USERSPACE or not ground.interface:
        return None
    link = ground.links.get(ground.interface)
    mend = f"mend underlay_interface in [agent] of {FILE} and restart the agent"
    if link is None:
        return HostProblem(
            *("underlay-interface", ground.interface),
            f"there is no interface {ground.interface}, which underlay_interface names",
            mend,
        )
    if ground.interface in ground.bridges:
        return HostProblem(
            *("underlay-interface", ground.interface),
            f"{ground.interface}, which underlay_interface names, is a bridge",
            f"name the uplink itself, or nothing: {mend}",
        )
    if link.leased:
        return HostProblem(
            *("underlay-interface", ground.interface),
            f"{ground.interface} has an address by DHCP, whose client would look for it there in"
            " vain",
            f"give {ground.interface} a fixed address in the configuration of this machine",
        )
    return None


def problem(ground: Ground) -> HostProblem | None:
    """Why no tunnel packet can leave this host or reach it; None where nothing is known that
    speaks against it."""
    refused = refusal(ground)
    if refused is not None:
        return refused
    name, address = carrier(ground), ground.provider_address
    if not name:
        return HostProblem(
            *(PROVIDER_ADDRESS, address),
            f"no interface of this host has its provider address {address}: no tunnel packet"
            " leaves it or reaches it",
            f"ip address add it to the underlay's interface, or mend provider_address in {FILE}",
        )
    if ground.datapath_type != USERSPACE or ground.bridges.get(name) == USERSPACE:
        return None
    return HostProblem(
        *("underlay-no-bridge", name),
        f"Open vSwitch forwards in userspace here (datapath_type netdev: the kernel has no module"
        f" openvswitch), and the provider address {address} is on {name}, which is no bridge of"
        f" this switch: no tunnel packet leaves this host or reaches it",
        f'write underlay_interface = "{name}" under [agent] in {FILE} and restart the agent, which'
        f" then puts {name} into a bridge {BRIDGE} and takes its IPv4 addresses and routes there;"
        " or load the kernel's module (modprobe openvswitch), delete the integration bridge and"
        " restart the agent",
    )


def failure(interface: str, error: str) -> HostProblem:
    """That looking at the underlay, or mending it, has failed."""
    return HostProblem(
        *("underlay-interface", interface),
        f"the underlay cannot be looked at or mended: {error}",
        f"see that {interface or 'the uplink'} is in no other bridge (ovs-vsctl show), or put the"
        " provider address on a netdev bridge by hand",
    )


def kept_text(belongings: Belongings) -> str:
    return msgspec.json.encode(belongings).decode()


def kept_from(text: str) -> Belongings:
    """What was kept; nothing where that cannot be read."""
    try:
        return msgspec.json.decode(text, type=Belongings)
    except msgspec.DecodeError:
        return Belongings()
