# SPDX-License-Identifier: Apache-2.0
"""The OpenFlow connection against a switch that is too old, silent, confused or hostile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from isthmus.errors import Broken, Unavailable
from isthmus.switches.ovs.apply import Refusal, apply
from isthmus.switches.ovs.connection import Connection
from isthmus.wire import openflow as of
from isthmus.wire import oxm
from isthmus.wire.malformed import Malformed
from isthmus.wire.openflow_packets import PacketIn
from tests.switches.real_switch import until
from tests.switches.scripted_switch import Part, error, scripted

BAD = of.Flow(0, 66, b"", b"", 0x66)


@asynccontextmanager
async def running(
    path: Path, received: list[PacketIn] | None = None, answer_s: float = 30.0
) -> AsyncIterator[Connection]:
    packets = [] if received is None else received
    connection = Connection(
        path, on_connected=lambda: None, on_packet_in=packets.append, answer_s=answer_s
    )
    task = asyncio.create_task(connection.run())
    try:
        yield connection
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def once(kind: int, answer: bytes) -> Part:
    """Sends `answer` on the first message of a type."""
    answers = [answer]
    return lambda message: answers.pop() if message.type == kind and answers else None


def test_a_switch_without_openflow_1_4_is_not_connected_until_it_has_it(tmp_path: Path) -> None:
    old = once(of.Type.HELLO, b"\x04\x00\x00\x08\x00\x00\x00\x01")

    async def steps() -> None:
        async with scripted(tmp_path / "s", old), running(tmp_path / "s") as connection:
            await until(lambda: bool(connection.refusal))
            assert connection.refusal == "the switch does not speak OpenFlow 1.4"
            await until(lambda: connection.connected)
            assert connection.counters.connects == 1
            assert connection.refusal == ""

    asyncio.run(steps())


def test_a_switch_that_refuses_the_greeting_is_asked_again(tmp_path: Path) -> None:
    refusals = [True, True]

    def part(message: of.Message) -> bytes | None:
        if message.type == of.Type.SET_ASYNC and refusals:
            refusals.pop()
            return error(message.xid, 15, 1)
        return None

    async def steps() -> None:
        async with scripted(tmp_path / "s", part), running(tmp_path / "s") as connection:
            await until(lambda: connection.connected)
        assert refusals == []

    asyncio.run(steps())


def test_bytes_that_are_no_openflow_end_the_connection_and_are_counted(tmp_path: Path) -> None:
    part = once(of.Type.MULTIPART_REQUEST, b"GET / HTTP/1.1\r\n" + bytes(100))

    async def steps() -> None:
        async with scripted(tmp_path / "s", part), running(tmp_path / "s") as connection:
            await until(lambda: connection.connected)
            with pytest.raises(Unavailable):
                await connection.dump_flows()
            await until(lambda: connection.connected and connection.counters.connects == 2)
            assert connection.counters.malformed == 1

    asyncio.run(steps())


def test_a_malformed_packet_in_is_passed_over(tmp_path: Path) -> None:
    head = b"\x00\x00\x23\x20\x00\x00\x00\x1e"
    bad = of.message(of.Type.EXPERIMENTER, 0, head + b"\x00\x00\x00\x03")
    good = of.message(of.Type.EXPERIMENTER, 0, head + b"\x00\x00\x00\x06ab\x00\x00")
    part = once(of.Type.SET_ASYNC, bad + good)
    received: list[PacketIn] = []

    async def steps() -> None:
        async with scripted(tmp_path / "s", part), running(tmp_path / "s", received) as connection:
            await until(lambda: connection.connected)
            assert connection.counters.malformed == 1

    asyncio.run(steps())
    assert [packet.packet for packet in received] == [b"ab"]


def test_an_answer_that_cannot_be_read_is_malformed(tmp_path: Path) -> None:
    def part(message: of.Message) -> bytes | None:
        if message.type != of.Type.MULTIPART_REQUEST:
            return None
        return of.message(of.Type.MULTIPART_REPLY, message.xid, bytes(8) + b"not flows")

    async def steps() -> None:
        async with scripted(tmp_path / "s", part), running(tmp_path / "s") as connection:
            await until(lambda: connection.connected)
            with pytest.raises(Malformed):
                await connection.dump_flows()
            assert connection.connected

    asyncio.run(steps())


def test_an_error_in_answer_to_a_question_is_named(tmp_path: Path) -> None:
    def part(message: of.Message) -> bytes | None:
        return error(message.xid, 1, 5) if message.type == of.Type.MULTIPART_REQUEST else None

    async def steps() -> None:
        async with scripted(tmp_path / "s", part), running(tmp_path / "s") as connection:
            await until(lambda: connection.connected)
            with pytest.raises(Broken, match="OFPBRC_EPERM"):
                await connection.dump_meters()

    asyncio.run(steps())


def test_a_switch_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    silent = once(of.Type.MULTIPART_REQUEST, b"")

    async def steps() -> None:
        async with (
            scripted(tmp_path / "s", silent),
            running(tmp_path / "s", answer_s=1.0) as connection,
        ):
            await until(lambda: connection.connected)
            with pytest.raises(Unavailable, match=r"did not answer in 1 s"):
                await connection.dump_flows()
            await until(lambda: connection.connected and connection.counters.connects == 2)

    asyncio.run(steps())


def test_echo_requests_are_answered(tmp_path: Path) -> None:
    replies: list[of.Message] = []

    def part(message: of.Message) -> bytes | None:
        if message.type == of.Type.ECHO_REPLY:
            replies.append(message)
        return of.echo_request(77, b"still there?") if message.type == of.Type.SET_ASYNC else None

    async def steps() -> None:
        async with scripted(tmp_path / "s", part), running(tmp_path / "s") as connection:
            await until(lambda: connection.connected and bool(replies))

    asyncio.run(steps())
    assert [(reply.xid, reply.body) for reply in replies] == [(77, b"still there?")]


def test_a_bundle_that_fails_without_a_culprit_is_halved_until_it_is_found(tmp_path: Path) -> None:
    """A bundle with a bad member fails as a whole."""
    open_members: dict[int, list[int]] = {}
    committed: list[int] = []

    def part(message: of.Message) -> bytes | None:
        bundle = int.from_bytes(message.body[:4], "big")
        if message.type == of.Type.BUNDLE_ADD:
            cookie = int.from_bytes(message.body[16:24], "big")
            open_members.setdefault(bundle, []).append(cookie)
        elif message.type == of.Type.BUNDLE_CONTROL and message.body[5] == of.Bundle.COMMIT_REQUEST:
            members = open_members.pop(bundle)
            if BAD.cookie in members:
                return error(message.xid, 17, 13)
            committed.extend(members)
        elif message.type == of.Type.FLOW_MOD:  # one alone
            cookie = int.from_bytes(message.body[:8], "big")
            if cookie == BAD.cookie:
                return error(message.xid, 4, 9)
            committed.append(cookie)
        return None

    good = [of.Flow(0, n, oxm.match(oxm.reg(0, n)), b"", n) for n in range(20)]

    async def steps() -> None:
        async with scripted(tmp_path / "s", part), running(tmp_path / "s") as connection:
            await until(lambda: connection.connected)
            refusals = await apply(connection, [*good[:7], BAD, *good[7:]])
            assert refusals == (Refusal(BAD, "OFPBMC_BAD_PREREQ"),)

    asyncio.run(steps())
    assert committed == [flow.cookie for flow in good]


def test_a_bundle_of_which_a_member_is_refused_is_discarded(tmp_path: Path) -> None:
    controls: list[tuple[int, int]] = []

    def part(message: of.Message) -> bytes | None:
        bundle = int.from_bytes(message.body[:4], "big")
        if message.type == of.Type.BUNDLE_CONTROL:
            controls.append((bundle, message.body[5]))
        elif message.type == of.Type.BUNDLE_ADD and message.body[23] == BAD.cookie:
            return error(message.xid, 4, 9)
        return None

    async def steps() -> None:
        async with scripted(tmp_path / "s", part), running(tmp_path / "s") as connection:
            await until(lambda: connection.connected)
            good = [of.Flow(0, n, b"", b"", n) for n in (1, 2)]
            assert await apply(connection, [*good, BAD]) == (Refusal(BAD, "OFPBMC_BAD_PREREQ"),)

    asyncio.run(steps())
    first, second = sorted({bundle for bundle, _ in controls})
    assert controls == [
        (first, of.Bundle.OPEN_REQUEST),
        (first, of.Bundle.DISCARD_REQUEST),
        (second, of.Bundle.OPEN_REQUEST),
        (second, of.Bundle.COMMIT_REQUEST),
    ]


def test_a_switch_that_has_no_room_for_bundles_is_unavailable(tmp_path: Path) -> None:
    def part(message: of.Message) -> bytes | None:
        return error(message.xid, 17, 5) if message.type == of.Type.BUNDLE_CONTROL else None

    async def steps() -> None:
        async with scripted(tmp_path / "s", part), running(tmp_path / "s") as connection:
            await until(lambda: connection.connected)
            with pytest.raises(Unavailable, match="OFPBFC_OUT_OF_BUNDLES"):
                await apply(connection, [BAD, BAD])

    asyncio.run(steps())
