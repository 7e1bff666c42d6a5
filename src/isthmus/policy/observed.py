# SPDX-License-Identifier: Apache-2.0
"""What of a row can be believed: the border between what a host may write and what everybody else
computes with.

The store takes any text and any number of 64 bits. A host that is broken, of another version or in
the wrong hands can write a time in the year 60000, a provider address that is none, or a sequence
after which there is no higher one. Text of a column that is none of its values is left as it is by
the store (`policy.rows`). Whoever reads rows of the south store reads them through `believable`, so
that such a row harms the host that has written it and nobody else. A host in the wrong hands can
write desired rows and questions too (`policy.readable`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, ip_address
from typing import TypeVar, cast

import msgspec

from isthmus.addresses import mac_text, parse_mac
from isthmus.policy.readable import CHECKS, is_one
from isthmus.policy.rows import (
    Claim,
    Heartbeat,
    HostStatus,
    LearnedAddress,
    PortStatus,
    Probe,
    Query,
    Row,
)
from isthmus.policy.values import ClaimState, PortState
from isthmus.wire.encapsulations import Encapsulation

LAST_S = 253_402_300_799
"""The end of the year 9999, in seconds since the epoch: no calendar of ours goes further."""
LAST_US = LAST_S * 1_000_000
MOST_COUNT = 1 << 53
"""The largest number that every reader of JSON holds exactly (RFC 8259 section 6)."""
MOST_TEXT = 1000
"""Characters of a sentence that people are shown."""
MOST_ENTRIES = 1000
"""Of a set of texts."""
MOST_QUESTION = 1 << 16
"""Characters of a question: the longest names all peers of a host, of which there may be a thousand
(`agent.ovs.health`)."""

_R = TypeVar("_R", bound=Row)


def believable(row: _R) -> _R | None:
    """The row with what nobody can compute with taken out of it; None for one that then says
    nothing. A sound row is returned as it is.

    Numbers are brought into their range, texts to printable ones of bounded length. A claim, a
    status or an address pair is believed as a whole or not at all: half of one would say something
    that no host has said.
    """
    check = _CHECKS.get(type(row))
    if check is None:
        return row
    sound = check(row)
    if sound is None:
        return None
    changed = {name: value for name, value in sound.items() if getattr(row, name) != value}
    return msgspec.structs.replace(row, **changed) if changed else row


def _host_status(row: HostStatus) -> Mapping[str, object]:
    spoken = dict.fromkeys(row.encapsulations)
    return {
        "provider_addresses": tuple(filter(_is_provider_address, row.provider_addresses)),
        "encapsulations": tuple(one for one in spoken if is_one(one, Encapsulation)),
        "version": _plain(row.version),
        "switch_version": _plain(row.switch_version),
        "capabilities": _plain_set(row.capabilities),
        "instance": _plain(row.instance),
    }


def _heartbeat(row: Heartbeat) -> Mapping[str, object]:
    return {
        "at_s": _within(row.at_s, LAST_S),
        "probe": _within(row.probe, MOST_COUNT),
        "ports": _within(row.ports, MOST_COUNT),
        "flows": _within(row.flows, MOST_COUNT),
        "problems": _plain_set(row.problems),
    }


def _claim(row: Claim) -> Mapping[str, object] | None:
    if (
        not is_one(row.state, ClaimState)
        or not 0 <= row.sequence <= MOST_COUNT
        or not _is_provider_address(row.provider_address)
    ):
        return None
    return {"segment": _plain(row.segment)}


def _port_status(row: PortStatus) -> Mapping[str, object] | None:
    if not is_one(row.state, PortState):
        return None
    return {
        "segment": _plain(row.segment),
        "revision": _plain(row.revision),
        "code": _plain(row.code),
        "detail": _plain(row.detail),
        "closed": _plain_set(row.closed),
        "changed_us": _within(row.changed_us, LAST_US),
    }


def _learned_address(row: LearnedAddress) -> Mapping[str, object] | None:
    """Who has an address is decided among rows of the same text: another spelling of it would be
    another address. So addresses are canonical text (RFC 5952, without a zone of RFC 4007)."""
    try:
        address, mac = ip_address(row.address), parse_mac(row.mac)
    except ValueError:
        return None
    if "%" in row.address or str(address) != row.address or mac_text(mac) != row.mac:
        return None
    if not 0 <= row.sequence <= MOST_COUNT:
        return None
    return {name: _plain(getattr(row, name)) for name in ("host", "segment")}


def _probe(row: Probe) -> Mapping[str, object] | None:
    return {} if 0 <= row.number <= MOST_COUNT else None


def _query(row: Query) -> Mapping[str, object] | None:
    sound = len(row.question) <= MOST_QUESTION and len(row.id) <= MOST_TEXT and row.id.isprintable()
    return {} if sound else None


_CHECKS: Mapping[type[Row], Callable[[Row], Mapping[str, object] | None]] = CHECKS | {
    table: cast("Callable[[Row], Mapping[str, object] | None]", check)  # each is given its own type
    for table, check in (
        (HostStatus, _host_status),
        (Heartbeat, _heartbeat),
        (Claim, _claim),
        (PortStatus, _port_status),
        (LearnedAddress, _learned_address),
        (Probe, _probe),
        (Query, _query),
    )
}


@lru_cache(maxsize=4096)
def _is_provider_address(address: object) -> bool:
    """Whether a tunnel can lead there: so far, over IPv4 alone. Asked of each claim, and hosts are
    few."""
    return isinstance(address, IPv4Address) and not (
        address.is_multicast or address.is_unspecified or address.is_reserved
    )


def _within(number: int, most: int) -> int:
    return min(max(number, 0), most)


def plain(text: str, most: int) -> str:
    """The text for one line of a terminal, of at most so many characters: what cannot be printed
    becomes U+FFFD."""
    if len(text) <= most and text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:most])


def _plain(text: str) -> str:
    return plain(text, MOST_TEXT)


def _plain_set(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({_plain(text) for text in texts})[:MOST_ENTRIES])
