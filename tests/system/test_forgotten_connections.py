# SPDX-License-Identifier: Apache-2.0
"""Connections of which the two ends, or a switch between them, know different things: TCP's own
means to agree again must come through, and nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count

import pytest

from isthmus_lab import packets
from isthmus_lab.namespaces import entered
from tests.system import cloud as clouds
from tests.system.cloud import (
    FAMILIES,
    LONGEST_S,
    Frame,
    Nic,
    Plan,
    RunningCloud,
    access_control_list,
    arrivals,
    rule,
    to,
    virtual_network,
)
from tests.system.conversations import TCP_PORT, UDP_PORT, Conversation, says
from tests.system.echoes import ECHO, echo

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

ECHOES_OUT = (
    rule("ICMPv4", icmpType=8, icmpCode=0, type="Outbound"),
    rule("ICMPv6", icmpType=128, icmpCode=0, type="Outbound"),
)
SERVED = (rule("TCP", str(TCP_PORT)), rule("UDP", str(UDP_PORT)), *ECHO, *ECHOES_OUT)
LISTS = (
    access_control_list("asks", *ECHO),
    access_control_list("serves", *SERVED, outbound="Deny"),
    access_control_list("speaks", rule("UDP"), rule("TCP"), *ECHO),
)
WITH_STACKS = (
    Plan("asker", "h1", ((10, "asks"),)),
    Plan("near", "h1", ((11, "serves"),)),
    Plan("far", "h2", ((12, "serves"),)),
)
SILENT = (
    Plan("sender", "h1", ((20, "asks"),)),
    Plan("beside", "h1", ((21, "serves"),)),
    Plan("beyond", "h2", ((22, "serves"),)),
)
"""Of these, no stack answers to what comes."""

each_server = pytest.mark.parametrize("server", ["near", "far"])
each_silent = pytest.mark.parametrize("server", ["beside", "beyond"])
each_family = pytest.mark.parametrize("family", FAMILIES)

SEGMENT, RESET, SYN_ACK = 0x18, 0x04, 0x12
TCP_REPAIR = 19
"""Linux: a socket closed in this mode says nothing, as that of a machine that has lost power."""

PICKED_UP, BELOW, BEYOND = 5_000_000, 1_000, 1_000_000_000
"""Sequence numbers farther apart than any window that the tracker believes in: of a connection of
which it has seen one segment, and of one that both ends have spoken in."""

_ports = count(41000)


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with clouds.running_cloud() as made:
        made.furnish(*LISTS, virtual_network("red"), plans=(*WITH_STACKS, *SILENT))
        for plan in WITH_STACKS:
            made[plan.name].use_addresses()
        yield made


# -- what fits no connection that is known ---------------------------------------------------------


def segment(
    sender: Nic, receiver: Nic, family: int, ports: tuple[int, int], sequence: int, flags: int
) -> Frame:
    ends = sender.address(family), receiver.address(family)
    return lambda mark: to(
        sender, receiver, packets.tcp(*ends, ports, mark, sequence=sequence, flags=flags)
    )


def known(
    cloud: RunningCloud, server: str, family: int, *, is_answered: bool = False
) -> tuple[int, int]:
    """Ports of a connection of the silent sender's, of which one segment has been seen; or also
    one that answers it, and one that acknowledges that."""
    asking, asked, ports = cloud["sender"], cloud[server], (next(_ports), TCP_PORT)
    seen = [(asking, asked, ports, PICKED_UP)]
    if is_answered:
        seen += [(asked, asking, ports[::-1], BELOW), (asking, asked, ports, PICKED_UP)]
    for sender, receiver, way, sequence in seen:
        one = segment(sender, receiver, family, way, sequence, SEGMENT)
        assert arrivals(sender, receiver, {"one": one}, {"one"}) == {"one"}
    return ports


@each_family
@each_silent
@pytest.mark.parametrize("flags", [SEGMENT, RESET, packets.SYN], ids=["data", "RST", "SYN"])
def test_what_the_rules_let_be_asked_arrives_though_it_fits_no_window(
    cloud: RunningCloud, server: str, family: int, flags: int
) -> None:
    """What was lost before the connection was picked up; RFC 9293 section 3.5.1."""
    ends = cloud["sender"], cloud[server]
    # The tracker takes a SYN after one segment for one that is sent again.
    ports = known(cloud, server, family, is_answered=flags == packets.SYN)
    for_it = segment(*ends, family, ports, BELOW, flags)
    assert arrivals(*ends, {"again": for_it}, {"again"}) == {"again"}


@each_family
@each_silent
def test_nothing_else_that_fits_no_connection_arrives(
    cloud: RunningCloud, server: str, family: int
) -> None:
    """Neither from the end that may ask nothing, nor what can open no connection, nor what is
    damaged."""
    asking, asked = cloud["sender"], cloud[server]
    ours = known(cloud, server, family, is_answered=True)
    answers = {
        f"answer {flags:#x}": segment(asked, asking, family, ours[::-1], BEYOND, flags)
        for flags in (SEGMENT, RESET, packets.SYN, SYN_ACK)
    }
    told = {"witness": echo(asked, asking, family)}
    assert arrivals(asked, asking, answers | told, told) == set(told)
    wrong = {
        "SYN-ACK": segment(asking, asked, family, ours, BEYOND, SYN_ACK),
        "no flags": segment(asking, asked, family, ours, BEYOND, 0),
        "damaged": damaged(segment(asking, asked, family, ours, BEYOND, SEGMENT)),
    }
    told = {
        "whole": segment(asking, asked, family, ours, BEYOND, SEGMENT),
        "witness": echo(asking, asked, family),
    }
    assert arrivals(asking, asked, wrong | told, told) == set(told)


def damaged(frame: Frame) -> Frame:
    """With another byte of data than its checksum is of."""

    def built(mark: bytes) -> bytes:
        found = frame(b"!" + mark)
        assert isinstance(found, bytes)
        return found.replace(b"!" + mark, b"?" + mark)

    return built


# -- with stacks -----------------------------------------------------------------------------------


@each_family
@each_server
def test_a_client_that_forgot_its_connection_opens_it_again(
    cloud: RunningCloud, server: str, family: int
) -> None:
    """RFC 9293 section 3.5.1 and RFC 5961 section 4.2: the other end, for which it is open, answers
    the SYN with an acknowledgement, and the client, which knows of nothing, that with a reset."""
    asker, asked = cloud["asker"], cloud[server]
    address, port = asked.address(family), next(_ports)
    kind = socket.AF_INET if family == 4 else socket.AF_INET6

    def client() -> socket.socket:
        with entered(asker.guest.namespace):
            made = socket.socket(kind, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((asker.address(family), port))
        made.settimeout(LONGEST_S)
        return made

    with ExitStack() as stack:
        with entered(asked.guest.namespace):
            listener = stack.enter_context(socket.create_server((address, TCP_PORT), family=kind))
        listener.settimeout(LONGEST_S)
        first = client()
        first.connect((address, TCP_PORT))
        forgotten, _ = listener.accept()
        stack.enter_context(forgotten)
        assert says(first, forgotten, LONGEST_S)
        assert says(forgotten, first, LONGEST_S)
        first.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        first.close()
        # No machine is back sooner; until then the number of its SYN, which RFC 9293 section 3.4.1
        # takes from a clock, may still be within the window.
        time.sleep(1.0)
        again = stack.enter_context(client())
        again.connect((address, TCP_PORT))
        accepted, _ = listener.accept()
        stack.enter_context(accepted)
        assert says(again, accepted, LONGEST_S)
        assert says(accepted, again, LONGEST_S)


@each_family
@pytest.mark.parametrize(("host", "n_addresses"), [("h1", 1), ("h2", 1), ("h2", 2)])
def test_who_gets_the_address_of_a_deleted_port_inherits_no_connection(
    cloud: RunningCloud, host: str, n_addresses: int, family: int
) -> None:
    """On whatever host it was; and what a host forgets of one address, it keeps of others. Of more
    than a few addresses a switch is first asked which have connections."""
    asker, number = cloud["asker"], 60
    addresses = tuple((number + one, "serves") for one in range(n_addresses))
    cloud.furnish(plans=(Plan("old", host, addresses),))
    cloud["old"].use_addresses()
    with (
        Conversation(asker, cloud["old"], family) as ended,
        Conversation(asker, cloud["far"], family) as kept,
    ):
        port = ended.udp[0].getsockname()[1]
        remove(cloud, "old")
        cloud.furnish(plans=(Plan("new", host, ((number, "speaks"),)),))
        new = cloud["new"]
        ends = new.address(family), asker.address(family)
        sent: dict[str, Frame] = {
            name: partial(datagram, new, asker, ends, (UDP_PORT, to_port))
            for name, to_port in (("its predecessor's", port), ("nobody's", port + 1))
        }
        sent["TCP"] = segment(
            *(new, asker, family), (TCP_PORT, ended.tcp[0].getsockname()[1]), 1, SEGMENT
        )
        told = {"witness": echo(new, asker, family)}
        assert arrivals(new, asker, sent | told, told) == set(told)
        for client, server in (kept.tcp, kept.udp):
            assert says(server, client, LONGEST_S)


@pytest.fixture(autouse=True)
def _as_before(cloud: RunningCloud) -> Iterator[None]:
    yield
    for name in ("old", "new"):
        if name in cloud.nics:
            remove(cloud, name)


def datagram(
    sender: Nic, receiver: Nic, ends: tuple[str, str], ports: tuple[int, int], mark: bytes
) -> bytes:
    return to(sender, receiver, packets.udp(*ends, ports, mark))


def remove(cloud: RunningCloud, name: str) -> None:
    cloud.delete(f"/networkInterfaces/{name}")
    cloud.lab.remove_guest(cloud.nics.pop(name).guest)


class Upload:
    """As much as the client can send, until the block ends."""

    def __init__(self, client: Nic, server: Nic, family: int) -> None:
        conversation = Conversation(client, server, family)
        for end in conversation.udp:
            end.close()
        self._client, self._server = conversation.tcp
        self._client.settimeout(None)
        self._server.settimeout(None)
        self.n_arrived = 0
        self._threads = [
            threading.Thread(target=one, daemon=True) for one in (self._send, self._receive)
        ]

    def __enter__(self) -> Upload:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._client.close()
        self._server.close()

    def _send(self) -> None:
        with suppress(OSError):
            while True:
                self._client.sendall(b"isthmus." * 8192)

    def _receive(self) -> None:
        with suppress(OSError):
            while found := len(self._server.recv(1 << 18)):
                self.n_arrived += found

    def goes_on(self, wait_s: float) -> bool:
        before, end_s = self.n_arrived, time.monotonic() + wait_s
        while time.monotonic() < end_s:
            if self.n_arrived > before + 1_000_000:
                return True
            time.sleep(0.05)
        return False


@each_family
def test_an_upload_goes_on_when_its_sender_moves(cloud: RunningCloud, family: int) -> None:
    """Also where what the new host sees first is not the first that was lost on the way."""
    asker, stalled = cloud["asker"], 0
    for _ in range(5):
        with Upload(asker, cloud["far"], family) as upload:
            assert upload.goes_on(LONGEST_S)
            cloud.lab.move(asker.guest, cloud.lab.host("h3"))
            # A minute and more, where the tracker refuses what is sent again.
            stalled += not upload.goes_on(15.0)
        cloud.lab.move(asker.guest, cloud.lab.host("h1"))
        cloud.settle()
    assert stalled == 0
