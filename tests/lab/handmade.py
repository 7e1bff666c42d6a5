# SPDX-License-Identifier: Apache-2.0
"""``br-int`` as an agent might program it, by hand, with or without protection.

The lab, and the checks of the demonstration, are tested with it before and without any agent.
Table 0 admits and finds the segment (register 0), table 1 delivers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from isthmus_lab.guest import Guest
from isthmus_lab.host import Host
from isthmus_lab.lab import Lab

VSID = 5001
EVERYONE = "ff:ff:ff:ff:ff:ff"
PORTS = {"vxlan": 101, "nvgre": 102}

Tunnels = Mapping[frozenset[str], str]
"""Pair of hosts → vxlan or nvgre."""


def make_bridge(host: Host) -> None:
    host.switch.vsctl(
        *("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev"),
        *("fail_mode=secure", "--", "add-port", "br-int", "vx0", "--", "set", "interface", "vx0"),
        *("type=vxlan", "options:key=flow", "options:remote_ip=flow", "ofport_request=101"),
        *("--", "add-port", "br-int", "gre0", "--", "set", "interface", "gre0", "type=gre"),
        *("options:key=flow", "options:remote_ip=flow", "ofport_request=102"),
    )


class Hand:
    """Writes the flows of all hosts.

    Unprotected, a guest may send any frame and any MAC address is delivered to, in whatever
    segment; protected, sources are checked at ports and tunnels, and segments are apart.
    """

    def __init__(
        self,
        lab: Lab,
        tunnels: Tunnels,
        segment_of: Callable[[Guest], int] = lambda guest: VSID,
        *,
        protected: bool = False,
    ) -> None:
        self.lab = lab
        self.tunnels = tunnels
        self.segment_of = segment_of
        self.protected = protected

    def program(self) -> None:
        for host in self.lab.hosts.values():
            flows = "\n".join([*self._admission(host), *self._delivery(host), ""])
            host.switch.ofctl("--bundle", "replace-flows", "br-int", "-", flows=flows)

    def _admission(self, host: Host) -> Iterator[str]:
        for guest in self._local(host):
            accept = f"actions=set_field:{self.segment_of(guest)}->reg0,goto_table:1"
            here = f"table=0,priority=10,in_port={_port(host, guest)}"
            if not self.protected:
                yield f"{here} {accept}"
                continue
            mac = guest.state.mac
            for address in guest.addresses():
                yield f"{here},dl_src={mac},ip,nw_src={address} {accept}"
                yield f"{here},dl_src={mac},arp,arp_sha={mac},arp_spa={address} {accept}"
        for guest in self._remote(host):
            peer = str(guest.state.host)
            key, port = self._key(guest, host.name, peer)
            match = f"table=0,priority=10,in_port={port},tun_id={key}"
            if self.protected:
                source = self.lab.hosts[peer].spec.provider_address
                match += f",tun_src={source},dl_src={guest.state.mac}"
            yield f"{match} actions=set_field:{self.segment_of(guest)}->reg0,goto_table:1"

    def _delivery(self, host: Host) -> Iterator[str]:
        for guest in self._plugged():
            within = f",reg0={self.segment_of(guest)}" if self.protected else ""
            match = f"table=1,priority=10,dl_dst={guest.state.mac}{within}"
            yield f"{match} actions={self._send(host, guest)}"
        for segment in {self.segment_of(guest) for guest in self._plugged()}:
            members = [guest for guest in self._plugged() if self.segment_of(guest) == segment]
            local = [self._send(host, guest) for guest in members if guest.state.host == host.name]
            # One copy a host, not a guest.
            copies = {self._send(host, guest) for guest in members}
            match = f"dl_dst={EVERYONE},reg0={segment}"
            for port in PORTS.values():
                actions = ",".join(local) or "drop"
                yield f"table=1,priority=9,in_port={port},{match} actions={actions}"
            yield f"table=1,priority=8,{match} actions={','.join(sorted(copies))}"

    def _send(self, host: Host, guest: Guest) -> str:
        peer = str(guest.state.host)
        if peer == host.name:
            return f"output:{_port(host, guest)}"
        address = self.lab.hosts[peer].spec.provider_address
        key, port = self._key(guest, host.name, peer)
        return f"set_field:{key}->tun_id,set_field:{address}->tun_dst,output:{port}"

    def _key(self, guest: Guest, one: str, other: str) -> tuple[int, int]:
        encapsulation = self.tunnels[frozenset((one, other))]
        # RFC 7637 section 3.2: the key is the VSID and eight bits of flow identifier.
        shift = 8 if encapsulation == "nvgre" else 0
        return self.segment_of(guest) << shift, PORTS[encapsulation]

    def _plugged(self) -> list[Guest]:
        return [guest for guest in self.lab.guests.values() if guest.state.host is not None]

    def _local(self, host: Host) -> list[Guest]:
        return [guest for guest in self._plugged() if guest.state.host == host.name]

    def _remote(self, host: Host) -> list[Guest]:
        return [guest for guest in self._plugged() if guest.state.host != host.name]


def _port(host: Host, guest: Guest) -> str:
    return host.switch.vsctl("get", "Interface", guest.host_interface, "ofport").strip()
