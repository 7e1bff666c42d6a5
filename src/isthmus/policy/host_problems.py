# SPDX-License-Identifier: Apache-2.0
"""What a host says is wrong with itself, as the sentences of `Heartbeat.problems`.

A sentence names the fault and its repair, so that whoever reads the row knows both; programs find
the parts again by `read`. A sentence of another form, of an older host, is a problem too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from isthmus.policy.observed import MOST_TEXT

SECOND_AGENT = "second-agent@"
"""How an agent calls itself, before its provider address, that was refused its name."""

TUNNEL, TUNNEL_SOURCE, TUNNELS = "unreachable-tunnel", "tunnel-source", "unreachable-tunnels"
"""Codes of problems with the way to one peer, whose `about` is the peer's name, and to many."""
TUNNEL_UNKNOWN = "tunnel-unknown"
"""The peer answers no questions through tunnels; `about` is its name."""
PROVIDER_ADDRESS = "provider-address"
"""No interface has it."""
NO_PORT, TWICE, CLOSED = "interface-no-port", "interface-twice", "interface-closed"
"""Codes of problems with interfaces; `about` is the port that they name, in lower case."""
AGENT_FAULT = "agent-fault"
"""Work of the agent fails for a reason that it does not know; `about` is the work."""
OTHER = "host-problem"
MOST_ABOUT = 128
"""A resourceId has no more characters."""

_FORM = re.compile(
    r"(?P<finding>.*); repair: (?P<repair>.*)"
    r' \[(?P<code>[a-z-]+) (?P<about>"(?:[^"\\]|\\.)*")\]',
    re.DOTALL,
)
"""What it concerns is a JSON text (RFC 8259 section 7): names may hold anything."""


class HostProblem(NamedTuple):
    """`code` is a word for programs; `about` what it concerns: a host, a port, an interface."""

    code: str
    about: str
    finding: str
    repair: str

    @property
    def text(self) -> str:
        """The sentence, of `MOST_TEXT` characters that can be printed at most: what is longer is
        cut where people read it, and its parts are found again."""
        about = json.dumps(self.about[:MOST_ABOUT], ensure_ascii=False)
        room = MOST_TEXT - len(f"; repair:  [{self.code} {about}]")
        repair = _plain(self.repair, room // 2)
        finding = _plain(self.finding, room - len(repair))
        return f"{finding}; repair: {repair} [{self.code} {about}]"

    @property
    def shown(self) -> str:
        """The sentence for people, in one line that can be printed."""
        text = f"{self.finding}: {self.repair}" if self.repair else self.finding
        return _plain(text, MOST_TEXT)


def _plain(text: str, most: int) -> str:
    """Names may hold anything: what cannot be printed becomes U+FFFD."""
    if len(text) <= most and text.isprintable():
        return text
    found = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:most])
    return found if len(text) <= most else f"{found[:-1]}\N{HORIZONTAL ELLIPSIS}"


def agent_fault(work: str, error: str) -> HostProblem:
    """A work of the agent that fails, and that it goes on trying."""
    return HostProblem(
        *(AGENT_FAULT, work),
        f"a fault of the agent: {work} fails with {error}",
        "it is tried again; journalctl -u isthmus-agent shows where. Should it stay: systemctl"
        " restart isthmus-agent",
    )


def read(sentence: str) -> HostProblem:
    """The parts of a sentence of a heartbeat."""
    found = _FORM.fullmatch(sentence)
    try:
        about = json.loads(found["about"]) if found else None
    except ValueError:
        about = None
    if found is None or about is None:
        return HostProblem(OTHER, "", sentence, "")
    return HostProblem(found["code"], about, found["finding"], found["repair"])


def shown(sentences: Iterable[str], alive: frozenset[str]) -> list[HostProblem]:
    """Problems to be told. That no tunnel packet comes back from a peer is no news where the peer
    is not alive (`alive` names the hosts that are): that is said of the peer itself."""
    problems = [read(sentence) for sentence in sentences]
    return [one for one in problems if is_news(one.code, one.about, alive)]


def is_news(code: str, about: str, alive: frozenset[str]) -> bool:
    """Whether a problem is told, whoever has noticed it."""
    return code not in (TUNNEL, TUNNEL_UNKNOWN) or about in alive
