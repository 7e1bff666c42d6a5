# SPDX-License-Identifier: Apache-2.0
"""``ofproto/trace`` as questions and answers: pure text on both sides (ovs-vswitchd(8)).

The switch is asked twice where a packet goes through connection tracking: its trace does not fill
in the original tuple, on which rules look; so the second half starts anew at JUDGE, with the
registers that the first half ended with, as a new connection. In the time in which such a packet
may be taken for an answer (`begun`), what is said is whether it may open a connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from isthmus.switches.ovs.pipeline import DHCP_QUESTION, SHOWN_DROPS, Stage
from isthmus.switches.ovs.placing import Register
from isthmus.wire import oxm

_ENTRY = re.compile(r"^\s*(\d+)\. (.*?)priority (\d+)(?:, cookie (0x[0-9a-f]+))?\s*$")
_NO_MATCH = re.compile(r"^\s*(\d+)\. No match")
_OUTPUT = re.compile(r"-> output port is (\d+)|^\s*output:(\d+)")
_FINAL = re.compile(r"^Final flow: (.*)$", re.MULTILINE)
_FLOW = re.compile(r"^Flow: (.*)$", re.MULTILINE)
_TP = re.compile("^tp_")
_UP = re.compile(r"^(?:CONTROLLER|controller)\b.*\buserdata=([0-9a-f.]+)")
_TRACKED = re.compile(r"ct\(.*table=")
_PEER = re.compile(r"set_field:([0-9.]+)->tun_dst")

PORTED = {"tcp": 6, "udp": 17, "sctp": 132, "tcp6": 6, "udp6": 17, "sctp6": 132}


class Entry(NamedTuple):
    """One flow that a packet has met. `cookie` is 0 where there was none."""

    stage: str
    priority: int
    cookie: int
    actions: tuple[str, ...]


class Traced(NamedTuple):
    """Where a packet went on one host: ``port``, ``tunnel``, ``answered`` (back to where it came
    from), ``controller`` (the agent answers by DHCP), ``tracked`` (to be asked on) or
    ``dropped``."""

    outcome: str
    entries: tuple[Entry, ...]
    port: int
    peer: str
    fields: Mapping[str, str]
    """Of the packet at the end, as the switch writes them."""


def first_question(bridge: str, fields: Mapping[str, str]) -> tuple[str, Sequence[str]]:
    """The command and its arguments for a packet with those fields."""
    return "ofproto/trace", (bridge, _text(fields))


def second_question(bridge: str, fields: Mapping[str, str]) -> tuple[str, Sequence[str]]:
    """For the packet after connection tracking, which has not seen its connection before."""
    # What it says of tunnels it cannot read, and nothing looks at them any more.
    kept = {n: v for n, v in fields.items() if not n.startswith(("tun_", "gtpu_", "vlan_"))}
    tracked = {"ct_state": "new|trk", **kept}
    source, destination = ("ipv6_src", "ipv6_dst") if "ipv6_src" in fields else ("nw_src", "nw_dst")
    prefix = "ct_ipv6" if "ipv6_src" in fields else "ct_nw"
    tracked[f"{prefix}_src"], tracked[f"{prefix}_dst"] = fields[source], fields[destination]
    tracked["ct_nw_proto"] = str(_protocol(fields))
    first, second = ("tp_src", "tp_dst") if "tp_src" in fields else ("icmp_type", "icmp_code")
    tracked["ct_tp_src"], tracked["ct_tp_dst"] = fields.get(first, "0"), fields.get(second, "0")
    return "ofproto/trace-packet-out", (
        bridge,
        _text(tracked),
        f"resubmit(,{Stage.JUDGE.value})",
    )


def read(text: str, in_port: str) -> Traced:
    """What the switch has said of the first pass."""
    first = text.split("\n====", 1)[0]
    entries = _entries(first)
    fields = _fields(first)
    for place, entry in enumerate(entries):
        if entry.stage == Stage.ANSWER.name and any(map(_TRACKED.match, entry.actions)):
            # It may open no connection: that it may answer one is another question.
            entries, fields = entries[:place], _fields(_FINAL.sub("", first))
            break
    actions = [action for entry in entries for action in entry.actions]
    outcome, port, peer = "dropped", 0, ""
    for action in actions:
        found = _OUTPUT.search(action)
        if _TRACKED.match(action):
            outcome = "tracked"
        elif found is not None:
            outcome, port = "port", int(found[1] or found[2])
        elif action.startswith(("IN_PORT", "in_port")):
            outcome, port = "answered", int(in_port)
        elif (found := _UP.match(action)) is not None:
            # Of what else comes up to the agent, it only hears: also of what is dropped.
            if bytes.fromhex(found[1].replace(".", "")) == DHCP_QUESTION:
                outcome = "controller"
        elif (found := _PEER.search(action)) is not None:
            peer = found[1]
    if peer and outcome == "port":
        outcome = "tunnel"
    return Traced(outcome, entries, port, peer, fields)


def register(fields: Mapping[str, str], register: Register) -> int:
    """What a packet has in a register, by its fields as the switch writes them."""
    found = {one: int(fields.get(one.text, "0"), 0) for one in oxm.REG}
    return register.of(found)


def _entries(text: str) -> tuple[Entry, ...]:
    found: list[Entry] = []
    has_begun, foreign = False, -1
    for line in text.splitlines():
        inwards = len(line) - len(line.lstrip())
        if line.startswith("bridge(", inwards):
            # The second is the way of a tunnel packet on the underlay's bridge, further in where
            # ours goes on after it (a broadcast).
            foreign = inwards if has_begun else -1
            has_begun = True
        elif foreign >= 0 and line.strip() and inwards < foreign:
            foreign = -1
        if foreign >= 0:
            continue
        match = _ENTRY.match(line)
        missed = _NO_MATCH.match(line)
        if match is not None:
            table, _, priority, cookie = match.groups()
            entry = Entry(_stage(int(table)), int(priority), int(cookie or "0", 16), ())
            found.append(entry)
        elif missed is not None:
            found.append(Entry(_stage(int(missed[1])), -1, 0, ("drop",)))
        elif found and line.startswith(" "):
            found[-1] = found[-1]._replace(actions=(*found[-1].actions, line.strip()))
    # Whether somebody is shown what was dropped is no part of the way.
    return tuple(entry for entry in found if entry.stage != str(SHOWN_DROPS))


def _fields(text: str) -> dict[str, str]:
    final = _FINAL.search(text)
    if final is None or final[1] == "unchanged":
        final = _FLOW.search(text)
    found = {}
    for part in (final[1] if final else "").split(","):
        name, is_valued, value = part.partition("=")
        found[name] = value if is_valued else ""
    return {name: value for name, value in found.items() if name not in ("recirc_id", "eth")}


def _protocol(fields: Mapping[str, str]) -> int:
    for name, number in {**PORTED, "icmp": 1, "icmp6": 58}.items():
        if name in fields:
            return number
    return int(fields.get("nw_proto", "0"))


def _text(fields: Mapping[str, str]) -> str:
    if "icmp6" in fields:
        # The switch writes icmp_type of ICMPv6 too, and does not read it.
        fields = {name.replace("icmp_", "icmpv6_"): value for name, value in fields.items()}
    protocol = next((name.removesuffix("6") for name in PORTED if name in fields), "")
    if protocol:
        # Likewise: it writes tp_src of all, and reads it of TCP and of UDP over IPv4.
        fields = {_TP.sub(f"{protocol}_", name): fields[name] for name in fields}
    return ",".join(f"{name}={value}" if value else name for name, value in fields.items())


def _stage(table: int) -> str:
    return Stage(table).name if table in Stage._value2member_map_ else str(table)
