# SPDX-License-Identifier: Apache-2.0
"""What people type, and what they see."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from isthmus.api.app import create_app
from isthmus.api.http.listening import Listener
from isthmus.api.http.tls import TlsFiles
from isthmus.cli.configuration import load
from isthmus.cli.daemons import limits
from isthmus.cli.files import wanted_of
from isthmus.cli.install import defaults
from isthmus.cli.status import explained
from isthmus.errors import Invalid, NotFound, Unavailable
from isthmus.intent.model import JsonObject
from isthmus.switches.ovs.facts import Limits
from tests.api.memory_north import MemoryNorth
from tests.api.serving import serving
from tests.cli.conftest import HOST, Cli, Hosts, run

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"


@pytest.fixture
def furnished(cli: Cli, tmp_path: Path) -> Cli:
    file = tmp_path / "defaults.json"
    file.write_text(json.dumps(defaults("h1")))
    code, _, said = cli.run("apply", "-f", str(file))
    assert code == 0, said
    return cli


def test_an_example_is_applied_and_shown_as_table_yaml_and_json(furnished: Cli) -> None:
    code, out, err = furnished.run("apply", "-f", str(EXAMPLES))
    assert code == 0, err
    assert "/networkInterfaces/web1 created" in out
    assert "stored in" in err
    code, out, _ = furnished.run("get", "/networkInterfaces")
    lines = [line.split("\t") for line in out.splitlines()]
    assert lines[0] == ["ID", "MAC", "ADDRESSES", "SUBNET"]
    assert [line[0] for line in lines[1:]] == ["data1", "web1", "web2"]
    assert lines[1][2:] == ["10.20.2.4", "shop/back"]
    one = yaml.safe_load(furnished.run("get", "/networkInterfaces/web1")[1])
    assert one["resourceId"] == "web1"
    many = json.loads(furnished.run("get", "/virtualNetworks", "--json")[1])
    assert [network["resourceId"] for network in many["value"]] == ["shop"]


def test_what_was_got_can_be_applied_again(furnished: Cli, tmp_path: Path) -> None:
    furnished.run("apply", "-f", str(EXAMPLES))
    _, out, _ = furnished.run("get", "/networkInterfaces", "-o", "json")
    file = tmp_path / "again.json"
    file.write_text(out)
    code, out, err = furnished.run("apply", "-f", str(file))
    assert (code, out.count("replaced")) == (0, 3), err


def test_apply_is_all_or_nothing_and_names_the_entry(furnished: Cli) -> None:
    text = yaml.safe_dump_all(
        [
            {"resourceRef": "/servers/good", "properties": {}},
            {"resourceRef": "/networkInterfaces/bad", "properties": {"isPrimary": "perhaps"}},
        ]
    )
    code, _, said = furnished.run("apply", "-f", "-", stdin=text)
    assert code == 1
    assert "isPrimary" in said or "perhaps" in said
    assert "good" not in furnished.run("get", "/servers")[1]


def test_apply_deletes_what_it_is_told_to(furnished: Cli) -> None:
    text = "[{resourceRef: /servers/h1, method: DELETE}, {resourceRef: /servers/x, method: delete}]"
    code, out, _ = furnished.run("apply", "-f", "-", stdin=text)
    assert (code, out) == (0, "/servers/h1 deleted\n/servers/x absent\n")


def test_watch_follows_a_change_to_the_last_host(furnished: Cli) -> None:
    code, out, _ = furnished.run("apply", "--watch", "-f", str(EXAMPLES))
    assert code == 0
    assert "h1 has it after" in out
    assert "on all 1 hosts after" in out
    furnished.hosts.told["errors"] = [
        {"port": "web1", "host": "h1", "code": "PortBlocked", "detail": "not here"}
    ]
    code, _, err = furnished.run("apply", "--watch", "-f", str(EXAMPLES))
    assert code == 1
    assert "web1 on h1: not here (PortBlocked)" in err


def test_what_is_watched_for_programs_is_one_document(furnished: Cli) -> None:
    arguments = ("apply", "--watch", "--json", "-f", str(EXAMPLES))
    code, out, _ = furnished.run(*arguments)
    told = json.loads(out)
    assert code == 0
    assert {one["status"] for one in told["responses"]} == {200, 201}
    watched = told["watch"]
    assert [host["host"] for host in watched["hosts"]] == ["h1"]
    assert watched["hosts"][0]["milliseconds"] <= watched["milliseconds"]
    assert [watched[name] for name in ("late", "silent", "errors", "problem")] == [[], [], [], ""]
    error = {"port": "web1", "host": "h1", "code": "PortBlocked", "detail": "not here"}
    furnished.hosts.told["errors"] = [error]
    code, out, _ = furnished.run(*arguments)
    assert (code, json.loads(out)["watch"]["errors"]) == (1, [error])
    assert "watch" not in json.loads(furnished.run(*arguments[:1], *arguments[2:])[1])


def test_what_was_stored_is_told_to_programs_even_if_it_cannot_be_followed(
    furnished: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent() -> JsonObject:
        raise Unavailable("nobody derives")

    monkeypatch.setattr(furnished.hosts, "raise_probe", silent)
    code, out, said = furnished.run("apply", "--watch", "--json", "-f", str(EXAMPLES))
    told = json.loads(out)
    assert (code, said, told["watch"]["problem"]) == (1, "nobody derives", "nobody derives")
    assert {one["status"] for one in told["responses"]} == {200, 201}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1\nb: 2", "line 2"),
        ("{resourceRef: 7}", "resourceRef"),
        ("{properties: {}}", "resourceRef"),
        ("{resourceRef: /servers/x, addressPrefix: 1}", "properties"),
        ("", "no resource"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(cli: Cli, text: str, words: str) -> None:
    code, _, said = cli.run("apply", "-f", "-", stdin=text)
    assert code == 1
    assert words in said


def test_a_missing_file_or_too_many_resources_are_named(cli: Cli) -> None:
    assert "no file" in cli.run("apply", "-f", "/nowhere.yaml")[2]
    text = yaml.safe_dump([{"resourceRef": f"/servers/h{n}"} for n in range(1001)])
    assert "--in-parts" in cli.run("apply", "-f", "-", stdin=text)[2]
    code, out, _ = cli.run("apply", "--in-parts", "-f", "-", stdin=text)
    assert (code, out.count("created")) == (0, 1001)


def test_delete_says_what_was_there(furnished: Cli) -> None:
    code, out, _ = furnished.run("delete", "--yes", "/servers/h1", "/servers/h1")
    assert (code, out) == (0, "/servers/h1 deleted\n/servers/h1 did not exist\n")
    furnished.run("apply", "-f", str(EXAMPLES))
    code, _, said = furnished.run("delete", "-y", "/virtualNetworks/shop")
    assert code == 1
    assert "used by" in said


def test_delete_if_match_deletes_only_what_is_as_it_was_seen(furnished: Cli) -> None:
    seen = json.loads(furnished.run("get", "/servers/h1", "--json")[1])["etag"]
    furnished.run("apply", "-f", "-", stdin="{resourceRef: /servers/h1, tags: {new: '1'}}")
    code, _, said = furnished.run("delete", "-y", "/servers/h1", "--if-match", seen)
    assert code == 1
    assert seen in said or "etag" in said
    now = json.loads(furnished.run("get", "/servers/h1", "--json")[1])["etag"]
    code, _, said = furnished.run("delete", "/servers/h1", "/servers/h2", "--if-match", now)
    assert code == 1
    assert "one resource" in said
    code, out, _ = furnished.run("delete", "-y", "/servers/h1", "--if-match", now)
    assert (code, out) == (0, "/servers/h1 deleted\n")


def test_status_is_silent_about_a_healthy_cloud(cli: Cli) -> None:
    code, out, _ = cli.run("status")
    assert code == 0
    assert "c1 (derives)" in out
    assert "h1\talive\t1\t40\tvxlan, nvgre\t192.0.2.1\t3.1.0\t1.2.3" in out
    assert "!" not in out
    assert json.loads(cli.run("status", "--json")[1])["problems"] == []


def test_status_names_each_problem_and_fails(cli: Cli) -> None:
    told = cli.hosts.told
    told["controllers"] = [{"name": "c1", "alive": False, "deriving": False}]
    told["stores"][0] |= {"connected": False, "problem": "no majority"}
    told["hosts"] = [
        HOST | {"host": "a", "alive": False, "ageSeconds": 100},
        HOST | {"host": "b", "alive": False, "ageSeconds": None},
        HOST | {"host": "c", "known": False},
        HOST | {"host": "d", "problems": ["interface x: no such device"]},
    ]
    told["errors"] = [{"port": "p", "host": "a", "code": "PortBlocked", "detail": "why"}]
    told["unknownClaims"] = [{"port": "p", "host": "c"}]
    code, out, _ = cli.run("status")
    assert code == 1
    for words in (
        "north store cannot be reached: no majority",
        "no controller derives",
        "a is silent for 100 s",
        "b was never heard of",
        "c speaks, but no server has that resourceId",
        "d: interface x: no such device",
        "port p on a: why (PortBlocked)",
        "c, which is no server, claims p",
    ):
        assert f"! {words}" in out.replace("! the ", "! "), words


def test_explain_walks_from_the_request_to_the_verdict(cli: Cli) -> None:
    code, out, _ = cli.run("explain", "port", "web1")
    assert code == 0
    places = [
        out.index(words)
        for words in (
            "Request   /networkInterfaces/web1",
            "Policy",
            "Port id=web1 addresses=10.0.0.4",
            "Claims",
            "host=h1 state=active",
            "Switch of h1: interface web1, OpenFlow port 3",
            "12 packets  in_port=3",
            "MISSING    priority=9",
            "Switch of h2: no answer: silent",
            "State     Success",
            "Verdict   works",
        )
    ]
    assert places == sorted(places)
    cli.hosts.verdict = "no host has it"
    assert cli.run("explain", "port", "web1")[0] == 1


def _command(*arguments: str, url: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "isthmus.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ISTHMUS_URL": url},
    )


def test_errors_are_one_sentence_and_an_exit_status_of_the_process(cli: Cli) -> None:
    refused = _command("get", "/nothings", url=cli.url)
    assert refused.returncode == 1
    assert refused.stderr.startswith("isthmus: ")
    assert "(NotFound" in refused.stderr
    assert "Traceback" not in refused.stderr
    away = _command("status", url="unix:/nowhere.sock")
    assert away.returncode == 3
    assert "isthmus controller" in away.stderr
    assert _command("nonsense").returncode == 2


def test_a_terminal_gets_a_table_without_tabs(cli: Cli) -> None:
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "isthmus.cli.main", "status"],
        stdout=theirs,
        check=True,
        env={**os.environ, "ISTHMUS_URL": cli.url, "COLUMNS": "120", "TERM": "dumb"},
    )
    os.close(theirs)
    text = b""
    # It comes in pieces, and ends in an error (pty(7)): nobody has the other end open.
    with contextlib.suppress(OSError):
        while piece := os.read(ours, 65536):
            text += piece
    os.close(ours)
    assert b"HOST" in text
    assert b"vxlan, nvgre" in text
    assert b"\t" not in text


# -- configuration, certificates, users ------------------------------------------------------------


def test_the_configuration_file_is_read_and_mistakes_in_it_are_named(tmp_path: Path) -> None:
    file = tmp_path / "isthmus.toml"
    file.write_text('[controller]\nname = "c9"\nlisten = ["127.0.0.1:80"]\n[agent.tls]\nca = "x"\n')
    found = load(file)
    assert (found.controller.name, found.controller.listen) == ("c9", ("127.0.0.1:80",))
    assert found.agent.tls.ca == "x"
    for text, words in (
        ("[controller]\nnmae = 1\n", "nmae"),
        ("[controller]\nname = 1\n", "name"),
        ("[controller\n", "isthmus.toml"),
        ("[agent]\nconnections_per_network = -1\n", "connections_per_network"),
        ("[agent]\nnew_connections_per_port = 1.5\n", "new_connections_per_port"),
    ):
        file.write_text(text)
        with pytest.raises(Invalid, match=words):
            load(file)
    with pytest.raises(NotFound):
        load(tmp_path / "missing.toml")


def test_limits_of_a_host_are_read_with_the_defaults_of_a_host(tmp_path: Path) -> None:
    file = tmp_path / "isthmus.toml"
    file.write_text("[agent]\n")
    assert limits(load(file).agent) == Limits()
    file.write_text("[agent]\nconnections_per_network = 5\nnew_connections_per_port = 0\n")
    assert limits(load(file).agent) == Limits(connections=5, opened_pps=0)
    file.write_text("[agent]\nnew_connections_burst = 0\n")
    with pytest.raises(Invalid, match="new_connections_burst"):
        limits(load(file).agent)
    file.write_text("[agent]\nfragments_per_port = 7\nfragments_burst = 9\n")
    assert limits(load(file).agent) == Limits(fragments_pps=7, fragments_burst=9)
    file.write_text("[agent]\nfragments_burst = 0\n")
    with pytest.raises(Invalid, match="fragments_burst"):
        limits(load(file).agent)


def test_certificates_are_made_rotated_and_listed(tmp_path: Path) -> None:
    folder = ("--folder", str(tmp_path))
    assert run(["certs", "init", *folder])[0] == 0
    code, out, _ = run(["certs", "host", "H1", *folder, "--address", "192.0.2.1"])
    assert code == 0
    assert str(tmp_path / "h1.pem") in out
    assert run(["certs", "controller", "c1", *folder, "--dns", "c1.example"])[0] == 0
    assert run(["certs", "client", "me", *folder])[0] == 0
    code, out, _ = run(["certs", "list", *folder, "--json"])
    assert code == 0
    assert [row["name"] for row in json.loads(out)] == ["c1", "h1", "me"]
    assert run(["certs", "rotate", *folder])[0] == 0
    assert run(["certs", "list", *folder])[0] == 0
    nobody = ("--url", "http://127.0.0.1:1")
    code, _, err = run(["certs", "retire", *folder, *nobody])
    assert code != 0
    assert "no controller says what hosts and servers use" in err
    assert run(["certs", "retire", *folder, "--force"])[0] == 0
    code, out, _ = run(["certs", "list", *folder])
    assert code == 1
    assert "issue the certificate again" in out
    assert run(["certs", "renew", *folder])[0] == 0
    assert run(["certs", "list", *folder])[0] == 0
    assert "exists" in run(["certs", "init", *folder])[2]


def test_what_was_issued_elsewhere_is_put_in_the_place_of_what_is_here(tmp_path: Path) -> None:
    authority, bundle, here = tmp_path / "ca", tmp_path / "bundle", tmp_path / "here"
    folder = ("--folder", str(authority))
    run(["certs", "init", *folder])
    assert run(["certs", "host", "h1", *folder, "--into", str(bundle)])[0] == 0
    assert run(["certs", "install", str(bundle), "--into", str(here)])[0] == 0
    modes = {path.name: path.stat().st_mode & 0o777 for path in here.iterdir()}
    assert modes == {"ca.pem": 0o644, "h1.pem": 0o644, "h1-key.pem": 0o600}
    (bundle / "h1.pem").write_bytes((authority / "ca.pem").read_bytes())
    code, _, err = run(["certs", "install", str(bundle), "--into", str(here)])
    assert code != 0
    assert "is not the key of" in err
    assert (here / "h1.pem").read_bytes() != (bundle / "h1.pem").read_bytes()
    assert run(["certs", "forget", "h1", *folder])[0] == 0
    assert run(["certs", "forget", "h1", *folder])[0] != 0


def test_a_certificate_that_cannot_be_read_is_listed_beside_the_others(tmp_path: Path) -> None:
    folder = ("--folder", str(tmp_path))
    run(["certs", "init", *folder])
    for name in ("a", "b", "c"):
        run(["certs", "client", name, *folder])
    (tmp_path / "b.pem").write_text("no certificate")
    code, out, _ = run(["certs", "list", *folder, "--json"])
    rows = {Path(row["file"]).name: row for row in json.loads(out)}
    assert code == 1
    assert [(name, row["name"]) for name, row in rows.items()] == [
        *(("a.pem", "a"), ("b.pem", ""), ("c.pem", "c")),
    ]
    assert "b.pem holds no certificate" in rows["b.pem"]["problem"]
    assert rows["a.pem"]["problem"] == rows["c.pem"]["problem"] == ""


def test_a_client_is_told_its_certificates_by_options_environment_or_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ours", "controller"):
        folder = ("--folder", str(tmp_path))
        if name == "ours":
            run(["certs", "init", *folder])
        run(["certs", "controller", name, *folder, "--address", "127.0.0.1"])
    ca, certificate, key = (str(tmp_path / f"{one}.pem") for one in ("ca", "ours", "ours-key"))
    hosts = Hosts()
    app = create_app(
        MemoryNorth(),
        states=hosts,
        operations=hosts,
        software_version="1",
        registry=CollectorRegistry(),
    )
    files = TlsFiles(tmp_path / "controller.pem", tmp_path / "controller-key.pem", Path(ca))
    listener = Listener("127.0.0.1:0", tls=files, certificates=("ours",))
    configuration = tmp_path / "isthmus.toml"
    with serving(app, listener=listener) as url:
        assert run(["get", "/servers"], url)[0] == 1
        for option in ("--certificate", "--cert"):
            given = (option, certificate, "--key", key, "--ca", ca)
            assert run(["get", "/servers", *given], url)[0] == 0
        assert run(["get", "/servers"], url)[0] == 1  # nothing is left of what another was given
        for name, value in (("CERTIFICATE", certificate), ("KEY", key), ("CA", ca)):
            monkeypatch.setenv(f"ISTHMUS_{name}", value)
        assert run(["get", "/servers"], url)[0] == 0
        assert "nowhere.pem" in run(["get", "/servers", "--ca", "/nowhere.pem"], url)[2]
        for name in ("CERTIFICATE", "KEY", "CA"):
            monkeypatch.delenv(f"ISTHMUS_{name}")
        values = f'certificate = "{certificate}"\nkey = "{key}"\nca = "{ca}"\n'
        configuration.write_text(f"[client.tls]\n{values}")
        monkeypatch.setenv("ISTHMUS_CONFIG", str(configuration))
        assert run(["get", "/servers"], url)[0] == 0
        assert run(["watch", "events", "--count", "1", "--ca", "/nowhere.pem"], url)[0] == 1


def test_users_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ("--file", str(tmp_path / "users"))
    monkeypatch.setenv("ISTHMUS_PASSWORD", "correct horse battery staple")
    assert run(["users", "add", "ann", *file])[0] == 0
    assert run(["users", "list", *file])[1] == "ann\n"
    assert "correct" not in (tmp_path / "users").read_text()
    assert run(["users", "remove", "ann", *file])[0] == 0
    assert run(["users", "remove", "ann", *file])[0] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["agent", "--provider-address", "nonsense"], "IPv4"),
        (["agent", "--provider-address", "192.0.2.1", "--encapsulations", "geneve"], "geneve"),
        (["controller", "--underlay-mtu", "10"], "MTU"),
        (["controller", "--certificate", "/x.pem"], "key"),
    ],
)
def test_daemons_refuse_settings_that_cannot_be_right(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    code, _, said = run([*arguments, "--run-dir", str(tmp_path)])
    assert code == 1
    assert words in said


@pytest.mark.parametrize(
    "text", ["02:11:22:33:44:55", "12:11:22:33:44:55", "001122334455", "2020-01-01", "0x1f", "1_0"]
)
def test_what_is_no_number_in_json_is_text_in_yaml(tmp_path: Path, text: str) -> None:
    file = tmp_path / "one.yaml"
    file.write_text(f"resourceRef: /servers/x\nproperties: {{a: {text}}}\n")
    assert wanted_of([str(file)]).requests[0]["body"]["properties"] == {"a": text}


def test_what_is_a_value_in_json_is_the_same_value_in_yaml(tmp_path: Path) -> None:
    values: list[object] = [0, -7, 4096, 1.5, -2e3, True, False, None, "a", {"b": []}]
    file = tmp_path / "one.json"
    file.write_text(json.dumps({"resourceRef": "/servers/x", "properties": {"a": values}}))
    assert wanted_of([str(file)]).requests[0]["body"]["properties"]["a"] == values


def test_a_port_that_its_host_has_no_longer_plugged_is_explained() -> None:
    told = {
        "request": {"resourceRef": "/p", "etag": "e", "instanceId": "i", "properties": {}},
        "policy": [],
        "claims": [],
        "hosts": [{"host": "h1", "answer": {"interface": None, "flows": [], "missing": []}}],
        "state": None,
        "verdict": "no host has it",
    }
    assert "Switch of h1: not plugged here" in list(explained(told))
