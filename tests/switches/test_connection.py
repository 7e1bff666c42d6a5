# SPDX-License-Identifier: Apache-2.0
"""The OpenFlow connection against a real Open vSwitch."""

from __future__ import annotations

import asyncio
import socket

import pytest

from isthmus.errors import Unavailable
from isthmus.switches.ovs.apply import apply
from isthmus.wire import openflow as of
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm
from isthmus.wire.openflow import Flow, Meter
from isthmus.wire.openflow_packets import REASON_ACTION, PacketIn
from isthmus.wire.openflow_replies import InstalledFlow, MeterStats, PortConfig
from isthmus.wire.openflow_text import flow_text
from tests.switches.real_switch import BRIDGE, RealSwitch, connected, until
from tests.wire.every_flow import METERS, every_flow, printed_line

pytestmark = pytest.mark.system

FRAME = bytes.fromhex("ffffffffffff 020000000001 0800") + bytes(50)


def test_ovs_ofctl_prints_every_field_and_action_as_we_mean_it(switch: RealSwitch) -> None:
    cases = every_flow()

    async def install() -> None:
        async with connected(switch) as connection:
            refused = await apply(connection, [case.flow for case in cases], meters=METERS)
            assert [refusal.text for refusal in refused] == []

    asyncio.run(install())
    printed = switch.ofctl("dump-flows", BRIDGE, "--no-stats").splitlines()
    assert {line.strip() for line in printed} == {printed_line(case) for case in cases}


def test_the_switch_gives_back_the_bytes_that_were_sent(switch: RealSwitch) -> None:
    cases = [case for case in every_flow() if case.same_bytes]

    async def there_and_back() -> list[InstalledFlow]:
        async with connected(switch) as connection:
            await apply(connection, [case.flow for case in cases], meters=METERS)
            return await connection.dump_flows()

    installed = asyncio.run(there_and_back())
    assert {found.flow for found in installed} == {case.flow for case in cases}


def test_ovs_ofctl_reads_the_same_flows_from_our_text(switch: RealSwitch) -> None:
    cases = every_flow()

    async def meters_and_flows() -> set[Flow]:
        async with connected(switch) as connection:
            await apply(connection, [case.flow for case in cases], meters=METERS)
            return {found.flow for found in await connection.dump_flows()}

    async def flows() -> set[Flow]:
        async with connected(switch) as connection:
            return {found.flow for found in await connection.dump_flows()}

    sent = asyncio.run(meters_and_flows())
    switch.ofctl("del-flows", BRIDGE)
    text = "\n".join(flow_text(case.flow) for case in cases)
    switch.ofctl("add-flows", BRIDGE, "-", text=text)
    assert asyncio.run(flows()) == sent


def test_counters_and_cookies_are_read(switch: RealSwitch) -> None:
    ours, other = 0xABCDEF0000000001, 0x1234560000000001
    flows = [Flow(3, n, oxm.match(oxm.reg(0, n)), b"", ours if n % 2 else other) for n in range(9)]

    async def read() -> tuple[list[InstalledFlow], list[InstalledFlow], int]:
        async with connected(switch) as connection:
            await apply(connection, flows)
            everything = await connection.dump_flows()
            some = await connection.dump_flows(cookie=ours, mask=0xFFFFFF << 40)
            (table,) = [found for found in await connection.dump_tables() if found.table == 3]
            return everything, some, table.flows

    everything, some, in_table = asyncio.run(read())
    assert {found.flow for found in everything} == set(flows)
    assert {found.cookie for found in some} == {ours}
    assert len(some) == 4
    assert in_table == 9
    assert {(found.n_packets, found.n_bytes) for found in everything} == {(0, 0)}


def test_meters_are_read_as_they_were_set(switch: RealSwitch) -> None:
    meters = (Meter(1, rate=10, burst=20), Meter(2, rate=30_000, burst=3_000, kbps=True))

    async def there_and_back() -> list[Meter]:
        async with connected(switch) as connection:
            await apply(connection, meters=meters)
            return await connection.dump_meters()

    assert sorted(asyncio.run(there_and_back())) == sorted(meters)


def test_meters_tell_what_they_have_counted(switch: RealSwitch) -> None:
    async def there_and_back() -> list[MeterStats]:
        async with connected(switch) as connection:
            await apply(connection, meters=[Meter(3 << 16, rate=10, burst=20)])
            return await connection.dump_meter_stats()

    assert asyncio.run(there_and_back()) == [MeterStats(3 << 16, 0, 0)]


