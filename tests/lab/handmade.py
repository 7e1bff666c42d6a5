# SPDX-License-Identifier: Apache-2.0
"""``br-int`` as an agent might program it, by hand: one segment, addressed guests, no protection.

The lab is tested with it before and without any agent.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus_lab.guest import Guest
from isthmus_lab.host import Host
from isthmus_lab.lab import Lab

VSID = 5001


def make_bridge(host: Host) -> None:
    host.switch.vsctl(
        *("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev"),
        *("fail_mode=secure", "--", "add-port", "br-int", "vx0", "--", "set", "interface", "vx0"),
        *("type=vxlan", "options:key=flow", "options:remote_ip=flow", "ofport_request=101"),
        *("--", "add-port", "br-int", "gre0", "--", "set", "interface", "gre0", "type=gre"),
        *("options:key=flow", "options:remote_ip=flow", "ofport_request=102"),
    )


def program(lab: Lab, tunnels: Mapping[frozenset[str], str]) -> None:
    """Let all plugged guests reach each other. `tunnels`: pair of hosts → vxlan or nvgre."""
    for host in lab.hosts.values():
        local = [guest for guest in lab.guests.values() if guest.state.host == host.name]
        flows = [_delivery(host, guest, "dl_dst=" + guest.state.mac) for guest in local]
        flows += [_tunnel(lab, host, guest, tunnels) for guest in _remote(lab, host)]
        flows.append(_broadcast(lab, host, local, tunnels))
        host.switch.ofctl("--bundle", "replace-flows", "br-int", "-", flows="\n".join(flows) + "\n")


def _remote(lab: Lab, host: Host) -> list[Guest]:
    return [guest for guest in lab.guests.values() if guest.state.host not in (None, host.name)]


def _delivery(host: Host, guest: Guest, match: str) -> str:
    return f"priority=10,{match} actions=output:{_port(host, guest)}"


def _port(host: Host, guest: Guest) -> str:
    return host.switch.vsctl("get", "Interface", guest.host_interface, "ofport").strip()


def _tunnel(lab: Lab, host: Host, guest: Guest, tunnels: Mapping[frozenset[str], str]) -> str:
    actions = _send(lab, host, str(guest.state.host), tunnels)
    return f"priority=9,dl_dst={guest.state.mac} actions={actions}"


def _send(lab: Lab, host: Host, peer: str, tunnels: Mapping[frozenset[str], str]) -> str:
    address = lab.hosts[peer].spec.provider_address
    vxlan = tunnels[frozenset((host.name, peer))] == "vxlan"
    # RFC 7637 section 3.2: the key is the VSID and eight bits of flow identifier.
    key, port = (VSID, 101) if vxlan else (VSID << 8, 102)
    return f"set_field:{key}->tun_id,set_field:{address}->tun_dst,output:{port}"


def _broadcast(
    lab: Lab, host: Host, local: list[Guest], tunnels: Mapping[frozenset[str], str]
) -> str:
    """From a guest to all guests; what came by tunnel goes to local ones only."""
    here = ",".join(f"output:{_port(host, guest)}" for guest in local)
    away = ",".join(
        _send(lab, host, peer, tunnels)
        for peer in sorted({str(guest.state.host) for guest in _remote(lab, host)})
    )
    copies = ",".join(part for part in (here, away) if part) or "drop"
    everyone = "ff:ff:ff:ff:ff:ff"
    from_tunnels = "\n".join(
        f"priority=8,in_port={port},dl_dst={everyone} actions={here or 'drop'}"
        for port in (101, 102)
    )
    return f"{from_tunnels}\npriority=7,dl_dst={everyone} actions={copies}"
