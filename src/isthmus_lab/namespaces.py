# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: make them, enter them, end them.

A socket belongs for good to the namespace of the thread that opened it, and a child process starts
in that of the thread that forked it. So everything in the lab that must happen "inside" a host or
a guest is done between entering and leaving, by the calling thread alone: nothing is forked to
open a socket, and other threads notice nothing.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyroute2 import netns

from isthmus.errors import NotFound, Unavailable

NETNS_DIRECTORY = Path("/run/netns")
"""Where ``ip netns`` keeps its names; ours stand beside them, so that ``ip netns exec`` works on
them.
"""

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def create(name: str) -> None:
    """Make the namespace, with loopback down as the kernel leaves it.

    Raises Unavailable when it exists or when the caller may not (root is needed).
    """
    if (NETNS_DIRECTORY / name).exists():
        raise Unavailable(
            f"network namespace {name} exists already: another lab of this name is up"
        )
    try:
        netns.create(name)
    except OSError as error:
        raise Unavailable(
            f"cannot make network namespace {name}: {error.strerror}; the lab needs root"
        ) from error


def delete(name: str) -> None:
    """Take the name away; the namespace itself ends with the last process or socket in it. Raises
    Unavailable when the caller may not."""
    if (NETNS_DIRECTORY / name).exists():
        try:
            netns.remove(name)
        except OSError as error:
            raise Unavailable(
                f"cannot remove network namespace {name}: {error.strerror}; the lab needs root"
            ) from error


def existing(prefix: str) -> list[str]:
    """Names that begin with `prefix`, sorted."""
    if not NETNS_DIRECTORY.is_dir():
        return []
    return sorted(path.name for path in NETNS_DIRECTORY.iterdir() if path.name.startswith(prefix))


@contextmanager
def entered(name: str) -> Iterator[None]:
    """Run the block with the calling thread in namespace `name`. Raises NotFound."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        inside = os.open(NETNS_DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        os.close(before)
        raise NotFound(f"there is no network namespace {name}: is the lab up?") from error
    try:
        _set_namespace(inside)
        yield
    finally:
        _set_namespace(before)
        os.close(inside)
        os.close(before)


def set_sysctl(name: str, path: str, value: str) -> None:
    """Write a setting of the namespace itself: `path` is relative to ``/proc/sys/net``."""
    with entered(name):
        Path("/proc/sys/net", path).write_text(value)


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise Unavailable(
            f"cannot enter a network namespace: {os.strerror(number)}; the lab needs root"
        )
