# SPDX-License-Identifier: Apache-2.0
"""Which interface of a switch is which port: one names a port by its id, or by its profile id where
that is no other port's id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from isthmus.derive.engine import Engine, Key, Read
from isthmus.host.facts import LocalPort
from isthmus.host.indexes import PORTS_BY_PROFILE
from isthmus.policy.rows import Port


def interface_of(port: Port, engine: Engine) -> LocalPort | None:
    """The interface that names a port."""
    return _interface_of(port, engine.rows(LocalPort).get, engine.rows(Port).get)


def interface_read(port: Port, read: Read) -> LocalPort | None:
    """The same in a unit."""
    return _interface_of(
        port, lambda name: read.get(LocalPort, name), lambda name: read.get(Port, name)
    )


def port_named(name: str, engine: Engine) -> Port | None:
    """The port that an interface of that name is."""
    return _port_named(
        name, engine.rows(Port).get, lambda name: engine.entry(PORTS_BY_PROFILE, name)
    )


def port_read(name: str, read: Read) -> Port | None:
    """The same in a unit."""
    return _port_named(
        name, lambda key: read.get(Port, key), lambda name: read.find(PORTS_BY_PROFILE, name)
    )


def _interface_of(
    port: Port, interface: Callable[[str], LocalPort | None], known: Callable[[str], Port | None]
) -> LocalPort | None:
    found = interface(port.id)
    if found is None and port.profile_id and known(port.profile_id) is None:
        found = interface(port.profile_id)
    return found


def _port_named(
    name: str, known: Callable[[Key], Port | None], by_profile: Callable[[str], Iterable[Key]]
) -> Port | None:
    found = known(name)
    if found is None:
        first = min(by_profile(name), key=repr, default=None)
        found = known(first) if first is not None else None
    return found
