# SPDX-License-Identifier: Apache-2.0
"""plan, trace, doctor, bundle, watch, counters: what they ask, what they show, how they exit."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from isthmus.api.http.streams import Message
from isthmus.cli.counting import counted
from isthmus.cli.install import defaults
from isthmus.intent.model import JsonObject
from tests.cli.conftest import Cli, run

PACKET = {"protocol": 6, "source": "10.0.0.4", "destination": "10.0.0.5"}
PORTS = {"sourcePort": 49152, "destinationPort": 443}


def step(where: str, text: str, *, passes: bool = True, origin: str = "") -> dict[str, object]:
    return {"where": where, "passes": passes, "text": text, "reason": "", "origin": origin}


def traced(*steps: dict[str, object], **more: object) -> JsonObject:
    verdict = "delivered" if steps[-1]["passes"] else "dropped"
    told: dict[str, Any] = {"verdict": verdict, "packet": {**PACKET, **PORTS}, **more}
    return {**told, "steps": list(steps)}


# -- trace -----------------------------------------------------------------------------------------


def test_a_trace_shows_each_step_and_its_exit_status_is_the_verdict(cli: Cli) -> None:
    cli.hosts.answers["trace"] = traced(step("a", "sends"), step("b", "receives it"))
    code, out, _ = cli.run("trace", "a", "b", "--tcp", "443")
    assert code == 0
    assert out.splitlines() == [
        "TCP 49152 → 443  10.0.0.4 → 10.0.0.5",
        "  ok   a: sends",
        "  ok   b: receives it",
        "",
        "Verdict   delivered",
    ]
    denied = step("b", "inbound: denied", passes=False, origin="/accessControlLists/x")
    cli.hosts.answers["trace"] = traced(
        *(step("a", "sends"), denied),
        switches={
            "verdict": "dropped",
            "reason": "x/rule",
            "passages": [
                {"host": "h1", "stages": ["CLASSIFY", "TUNNEL"], "outcome": "tunnel", "peer": "p"},
                {
                    **{"host": "h2", "stages": ["CLASSIFY", "IN"], "outcome": "dropped"},
                    **{"stage": "IN", "decision": "x/rule"},
                },
                {"host": "h3", "error": "silent"},
            ],
        },
    )
    code, out, _ = cli.run("trace", "a", "b", "--switches")
    assert code == 1
    assert out.splitlines()[2:] == [
        "  DROP b: inbound: denied  [/accessControlLists/x]",
        "",
        "  h1: CLASSIFY → TUNNEL: into the tunnel to p",
        "  h2: CLASSIFY → IN: dropped at IN by x/rule",
        "  h3: no answer: silent",
        "Switches  dropped: x/rule",
        "",
        "Verdict   dropped: b: inbound: denied",
    ]
    code, out, _ = cli.run("trace", "a", "b", "--json")
    assert (code, json.loads(out)) == (1, cli.hosts.answers["trace"])


@pytest.mark.parametrize("switches", ["dropped", "unknown"])
def test_what_the_switches_say_is_in_the_verdict_where_policy_says_better(
    cli: Cli, switches: str
) -> None:
    cli.hosts.answers["trace"] = traced(
        *(step("a", "sends"), step("b", "receives it")),
        sender="a",
        switches={"verdict": switches, "reason": "CLASSIFY", "passages": []},
    )
    code, out, _ = cli.run("trace", "a", "b", "--switches")
    assert code == 1
    assert out.splitlines()[-1] == (
        f"Verdict   {switches}: policy says delivered, but the switches say so, see above;"
        " `isthmus explain port a` says more"
    )


def test_a_trace_asks_what_it_was_told(cli: Cli) -> None:
    cli.hosts.answers["trace"] = traced(step("a", "sends"))
    for arguments in (
        [],
        ["--tcp", "443"],
        ["--udp", "53", "--source-port", "1"],
        ["--sctp", "0", "--ipv6", "--switches"],
        ["--protocol", "47"],
    ):
        assert cli.run("trace", "a", "10.0.0.5", *arguments)[0] == 0
    ends = ("a", "10.0.0.5")
    assert cli.hosts.asked == [
        (*ends, 0, 0, 49152, 0, "", False),
        (*ends, 6, 443, 49152, 0, "", False),
        (*ends, 17, 53, 1, 0, "", False),
        (*ends, 132, 0, 49152, 6, "", True),
        (*ends, 47, 0, 49152, 0, "", False),
    ]


# -- plan ------------------------------------------------------------------------------------------

PLAN: JsonObject = {
    "rows": {},
    "resources": [{"action": "replace", "resourceRef": "/accessControlLists/x"}],
    "ports": {
        **{name: {"count": 0, "first": []} for name in ("added", "removed", "moved")},
        "reruled": {"count": 12, "first": ["a", "b"]},
    },
    "reachability": [
        {
            **{"tenant": "red", "direction": "in", "ruleSets": ["x"], "whole": False},
            "ports": {"count": 1, "first": ["a"]},
            "gained": [f"tcp {port}" for port in range(14)],
            "lost": ["udp 53"],
        }
    ],
    "shadowed": ["x/r never decides: x/q does before it"],
}
RESOURCE = '{"resourceRef": "/accessControlLists/x", "properties": {}}'


def test_a_plan_shows_what_would_change(cli: Cli) -> None:
    cli.hosts.answers["plan"] = PLAN
    code, out, _ = cli.run("plan", "-f", "-", stdin=RESOURCE)
    assert code == 0
    lines = out.splitlines()
    assert lines[:2] == ["Resources", "  replace  /accessControlLists/x"]
    assert "  are under changed rules      12: a, b and 10 more" in lines
    assert "  red: in of 1: a, by x" in lines
    assert lines.index("    + and 2 more: --json has all") == lines.index("    + tcp 11") + 1
    assert "    - udp 53" in lines
    assert "    ! too many rules to look at every combination: there may be more" in lines
    assert lines[-1] == "! x/r never decides: x/q does before it"
    code, out, _ = cli.run("plan", "-f", "-", "--json", stdin=RESOURCE)
    assert (code, json.loads(out)) == (0, PLAN)
    assert cli.hosts.asked == [("/accessControlLists/x",)] * 2
    assert cli.run("get", "/accessControlLists", "--json")[1].count("resourceRef") == 0
    assert cli.run("plan", "-f", "-", stdin="{}")[0] == 1


def test_a_plan_of_nothing_says_so(cli: Cli) -> None:
    ports = {name: {"count": 0, "first": []} for name in ("added", "removed", "moved", "reruled")}
    cli.hosts.answers["plan"] = {
        **{"resources": [], "ports": ports, "reachability": [], "shadowed": []}
    }
    _, out, _ = cli.run("plan", "-f", "-", stdin=RESOURCE)
    assert out.splitlines() == [
        *("Resources  nothing changes but etags", "", "Ports      none touched", ""),
        "Reachability  unchanged by rules",
    ]


# -- doctor ----------------------------------------------------------------------------------------


def test_the_doctor_is_silent_or_says_what_is_wrong_and_fails(cli: Cli) -> None:
    cli.hosts.answers["doctor"] = {"hosts": 2, "findings": []}
    assert cli.run("doctor") == (0, "", "")
    finding = {"severity": "error", "subject": "h1", "code": "mtu", "finding": "MTU 1400"}
    told: dict[str, Any] = {"hosts": 2, "findings": [{**finding, "repair": "ip link"}]}
    cli.hosts.answers["doctor"] = told
    code, out, _ = cli.run("doctor")
    assert code == 1
    assert out == "error   h1: MTU 1400 (mtu)\n        repair: ip link\n"
    code, out, _ = cli.run("doctor", "--json")
    assert (code, json.loads(out)) == (1, told)


# -- bundle ----------------------------------------------------------------------------------------


def test_a_bundle_is_one_file_for_its_owner(cli: Cli, tmp_path: Path) -> None:
    told: dict[str, Any] = {"north": [{}], "south": {"Port": [{}, {}], "Host": []}}
    cli.hosts.answers["bundle"] = told
    file = tmp_path / "b.json.gz"
    file.touch(mode=0o644)
    code, out, _ = cli.run("bundle", str(file))
    assert (code, out.startswith(f"{file}: 1 resources, 2 rows, ")) == (0, True)
    assert json.loads(gzip.decompress(file.read_bytes())) == told
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


# Without a time in them: the tests of two processes have to have the same names.
@pytest.mark.parametrize(
    "content", [b"", b"x", *(gzip.compress(text, mtime=0) for text in (b"x", b"{}", b"[1]"))]
)
def test_what_is_no_bundle_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "b.json.gz"
    file.write_bytes(content)
    for command in (["trace", "a", "b"], ["explain", "port", "a"]):
        code, _, said = run([*command, "--bundle", str(file)])
        assert (code, "is no bundle" in said) == (1, True)
        assert "there is no file" in run([*command, "--bundle", f"{file}x"])[2]


def test_an_empty_bundle_has_no_port(tmp_path: Path) -> None:
    file = tmp_path / "b.json.gz"
    file.write_bytes(gzip.compress(b'{"north": [], "south": {}, "atS": 1}'))
    assert "no port is called a" in run(["trace", "a", "b", "--bundle", str(file)])[2]
    assert "no networkInterface a" in run(["explain", "port", "a", "--bundle", str(file)])[2]


# -- watch -----------------------------------------------------------------------------------------


def drop(**more: object) -> Message:
    told: dict[str, Any] = {"atUs": 1_000_000, "host": "h1", "port": "a", "stage": "ROUTE"}
    told |= {"reason": "no route", "decision": "", "origin": "", "packet": "udp x → y", **more}
    return Message("drop", told)


def flow(**more: object) -> Message:
    told = {**drop().data, "verdict": "allowed", "stage": "", "reason": "", "begins": True}
    return Message("flow", {**told, "receiver": "b", "decisions": [], **more})


def decided(direction: str, level: str, text: str) -> dict[str, str]:
    return {"direction": direction, "level": level, "decision": text, "origin": ""}


BOTH_LEVELS = [
    decided("out", "interface", "web/https"),
    decided("in", "subnet", "default of lan"),
    decided("in", "interface", "db/ssh"),
]
WATCH_COLUMNS = "TIME\tHOST\tPORT\tVERDICT\tPACKET\tWHY"


def test_drops_are_shown_one_a_line_and_silent_hosts_beside_them(cli: Cli) -> None:
    cli.hosts.messages = [
        Message("silent", {"host": "h2", "error": "h2 is silent"}),
        Message("", {}),
        drop(),
        Message("unshown", {"host": "h1", "packets": 12}),
        drop(decision="x/r", origin="/accessControlLists/x"),
        drop(port=""),
    ]
    code, out, err = cli.run(
        *("watch", "drops", "--port", "a", "--peer", "10.0.0.5", "--host", "h1", "--count", "2")
    )
    assert (code, err) == (0, "h2: h2 is silent\nh1: 12 packets more of this host are not shown\n")
    head, *rows = out.splitlines()
    plain, ruled = (row.partition("\t")[2] for row in rows)
    assert head == WATCH_COLUMNS
    assert plain == "h1\ta\tdropped\tudp x → y\tat ROUTE: no route"
    assert ruled == (
        "h1\ta\tdropped\tudp x → y\tat ROUTE by x/r: no route  [/accessControlLists/x]"
    )
    code, out, _ = cli.run("watch", "drops", "--json")
    assert [json.loads(line)["port"] for line in out.splitlines()] == ["a", "a", ""]
    assert cli.hosts.asked == [
        ("drop", "dropped", "a", "10.0.0.5", "h1"),
        ("drop", "dropped", "", "", ""),
    ]


def test_flows_are_shown_with_the_rule_of_each_level_that_allowed_them(cli: Cli) -> None:
    cli.hosts.messages = [
        flow(decisions=BOTH_LEVELS),
        flow(receiver="", begins=False),
        flow(begins=False, decisions=[decided("in", "interface", "web/dns")]),
        Message("flow", {**drop().data, "verdict": "dropped"}),
    ]
    code, out, _ = cli.run(
        *("watch", "flows", "--port", "a", "--peer", "b", "--verdict", "allowed", "--count", "4")
    )
    assert code == 0
    head, *rows = out.splitlines()
    assert head == WATCH_COLUMNS
    assert [row.partition("\t")[2] for row in rows] == [
        "h1\ta → b\tallowed\tudp x → y\tby out web/https; in default of lan (subnet); in db/ssh",
        "h1\ta\tallowed\tudp x → y\tno rule holds for it here (a packet that nobody follows)",
        "h1\ta → b\tallowed\tudp x → y\tby in web/dns (a packet that nobody follows)",
        "h1\ta\tdropped\tudp x → y\tat ROUTE: no route",
    ]
    code, out, _ = cli.run("watch", "flows", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [one["verdict"] for one in lines] == ["allowed"] * 3 + ["dropped"]
    assert lines[0]["decisions"] == BOTH_LEVELS
    assert cli.hosts.asked == [("flow", "allowed", "a", "b", ""), ("flow", "all", "", "", "")]


def test_events_are_shown_one_a_line_with_their_ids(cli: Cli) -> None:
    port = "/networkInterfaces/a"
    state: dict[str, Any] = {"resourceRef": port, "configurationState": {"status": "Success"}}
    cli.hosts.messages = [
        Message("resource", {"action": "written", "resourceRef": port}, "e-1"),
        Message("state", {**state, "server": {"resourceRef": "/servers/h1"}}, "e-2"),
        Message("", {}),
        Message("state", {"resourceRef": port, "configurationState": None}, "e-3"),
        Message("host", {"host": "h1", "alive": False}, "e-4"),
        Message("reset", {"why": "events are missing"}, "e-5"),
    ]
    code, out, _ = cli.run("watch", "events", "--after", "e-0")
    assert code == 0
    assert out.splitlines() == [
        f"e-1  written {port}",
        f"e-2  {port} on /servers/h1: Success",
        f"e-3  {port}: not known",
        "e-4  host h1: silent",
        'e-5  reset {"why": "events are missing"}',
    ]
    code, out, _ = cli.run("watch", "events", "--count", "1", "--json")
    assert json.loads(out) == {
        **{"id": "e-1", "event": "resource", "action": "written", "resourceRef": port}
    }
    assert cli.hosts.asked == [("e-0",), ("",)]


def test_events_are_watched_by_what_they_are_of(cli: Cli) -> None:
    subnet = "/virtualNetworks/red/subnets/web"
    told = {"action": "deleted", "change": "created", "resourceRef": subnet}
    cli.hosts.messages = [Message("resource", told, "e-1")]
    options = ("--event", "resource", "--kind", "virtualNetworks/subnets")
    below = ("--resource", "/virtualNetworks/red", "--change", "created")
    code, out, _ = cli.run("watch", "events", *options, *below)
    assert (code, out) == (0, f"e-1  created {subnet}\n")
    asked = ("resource", "virtualnetworks/subnets", "/virtualnetworks/red", "created")
    assert cli.hosts.asked == [("", *asked)]
    code, _, said = cli.run("watch", "events", "--kind", "subnets")
    assert (code, "kind is 'subnets'" in said) == (1, True)


# -- counters --------------------------------------------------------------------------------------


def test_counters_are_summed_by_rule_and_shown_by_host_where_things_ended(cli: Cli) -> None:
    rule = {"rule_set": "x", "rule": "r", "direction": "in", "level": "subnet", "action": "deny"}
    default = {**rule, "rule": "", "packets": 5, "bytes": 9}
    unused = {**rule, "rule": "unused", "packets": 0, "bytes": 0}
    told: dict[str, Any] = {
        "hosts": [
            {
                **{"host": "h1", "rules": [{**rule, "packets": 1, "bytes": 9}, default, unused]},
                **{
                    "dropped": {"ROUTE": 3, "CLASSIFY": 0},
                    "blocked": {"a": 4, "b": 0},
                    "unopened": {"a": 8},
                    "fragments": {"a": 9},
                },
            },
            {
                **{"host": "h2", "rules": [{**rule, "packets": 2, "bytes": 9}]},
                **{"dropped": {}, "blocked": {}},
            },
            {"host": "h3", "error": "h3 is silent"},
        ]
    }
    cli.hosts.answers["counters"] = told
    code, out, _ = cli.run("counters")
    assert code == 0
    assert out.splitlines() == [
        "RULE\t\tDIRECTION\tLEVEL\tACTION\tPACKETS",
        "x\tdefault\tin\tsubnet\tdeny\t5",
        "x/r\t\tin\tsubnet\tdeny\t3",
        "",
        "HOST\t\tWHERE\tPACKETS",
        "h1\tdropped at\tROUTE\t3",
        "h1\tblocked port\ta\t4",
        "h1\topened too fast\ta\t8",
        "h1\tfragments too fast\ta\t9",
        "h3\tno answer\th3 is silent\t",
    ]
    code, out, _ = cli.run("counters", "--json")
    assert (code, json.loads(out)) == (0, told)
    code, out, _ = cli.run("counters", "--unused")
    assert out.splitlines() == ["RULE\t\tDIRECTION\tLEVEL\tACTION", "x/unused\t\tin\tsubnet\tdeny"]
    code, out, _ = cli.run("counters", "--rate", "0.01")
    assert "x/r\t\tin\tsubnet\tdeny\t3\t0.0" in out.splitlines()
    assert "h3\tno answer\th3 is silent\t\t" in out.splitlines()


def test_rates_are_what_came_in_a_second() -> None:
    assert counted({("a",): 30, ("b",): 5, ("c",): 0}, {("a",): 10, ("b",): 9}, 2.0) == [
        ["a", "30", "10.0"],
        ["b", "5", "0.0"],
    ]


# -- a real packet ---------------------------------------------------------------------------------


def check_result(**more: object) -> JsonObject:
    return {"status": "Success", "roundTripTimeMSec": 2, "errorMessage": "", **more}


@pytest.mark.parametrize(
    ("result", "code", "line"),
    [
        (check_result(), 0, "Live      delivered: a real packet was answered in 2 ms"),
        (
            check_result(status="Failure", errorMessage="no answer"),
            1,
            "Live      not answered: no answer",
        ),
    ],
)
def test_a_live_trace_sends_a_real_packet_between_the_same_addresses(
    cli: Cli, result: JsonObject, code: int, line: str
) -> None:
    assert cli.run("apply", "-f", "-", stdin=json.dumps(defaults("h1")))[0] == 0
    assert cli.run("apply", "-f", "docs/examples/two-subnets.yaml")[0] == 0
    interface = json.loads(cli.run("get", "/networkInterfaces/web1", "--json")[1])
    address = interface["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"]
    told: dict[str, Any] = {**traced(step("web1", "sends"), step("web2", "receives it"))}
    told["sender"] = "web1"
    told["packet"] = {**told["packet"], "source": address}
    cli.hosts.answers["trace"] = told
    cli.hosts.answers["check"] = result
    found, out, _ = cli.run("trace", "web1", "web2", "--tcp", "443", "--live")
    assert found == code
    assert line in out.splitlines()
    assert (out.splitlines()[-1] == "Verdict   delivered") is (code == 0)
    (check,) = cli.hosts.checks
    assert (check.network, check.sender, check.receiver) == ("shop", address, "10.0.0.5")
    assert (check.protocol, check.port) == ("Tcp", 443)


# -- exit statuses ---------------------------------------------------------------------------------

COMMANDS = (
    ("trace", "a", "b"),
    ("plan", "-f", "-"),
    ("doctor",),
    ("bundle", "/tmp/isthmus-no-such-bundle"),
    ("watch", "drops"),
    ("watch", "flows"),
    ("watch", "events"),
    ("counters",),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_controller_that_is_away_is_exit_status_3(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "isthmus.cli.main", *command, "--url", "unix:/nowhere/s"],
        input=RESOURCE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 1
    assert "unix:/nowhere/s" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        *(("trace", "a"), ("trace",), ("trace", "a", "b", "--tcp", "65536")),
        *(("trace", "a", "b", "--tcp", "x"), ("trace", "a", "b", "--tcp", "1", "--udp", "1")),
        *(("trace", "a", "b", "--tcp", "1", "--protocol", "6"), ("plan",), ("bundle",)),
        *(("watch",), ("watch", "nothing"), ("watch", "drops", "--count", "-1")),
        *(("watch", "flows", "--verdict", "passed"), ("watch", "flows", "--count", "x")),
        *(("doctor", "h1"), ("counters", "h1"), ("trace", "a", "b", "--protocol", "256")),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_exit_status_2(cli: Cli, command: tuple[str, ...]) -> None:
    assert cli.run(*command)[0] == 2
    assert cli.hosts.asked == []
