# SPDX-License-Identifier: Apache-2.0
"""What a rule of an access control list matches, as clients write it (MS-NCNBI section B.1):
protocols, port ranges, address prefixes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from isthmus.addresses import parse_prefix
from isthmus.errors import Invalid
from isthmus.intent.model import Json, JsonObject
from isthmus.intent.values import Integer, ValueType, shown, text_of

ANY = "*"
DEFAULT_TAGS = ("VIRTUALNETWORK", "INTERNET", "AZURELOADBALANCER")
"""Prefixes by name: the virtual network's address space with its peers', all else, and the
distributed router, from where load balancers probe."""

HIGHEST_PORT = 65535

NUMBER_OF_PROTOCOL = {
    "TCP": 6,
    "UDP": 17,
    "HTTP": 6,
    "ICMPv4": 1,
    "ICMPv6": 58,
}
"""IANA protocol numbers of the names that the standard has; HTTP is TCP."""

_STANDARD = {name.lower(): name for name in ("All", *NUMBER_OF_PROTOCOL)}
_EXTENDED = {"icmp": "ICMPv4", "sctp": "132", "*": "All"}
_BY_NUMBER = {"6": "TCP", "17": "UDP", "1": "ICMPv4", "58": "ICMPv6"}
_RANGE = re.compile(r"\s*(\d{1,5})\s*(?:-\s*(\d{1,5})\s*)?\Z")


@dataclass(frozen=True, slots=True)
class Protocol(ValueType):
    """All, TCP, UDP, HTTP, ICMPv4, ICMPv6; by our extension aclRuleAnyProtocol also an IP protocol
    number from 0 to 255, which a controller without it refuses rather than misunderstands."""

    extension = "aclRuleAnyProtocol"

    def read(self, value: Json) -> str:
        word = text_of(value).strip().lower()
        name = _STANDARD.get(word) or _EXTENDED.get(word)
        if name is not None:
            return name
        if word.isdecimal() and len(word) <= 3 and int(word) <= 255:
            number = str(int(word))
            return _BY_NUMBER.get(number, number)
        raise Invalid(
            f"{shown(value)} is not one of {', '.join(_STANDARD.values())}, nor an IP protocol"
            " number from 0 to 255.",
            code="InvalidAclRuleProtocol",
        )

    def schema(self) -> JsonObject:
        return {
            "anyOf": [
                {"type": "string", "enum": [*_STANDARD.values()]},
                {"type": "string", "pattern": "^[0-9]{1,3}$"},
            ]
        }


def protocol_number(protocol: str) -> int | None:
    """The IP protocol number of a canonical `Protocol`; None for all."""
    if protocol == "All":
        return None
    return NUMBER_OF_PROTOCOL.get(protocol) or int(protocol)


@dataclass(frozen=True, slots=True)
class Priority(Integer):
    """A number, as text on the wire; all that is none has the code of the specification."""

    def read(self, value: Json) -> int:
        try:
            return Integer.read(self, value)
        except Invalid as error:
            error.code = self.code
            raise


@dataclass(frozen=True, slots=True)
class PortRange(ValueType):
    """``*``, ``80`` or ``80-81``. Every client writes ``0-65535`` for all, so 0 is taken."""

    code: str

    def read(self, value: Json) -> str:
        text = text_of(value).strip()
        if text == ANY:
            return ANY
        found = _RANGE.match(text)
        if found is not None:
            first, last = int(found[1]), int(found[2] or found[1])
            if first <= last <= HIGHEST_PORT:
                return f"{first}-{last}" if found[2] else str(first)
        raise Invalid(f"{shown(value)} is no range of ports: {_PORT_RULE}.", code=self.code)

    def schema(self) -> JsonObject:
        return {"type": "string", "pattern": r"^(\*|[0-9]{1,5}(-[0-9]{1,5})?)$"}


_PORT_RULE = f"write 80, 80-90 or {ANY}, up to {HIGHEST_PORT}"


def ports(text: str) -> tuple[int, int]:
    """First and last of a canonical `PortRange`."""
    if text == ANY:
        return 0, HIGHEST_PORT
    first, _, last = text.partition("-")
    return int(first), int(last or first)


_ADDRESS_FORMATS: list[Json] = [{"format": name} for name in ("cidr", "ipv4", "ipv6")]


@dataclass(frozen=True, slots=True)
class RulePrefix(ValueType):
    """A CIDR prefix (one with host bits stands for its network, as in `IpPrefix`), an address,
    ``*``, or one of `DEFAULT_TAGS`."""

    code: str

    def read(self, value: Json) -> str:
        text = text_of(value).strip()
        if text == ANY or text.upper() in DEFAULT_TAGS:
            return text.upper()
        if "%" not in text:
            try:
                return str(parse_prefix(text, strict=False))
            except ValueError:
                pass
        raise Invalid(f"{shown(value)} is no address prefix: {_PREFIX_RULE}.", code=self.code)

    def schema(self) -> JsonObject:
        words: Json = {"enum": [ANY, *DEFAULT_TAGS]}
        return {"type": "string", "anyOf": [words, *_ADDRESS_FORMATS]}


_PREFIX_RULE = f"write 10.0.0.0/24, 10.0.0.5, {ANY} or one of {', '.join(DEFAULT_TAGS)}"


@dataclass(frozen=True, slots=True)
class RuleAddress(ValueType):
    """An address or a prefix, of either family; an address is a prefix of full length. Host bits
    must be zero: that a guest may use a whole network is said in so many words."""

    def read(self, value: Json) -> str:
        text = text_of(value).strip()
        if "%" not in text:
            try:
                return str(parse_prefix(text))
            except ValueError:
                pass
        raise Invalid(
            f"{shown(value)} is no address: write 10.0.0.5, or 10.0.0.0/24 with host bits zero.",
            code="InvalidIPAddress",
        )

    def schema(self) -> JsonObject:
        return {"type": "string", "anyOf": _ADDRESS_FORMATS}
