# SPDX-License-Identifier: Apache-2.0
"""The authorities of three machines are replaced by docs/operators.md, "Who may use the API", while
each writes; then every server is killed once, and so has to prove itself anew."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import PurePosixPath

import pytest

from tests.system.machines import Machine, chapter, follow, machines, until

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(1500)]

TLS = PurePosixPath("/etc/isthmus/tls")
STORES = {"north": TLS / "north", "south": TLS}
PORTS = {"north": 6641, "south": 6642}


@contextmanager
def writing(found: dict[str, Machine]) -> Iterator[set[str]]:
    """Every machine writes all the time; what was acknowledged."""
    stop = threading.Event()
    acknowledged: set[str] = set()

    def go(machine: Machine) -> None:
        for number in count():
            if stop.is_set():
                return
            name = f"{machine.name}-{number}"
            body = json.dumps({"resourceRef": f"/securityTags/{name}"})
            if machine.run(f"isthmus apply -f - <<< '{body}'").returncode == 0:
                acknowledged.add(name)

    threads = [threading.Thread(target=go, args=(one,)) for one in found.values()]
    for thread in threads:
        thread.start()
    try:
        yield acknowledged
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def others(found: dict[str, Machine]) -> list[Machine]:
    return [machine for name, machine in found.items() if name != "kvm1"]


def give_bundle(found: dict[str, Machine], tls: PurePosixPath) -> None:
    first = found["kvm1"]
    first.succeeds(f"mkdir -p bundle && cp {tls}/ca.pem bundle/")
    for machine in others(found):
        first.succeeds(f"scp -r bundle {machine.name}:")
        machine.succeeds(f"isthmus certs install bundle --into {tls}")


def rotate(found: dict[str, Machine], store: str) -> None:
    """By the book."""
    first, tls = found["kvm1"], STORES[store]
    first.succeeds(f"isthmus certs rotate --folder {tls}")
    give_bundle(found, tls)
    first.succeeds(f"isthmus certs renew --folder {tls}")
    part = "/north" if store == "north" else ""
    waiting = others(found)
    for machine in waiting:
        refused = first.run(f"isthmus certs retire --folder {tls}")
        assert refused.returncode != 0
        assert f"server of the {store} store at ssl:" in refused.stderr
        first.succeeds(f"scp -r {machine.name} {machine.name}:")
        machine.succeeds(f"isthmus certs install {machine.name}{part} --into {tls}")
    # Controllers say once a second what they use.
    until(lambda: first.run(f"isthmus certs retire --folder {tls}").returncode == 0)
    give_bundle(found, tls)


def test_authorities_are_replaced_under_writes_and_every_server_comes_back() -> None:
    with machines(3) as found:
        follow(found, chapter("Three machines")[0])
        first = found["kvm1"]
        for store, tls in STORES.items():
            first.succeeds(f"mkdir -p old-{store} && cp {tls}/controller*.pem old-{store}/")
        with writing(found) as acknowledged:
            for store in STORES:
                rotate(found, store)
                for machine in found.values():
                    until(lambda: machine.run("isthmus store status").returncode == 0)  # noqa: B023
                    machine.succeeds(f"isthmus certs list --folder {STORES[store]}")
            for store in STORES:
                for machine in found.values():
                    killed = machine.server(store)
                    os.kill(killed, signal.SIGKILL)
                    until(lambda: machine.server(store) != killed)  # noqa: B023  # called here
                    until(lambda: machine.run("isthmus store status").returncode == 0)  # noqa: B023
            for machine in found.values():
                machine.stop_controller()
                machine.start_controller()
        for machine in found.values():
            told = json.loads(machine.succeeds("isthmus get /securityTags --json"))["value"]
            assert acknowledged <= {one["resourceId"] for one in told}
            assert "Traceback" not in machine.log()
        assert all(any(name.startswith(one) for name in acknowledged) for one in found)
        refuse_old(found)


def refuse_old(found: dict[str, Machine]) -> None:
    """What the retired authorities have signed opens nothing, and what the new ones have does."""
    first = found["kvm1"]
    for store, tls in STORES.items():
        for number in range(1, 4):
            for folder, opens in ((f"old-{store}", False), (tls, True)):
                pair = f"-p {folder}/controller-key.pem -c {folder}/controller.pem"
                remote = f"ssl:192.0.2.{number}:{PORTS[store]}"
                asked = first.run(f"ovsdb-client -t 5 {pair} -C {tls}/ca.pem list-dbs {remote}")
                assert (asked.returncode == 0) is opens, (store, number, folder, asked.stderr)