def test_a_packet_comes_in_with_userdata_and_registers_and_goes_out_again(
    switch: RealSwitch,
) -> None:
    switch.add_port("p1", 1)
    up = act.instructions(apply=(act.load(5001, oxm.REG[5]), act.controller(b"\x01\x02")))
    flow = Flow(0, 10, oxm.match(oxm.in_port(1)), up, 0x77)
    received: list[PacketIn] = []

    async def exchange() -> None:
        async with connected(switch, on_packet_in=received.append) as connection:
            await apply(connection, [flow])
            with switch.packet_socket("p1") as port:
                port.send(FRAME)
                await until(lambda: bool(received))
                connection.send_packet_out(received[0].packet[::-1], [act.output(1)])
                answer = await asyncio.to_thread(port.recv, 2000)
                assert answer == FRAME[::-1]
            assert connection.counters.unexpected_errors == 0

    asyncio.run(exchange())
    packet = received[0]
    assert packet.packet == FRAME
    assert (packet.in_port, packet.table, packet.cookie) == (1, 0, 0x77)
    assert (packet.reason, packet.userdata) == (REASON_ACTION, b"\x01\x02")
    assert packet.reg(5) == 5001
    assert packet.reg(6) == 0


def test_a_refused_packet_out_is_counted(switch: RealSwitch) -> None:
    async def send() -> None:
        async with connected(switch) as connection:
            connection.send_packet_out(FRAME, [act.load(1, oxm.REG[0], 31, 5)])
            await connection.barrier()
            assert connection.counters.unexpected_errors == 1
            assert connection.connected

    asyncio.run(send())


def test_neither_port_status_nor_flow_removed_comes(switch: RealSwitch) -> None:
    switch.ofctl("add-flow", BRIDGE, "send_flow_rem,actions=drop")
    with socket.socket(socket.AF_UNIX) as plain:
        plain.connect(str(switch.management_socket))
        plain.sendall(of.hello(1) + of.set_async(2, packet_in_reasons=1 << REASON_ACTION))
        assert _types_until_barrier(plain, 3) == {of.Type.HELLO, of.Type.BARRIER_REPLY}
        switch.add_port("p2", 2)
        switch.ofctl("del-flows", BRIDGE)
        assert _types_until_barrier(plain, 4) == {of.Type.BARRIER_REPLY}


def _types_until_barrier(plain: socket.socket, xid: int) -> set[int]:
    plain.sendall(of.barrier_request(xid))
    framer, types = of.Framer(), set[int]()
    while of.Type.BARRIER_REPLY not in types:
        types |= {message.type for message in framer.feed(plain.recv(65536))}
    return types


def test_after_a_restart_of_the_switch_the_owner_is_told_and_reads_an_empty_one(
    switch: RealSwitch,
) -> None:
    flow = Flow(0, 1, b"", b"", 7)
    connects: list[int] = []

    async def survive() -> list[InstalledFlow]:
        async with connected(switch, on_connected=lambda: connects.append(1)) as connection:
            await apply(connection, [flow])
            assert len(connects) == 1
            await asyncio.to_thread(switch.stop_forwarding)
            await until(lambda: not connection.connected)
            with pytest.raises(Unavailable):
                await connection.dump_flows()
            await asyncio.to_thread(switch.start_forwarding)
            await until(lambda: connection.connected)
            return await connection.dump_flows()

    assert asyncio.run(survive()) == []
    assert len(connects) == 2


def test_a_request_under_way_fails_when_the_switch_dies(switch: RealSwitch) -> None:
    async def die() -> None:
        async with connected(switch) as connection:
            flows = [Flow(0, n, oxm.match(oxm.reg(0, n)), b"", 7) for n in range(2000)]
            switch.halt_forwarding()  # so that it is surely still under way
            applying = asyncio.create_task(apply(connection, flows))
            await asyncio.sleep(0)
            await asyncio.to_thread(switch.stop_forwarding)
            with pytest.raises(Unavailable):
                await applying
        switch.start_forwarding()

    asyncio.run(die())


def test_without_a_switch_the_connection_waits_for_one(
    tmp_path: object, switch: RealSwitch
) -> None:
    switch.stop_forwarding()

    async def wait() -> None:
        started = asyncio.create_task(asyncio.to_thread(switch.start_forwarding))
        async with connected(switch) as connection:
            await connection.barrier()
        await started

    asyncio.run(wait())


def test_what_a_port_was_told_not_to_do_is_read_of_the_switch(switch: RealSwitch) -> None:
    switch.add_port("told", 77)
    switch.ofctl("mod-port", BRIDGE, "told", "no-receive")
    switch.ofctl("mod-port", BRIDGE, "told", "no-forward")

    async def ports() -> dict[int, PortConfig]:
        async with connected(switch) as connection:
            return {one.number: one.config for one in await connection.dump_ports()}

    try:
        assert asyncio.run(ports())[77] == PortConfig.NO_RECV | PortConfig.NO_FWD
    finally:
        switch.vsctl("del-port", BRIDGE, "told")
