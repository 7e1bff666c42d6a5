# SPDX-License-Identifier: Apache-2.0
"""Which interface of a host's switch is which port (`policy.placement`), among all that is in an
engine, and for a unit that reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from isthmus.derive.engine import Engine, Read
from isthmus.host.facts import LocalPort
from isthmus.host.indexes import PORTS_BY_PROFILE
from isthmus.policy.placement import interface_of, port_of
from isthmus.policy.rows import Port


def interface_in(engine: Engine, port: Port) -> LocalPort | None:
    """The interface that is a port."""
    return interface_of(port, engine.rows(LocalPort).get, engine.rows(Port).get)


def interface_read(port: Port, read: Read) -> LocalPort | None:
    """The same in a unit."""
    return interface_of(port, partial(read.get, LocalPort), partial(read.get, Port))


def port_named(name: str, engine: Engine) -> Port | None:
    """The port that an interface of that name is."""
    ports, entry = engine.rows(Port), engine.entry(PORTS_BY_PROFILE, name)
    return port_of(name, ports.get, lambda _: (ports[key] for key in entry))


def port_read(name: str, read: Read) -> Port | None:
    """The same in a unit."""
    return port_of(name, partial(read.get, Port), partial(_of_profile, read))


def _of_profile(read: Read, name: str) -> Iterator[Port]:
    for key in read.find(PORTS_BY_PROFILE, name):
        port = read.get(Port, key)
        if port is not None:
            yield port
