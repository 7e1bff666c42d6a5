# SPDX-License-Identifier: Apache-2.0
"""Who may speak: a security group and its rules, with packets; and the answer to "why not".

red's data base guests let the web guests in on one port, and nobody else; blue, with the same
addresses, is left alone.
"""

from __future__ import annotations

import socket
import threading
import time

from isthmus.errors import Unavailable
from isthmus_lab.demo.check import Check, expect
from isthmus_lab.demo.cloud import PLACES, Cloud
from isthmus_lab.guest import Guest
from isthmus_lab.namespaces import entered
from isthmus_lab.northbound import Resource
from isthmus_lab.pings import ping_all
from isthmus_lab.transfers import tcp_transfer

TENANT, PORT = "red", 5432
WEB, DATABASE = "demo-web", "demo-db"
_APPLIED_S = 30.0
_ENDED_S = 5.0
_GOES_ON_S = 10.0


def checks() -> list[Check]:
    section = "Who may speak"
    return [
        Check(section, "two groups and one rule are taken, and applied by all hosts", group),
        Check(section, "what the rule allows passes, on every kind of path", allowed),
        Check(section, "nothing else does: no ping, no other port, no other guest", denied),
        Check(section, "the other tenant, with the same addresses, notices nothing", unmoved),
        Check(section, "the answer to why not names the list, as the switches do", why_not),
        Check(section, "who leaves the group loses its connection, others keep theirs", revoked),
        Check(section, "and without the list everybody answers again", undone),
    ]


def group(cloud: Cloud) -> str:
    rule = {
        **{"type": "Inbound", "action": "Allow", "protocol": "TCP", "priority": "200"},
        **{"sourcePortRange": "*", "destinationPortRange": str(PORT), "logging": "Enabled"},
        "sourceSecurityTags": [_tag(WEB)],
        "destinationAddressPrefix": "*",
    }
    acl = {
        "inboundDefaultAction": "Deny",
        "securityTags": [_tag(DATABASE)],
        "aclRules": [{"resourceId": "from-web", "properties": rule}],
    }
    cloud.rest.put_all(
        [
            (f"/securityTags/{WEB}", {"properties": {}}),
            (f"/securityTags/{DATABASE}", {"properties": {}}),
            (f"/accessControlLists/{DATABASE}", {"properties": acl}),
        ]
    )
    started = time.monotonic()
    cloud.rest.put_all(_tagged(cloud, name, [_group_of(name)]) for name in PLACES)
    _applied(cloud)
    return f"{len(PLACES)} interfaces tagged, on all hosts after {time.monotonic() - started:.2f} s"


def allowed(cloud: Cloud) -> str:
    done = []
    for one, other in (("web1", "db1"), ("web1", "db2"), ("web1", "db3"), ("web3", "db2")):
        receiver = cloud.guest(TENANT, other)
        sender = cloud.guest(TENANT, one)
        tcp_transfer(sender, receiver, cloud.address(receiver), size_bytes=1 << 20, port=PORT)
        done.append(f"{one} → {other}")
    return f"TCP {PORT}: {', '.join(done)}"


def denied(cloud: Cloud) -> str:
    guests = {name: cloud.guest(TENANT, name) for name in PLACES}
    databases = [name for name in PLACES if name.startswith("db")]
    pairs = [
        (guests[one], cloud.address(guests[other]))
        for other in databases
        for one in PLACES
        if one != other
    ]
    answered = [result.received for result in ping_all(pairs, count=1)]
    expect(not any(answered), "no ping answered by a data base guest", answered)
    for one, other, port in (("web1", "db2", PORT + 1), ("db1", "db2", PORT), ("db3", "db1", PORT)):
        receiver = guests[other]
        try:
            target = cloud.address(receiver)
            tcp_transfer(guests[one], receiver, target, size_bytes=1, timeout_s=0.5, port=port)
        except Unavailable:
            continue
        expect(False, f"{one} not to reach {other} on {port}", "a connection")
    return f"{len(pairs)} pings and 3 connections denied"


def unmoved(cloud: Cloud) -> str:
    pairs = [(one, cloud.address(other)) for _, one, other in cloud.pairs("blue")]
    lost = sum(result.lost for result in ping_all(pairs, count=1))
    expect(lost == 0, "every ping of blue answered", f"{lost} lost")
    return f"{len(pairs)} pings answered"


def why_not(cloud: Cloud) -> str:
    sender, receiver = f"{TENANT}-db1", f"{TENANT}-db2"
    told = cloud.rest.trace(sender, receiver, protocol=6, port=PORT, switches="true")
    last = told["steps"][-1]
    expect(
        told["verdict"] == "dropped" and last["origin"] == f"/accessControlLists/{DATABASE}",
        f"dropped by /accessControlLists/{DATABASE}",
        last,
    )
    by_switches = told["switches"]["reason"]
    expect(by_switches == f"default of {DATABASE}", "the switches to say the same", by_switches)
    return str(last["text"])


