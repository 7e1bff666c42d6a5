# SPDX-License-Identifier: Apache-2.0
"""What is asked of a whole cloud that runs: a bundle for support, and the doctor."""

from __future__ import annotations

import base64
import gzip
import subprocess
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

from isthmus_lab import links
from tests.cli.conftest import run
from tests.system.cloud import RunningCloud, until
from tests.system.questioned import isthmus, lists_shut, questioned_cloud

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with questioned_cloud() as made:
        yield made


@pytest.fixture
def shut(cloud: RunningCloud) -> Iterator[None]:
    with lists_shut(cloud):
        yield


# -- the whole cloud -------------------------------------------------------------------------------

PASSWORD = "correct-horse-battery-staple"


def test_a_bundle_has_what_support_needs_and_no_secret(
    cloud: RunningCloud, shut: None, tmp_path: Path
) -> None:
    cloud.put(
        "/credentials/secret",
        {"properties": {"type": "UsernamePassword", "userName": "u", "value": PASSWORD}},
    )
    file = tmp_path / "cloud.json.gz"
    (tmp_path / "cloud.json.gz.new").touch(mode=0o666)
    code, out = isthmus(cloud, "bundle", str(file))
    assert (code, out.startswith(f"{file}: ")) == (0, True)
    assert file.stat().st_mode & 0o777 == 0o600
    # What somebody else has put beside it, for others to read, was neither used nor touched.
    assert {path.name for path in tmp_path.iterdir()} == {"cloud.json.gz", "cloud.json.gz.new"}
    assert (tmp_path / "cloud.json.gz.new").read_bytes() == b""
    text = gzip.decompress(file.read_bytes()).decode()
    assert "/credentials/secret" in text
    assert PASSWORD not in text
    assert base64.b64encode(PASSWORD.encode()).decode() not in text
    for arguments in (
        ("a3", "a1", "--tcp", "80"),
        ("b1", "a1", "--tcp", "81", "--ipv6"),
        ("b1", "a2", "--udp", "9"),
        ("a1", "192.0.2.1"),
    ):
        live = isthmus(cloud, "trace", *arguments)
        assert isthmus(cloud, "trace", *arguments, "--bundle", str(file)) == live
    code, _, said = run(["trace", "a1", "b1", "--switches", "--bundle", str(file)])
    assert (code, "no switches" in said) == (1, True)
    live_lines = isthmus(cloud, "explain", "port", "a1")[1].splitlines()
    code, out = isthmus(cloud, "explain", "port", "a1", "--bundle", str(file))
    assert code == 0
    # All but what a switch says now.
    start, end = (
        next(number for number, line in enumerate(live_lines) if line.startswith(word))
        for word in ("Switch of ", "State ")
    )
    assert out.splitlines()[:-1] == [*live_lines[:start], *live_lines[end:-1]]
    assert out.splitlines()[-1].startswith("Verdict   works: h1 had it")
    for wrong in (tmp_path / "absent", Path("/etc/passwd")):
        assert run(["explain", "port", "a1", "--bundle", str(wrong)])[0] == 1


def found_by_doctor(cloud: RunningCloud) -> set[tuple[str, str]]:
    """Subjects and codes."""
    return {(one["subject"], one["code"]) for one in cloud.north.doctor()["findings"]}


def test_the_doctor_finds_what_is_broken_and_nothing_else(cloud: RunningCloud) -> None:
    until(lambda: isthmus(cloud, "doctor") == (0, ""))
    links_of_host = cloud.lab.host("h2").namespace
    with links.links_of(links_of_host) as here:
        here.set_mtu("br-phy", 1400)
    until(lambda: ("h2", "mtu") in found_by_doctor(cloud))

    def is_told() -> bool:
        code, out = isthmus(cloud, "doctor")
        assert code == 1
        found = "h2: br-phy has MTU 1400, the underlay is said to carry 1500 (mtu)" in out
        return found and "repair: on h2: ip link set br-phy mtu 1500" in out

    until(is_told)
    with links.links_of(links_of_host) as here:
        here.set_mtu("br-phy", 1500)
    until(lambda: isthmus(cloud, "doctor") == (0, ""))

    underlay = cloud.lab.underlay.namespace
    subprocess.run(["ip", "-n", underlay, "link", "set", "h3", "down"], check=True)
    cut = {(f"{one} {other}", "unreachable-tunnel") for one, other in permutations(("h1", "h3"), 2)}
    until(lambda: cut <= found_by_doctor(cloud))
    subprocess.run(["ip", "-n", underlay, "link", "set", "h3", "up"], check=True)
    until(lambda: isthmus(cloud, "doctor") == (0, ""))

    host = cloud.lab.host("h2")
    cloud.lab.agent(host).kill()
    try:
        until(lambda: {("h2", "no-answer")} == found_by_doctor(cloud))
    finally:
        cloud.lab.start_agent(host)
    until(lambda: isthmus(cloud, "doctor") == (0, ""))
