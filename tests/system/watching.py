# SPDX-License-Identifier: Apache-2.0
"""`isthmus watch` as a process, and packets for it to see."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

from isthmus_lab import packets, processes
from isthmus_lab.daemon import start_process
from isthmus_lab.northbound import Resource
from tests.system import cloud as clouds
from tests.system.cloud import RunningCloud, to, until

OUTSIDE = {4: "192.0.2.1", 6: "2001:db8::1"}
_numbers = count(1)


def url_of(cloud: RunningCloud) -> str:
    return f"unix:{processes.rest_socket(cloud.lab.run_directory)}"


class Watching:
    """`isthmus watch` as a process; what it has said so far."""

    def __init__(self, cloud: RunningCloud, *arguments: str) -> None:
        self._file = cloud.lab.run_directory / f"watch-{next(_numbers)}.log"
        command = [*processes.ISTHMUS, "watch", *arguments, "--json", "--url", url_of(cloud)]
        self.process = start_process(
            command,
            run_directory=cloud.lab.run_directory,
            log=self._file,
            environment={"PYTHONUNBUFFERED": "1"},
        )

    @property
    def text(self) -> str:
        """Whole lines."""
        return self._file.read_text().rpartition("\n")[0]

    @property
    def said(self) -> list[dict[str, Any]]:
        """Without what is said on the side."""
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait()


@contextmanager
def watching(cloud: RunningCloud, *arguments: str) -> Iterator[Watching]:
    made = Watching(cloud, *arguments)
    try:
        yield made
    finally:
        made.end(signal.SIGKILL)


def sent_up(cloud: RunningCloud, host: str) -> list[str]:
    """The flows of a host that send packets to its agent, without what they have counted."""
    flows = cloud.lab.host(host).switch.ofctl("dump-flows", "br-int", "--no-stats").splitlines()
    return sorted(flow.strip() for flow in flows if "controller(" in flow)


Sent = Callable[[], None]


def datagram(
    cloud: RunningCloud, sender: str, receiver: str, port: int, *, source: str = ""
) -> Sent:
    ends = cloud[sender], cloud[receiver]
    addresses = source or ends[0].address(4), ends[1].address(4)
    packet = packets.udp(*addresses, (4000, port), b"isthmus-watched")
    return partial(ends[0].send, [to(*ends, packet)])


def nowhere(cloud: RunningCloud, sender: str) -> Sent:
    nic = cloud[sender]
    packet = packets.udp(nic.address(4), OUTSIDE[4], (4000, 7), b"isthmus-watched")
    return partial(nic.send, [packets.ethernet(clouds.ROUTER, nic.mac, packet)])


def seen_while(sends: Sequence[Sent], watch: Watching, *wanted: Callable[[Resource], bool]) -> None:
    """Send again and again, until something of each kind that is wanted has been told."""

    def is_seen() -> bool:
        for send in sends:
            send()
        time.sleep(0.1)
        return all(any(map(is_it, watch.said)) for is_it in wanted)

    until(is_seen)


def is_drop(**fields: str) -> Callable[[Resource], bool]:
    """What was dropped as `fields` say; of `packet` a part."""

    def is_it(told: Resource) -> bool:
        others = {name: value for name, value in fields.items() if name != "packet"}
        return fields.get("packet", "") in told["packet"] and others.items() <= told.items()

    return is_it
