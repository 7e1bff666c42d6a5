# SPDX-License-Identifier: Apache-2.0
"""The rows of OVN's data bases that the benchmarks write or read: ovn-nb(5) and ovn-sb(5), with the
columns that are needed."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from isthmus.wire.ovsdb import RowId


class NbGlobal(msgspec.Struct, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "NB_Global"
    nb_cfg: int = 0
    hv_cfg: int = 0


class LogicalSwitch(msgspec.Struct, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Logical_Switch"
    name: str = ""
    ports: frozenset[RowId] = frozenset()


class LogicalSwitchPort(msgspec.Struct, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Logical_Switch_Port"
    name: str = ""
    type: str = ""
    addresses: tuple[str, ...] = ()
    port_security: tuple[str, ...] = ()
    options: dict[str, str] = {}


class LogicalRouter(msgspec.Struct, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Logical_Router"
    name: str = ""
    ports: frozenset[RowId] = frozenset()


class LogicalRouterPort(msgspec.Struct, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Logical_Router_Port"
    name: str = ""
    mac: str = ""
    networks: tuple[str, ...] = ()


class Acl(msgspec.Struct, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "ACL"
    priority: int = 0
    direction: str = "to-lport"
    match: str = ""
    action: str = "drop"


class Encap(msgspec.Struct, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Encap"
    type: str = "geneve"
    ip: str = ""
    chassis_name: str = ""


class Chassis(msgspec.Struct, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Chassis"
    name: str = ""
    hostname: str = ""
    encaps: frozenset[RowId] = frozenset()


class PortBinding(msgspec.Struct, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Port_Binding"
    logical_port: str = ""
    chassis: RowId | None = None


NORTH = (NbGlobal, LogicalSwitch, LogicalSwitchPort, LogicalRouter, LogicalRouterPort)
