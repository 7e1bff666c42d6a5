# SPDX-License-Identifier: Apache-2.0
"""Addresses and prefixes on the wire, in every form that clients write (MS-NCNBI section A.5)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address

from isthmus.addresses import mac_digits, parse_address, parse_mac, parse_prefix
from isthmus.errors import Invalid
from isthmus.intent.model import Json, JsonObject
from isthmus.intent.values import ValueType, shown, text_of


@dataclass(frozen=True, slots=True)
class MacAddress(ValueType):
    """A unicast MAC address: 12 upper-case hexadecimal digits, in pairs with dashes if `dashes`."""

    dashes: bool = False
    code: str = "InvalidPrivateMacAddress"

    def read(self, value: Json) -> str:
        try:
            digits = mac_digits(parse_mac(text_of(value)))
        except ValueError as error:
            raise Invalid(f"{error}.", code=self.code) from error
        return "-".join(digits[i : i + 2] for i in range(0, 12, 2)) if self.dashes else digits

    def schema(self) -> JsonObject:
        pattern = "^[A-F0-9]{2}(-[A-F0-9]{2}){5}$" if self.dashes else "^[A-F0-9]{12}$"
        return {"type": "string", "pattern": pattern}


@dataclass(frozen=True, slots=True)
class IpAddress(ValueType):
    """An IPv4 or IPv6 address in canonical text."""

    code: str = "InvalidIPAddress"

    def read(self, value: Json) -> str:
        try:
            address = parse_address(text_of(value))
        except ValueError as error:
            raise Invalid(f"{shown(value)} is not an IP address.", code=self.code) from error
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            raise Invalid(f"{shown(value)} has a scope; write the address alone.", code=self.code)
        return str(address)

    def schema(self) -> JsonObject:
        return {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}


@dataclass(frozen=True, slots=True)
class IpPrefix(ValueType):
    """A CIDR prefix in canonical text. One with host bits stands for its network: SDNExpress's
    samples send ``12.35.24.25/29``, Microsoft's documents have ``10.0.0.1/24``."""

    code: str = "InvalidIPPrefix"

    def read(self, value: Json) -> str:
        text = text_of(value)
        if "/" not in text or "%" in text:
            raise Invalid(
                f"{shown(value)} is not a prefix: write it as 10.0.0.0/24.", code=self.code
            )
        try:
            return str(parse_prefix(text, strict=False))
        except ValueError as error:
            raise Invalid(f"{shown(value)} is not a prefix: {error}.", code=self.code) from error

    def schema(self) -> JsonObject:
        return {"type": "string", "format": "cidr"}