def revoked(cloud: Cloud) -> str:
    database = cloud.guest(TENANT, "db2")
    with (
        _Talk(cloud.guest(TENANT, "web1"), database, cloud) as leaver,
        _Talk(cloud.guest(TENANT, "web3"), database, cloud) as stayer,
    ):
        started = time.monotonic()
        cloud.rest.put_all([_tagged(cloud, "web1", [])])
        limit_s = _ENDED_S * cloud.patience
        ended_s = leaver.silent_after(started, limit_s)
        # What a busy machine holds up is silent too: so web3 is heard anew before web1 is believed.
        expect(stayer.goes_on(), "web3 to go on", "its connection has ended too")
        ended = ended_s is not None and not leaver.talks()
        expect(ended, f"web1 to be cut off within {limit_s:g} s", "it talks on")
    cloud.rest.put_all([_tagged(cloud, "web1", [WEB])])
    return f"web1 cut off after {(ended_s or 0) * 1e3:.0f} ms; web3 went on"


def undone(cloud: Cloud) -> str:
    cloud.rest.put_all(_tagged(cloud, name, []) for name in PLACES)
    # A list is in use while it is applied to a group.
    cloud.rest.put(f"/accessControlLists/{DATABASE}", {"properties": {}})
    for ref in (f"/accessControlLists/{DATABASE}", f"/securityTags/{DATABASE}"):
        cloud.rest.delete(ref)
    cloud.rest.delete(f"/securityTags/{WEB}")
    _applied(cloud)
    pairs = [(one, cloud.address(other)) for _, one, other in cloud.pairs(TENANT)]
    lost = sum(result.lost for result in ping_all(pairs, count=1))
    expect(lost == 0, "every ping answered", f"{lost} lost")
    return f"{len(pairs)} pings answered"


def _tag(name: str) -> dict[str, str]:
    return {"resourceRef": f"/securityTags/{name}"}


def _group_of(name: str) -> str:
    return WEB if name.startswith("web") else DATABASE


def _tagged(cloud: Cloud, name: str, tags: list[str]) -> tuple[str, Resource]:
    ref = f"/networkInterfaces/{TENANT}-{name}"
    properties = dict(cloud.rest.get(ref)["properties"])
    return ref, {"properties": {**properties, "securityTags": [_tag(tag) for tag in tags]}}


def _applied(cloud: Cloud) -> None:
    """Until every host has programmed all that was put."""
    until = time.monotonic() + _APPLIED_S
    probe = cloud.rest.raise_probe()
    while any(one["milliseconds"] is None for one in probe["hosts"]):
        expect(time.monotonic() < until, f"all hosts done within {_APPLIED_S:g} s", probe)
        done = sum(one["milliseconds"] is not None for one in probe["hosts"])
        probe = cloud.rest.probe(probe["probe"], answered=done, wait_s=1)


class _Talk:
    """A TCP connection on which the receiver gets a byte every few milliseconds."""

    _EVERY_S = 0.01
    _SILENCE_S = 0.25

    def __init__(self, sender: Guest, receiver: Guest, cloud: Cloud) -> None:
        with entered(receiver.namespace):
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(("0.0.0.0", PORT))
        listener.listen()
        listener.settimeout(_GOES_ON_S)
        with entered(sender.namespace):
            self._client = socket.create_connection(
                (cloud.address(receiver), PORT), timeout=_GOES_ON_S
            )
        self._server, _ = listener.accept()
        listener.close()
        self._heard = time.monotonic()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._send, self._hear)]

    def __enter__(self) -> _Talk:
        for thread in self._threads:
            thread.start()
        expect(self.goes_on(), "a byte to arrive", "a connection on which nothing does")
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.settimeout(0.1)
        for thread in self._threads:
            thread.join()
        self._client.close()
        self._server.close()

    def _send(self) -> None:
        self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not self._ended.wait(self._EVERY_S):
            try:
                self._client.send(b".")
            except OSError:
                return

    def _hear(self) -> None:
        self._server.settimeout(0.1)
        while not self._ended.is_set():
            try:
                if self._server.recv(4096):
                    self._heard = time.monotonic()
            except TimeoutError:
                continue
            except OSError:
                return

    def talks(self) -> bool:
        return time.monotonic() - self._heard < self._SILENCE_S

    def goes_on(self) -> bool:
        """Whether something new is heard."""
        before, until = self._heard, time.monotonic() + _GOES_ON_S
        while self._heard == before and time.monotonic() < until:
            time.sleep(0.01)
        return self._heard != before

    def silent_after(self, started: float, limit_s: float) -> float | None:
        """Seconds from `started` to the last byte; None if it talks on."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            if not self.talks():
                return max(0.0, self._heard - started)
            time.sleep(0.02)
        return None
