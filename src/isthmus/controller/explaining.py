# SPDX-License-Identifier: Apache-2.0
"""One port, from the request to the switch: what `isthmus explain port` shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus.controller.picture import Picture
from isthmus.intent.model import Json, JsonObject
from isthmus.policy.host_problems import NO_PORT
from isthmus.policy.rows import Port, Row
from isthmus.policy.values import PortState
from isthmus.reach.world import World
from isthmus.store.south_rows import shown


def explained(
    request: JsonObject,
    world: World,
    picture: Picture,
    told: Mapping[str, JsonObject] | None,
    unknown: Mapping[str, str],
) -> JsonObject:
    """`request` is the rendered networkInterface; `told` what hosts say of the port, None where
    they cannot be asked; `unknown` why nobody knows how hosts are now, and since when."""
    port_id = str(request["resourceId"]).lower()
    port = world.ports.get(port_id)
    return {
        "request": request,
        "policy": [_row(row) for row in _policy_of(world, port)],
        "claims": [_row(row) for row in world.claims_by_port.get(port_id, ())],
        "hosts": [{"host": host, "answer": answer} for host, answer in (told or {}).items()],
        "state": picture.configuration_state("networkInterfaces", str(request["instanceId"])),
        "verdict": verdict(port_id, port, picture, told, unknown),
    }


def _policy_of(world: World, port: Port | None) -> Iterator[Row]:
    """The port, and what holds for it: its segment, its router, its rules."""
    if port is None:
        return
    yield port
    if port.segment in world.segments:
        yield world.segments[port.segment]
    yield from world.subnets_by_segment.get(port.segment, ())
    for leg in world.legs_by_segment.get(port.segment, ()):
        yield leg
        if leg.router in world.routers:
            yield world.routers[leg.router]
    for name in sorted({one.rule_set for one in port.rule_sets}):
        if name in world.rule_sets:
            yield world.rule_sets[name]
        rules = world.rules_by_set.get(name, ())
        yield from sorted(rules, key=lambda rule: (rule.direction, rule.priority, rule.id))


def verdict(
    port_id: str,
    port: Port | None,
    picture: Picture,
    told: Mapping[str, JsonObject] | None,
    unknown: Mapping[str, str],
) -> str:
    """One sentence for whoever asks at 3 a.m."""
    if port is None:
        return (
            "no policy: the interface has no address in a virtual subnet, or the controller"
            " has not derived it yet (isthmus status)"
        )
    claim = picture.claim_of(port_id)
    if claim is None:
        strangers = sorted(picture.claims_by_port.get(port_id, {}))
        if strangers:
            return f"only {', '.join(strangers)} claims it, which may not have it or is no server"
        named = [f"; on {host}: {text}" for host, text in misnamed(picture)]
        return (
            "no host has it: plug an interface with external_ids:iface-id="
            f"{port_id} or {port.profile_id} into a host's integration bridge{''.join(named)}"
        )
    if claim.host in unknown:
        return (
            f"unknown: {claim.host} has it, and {unknown[claim.host]}: is isthmus agent running"
            " there?"
        )
    if not picture.is_alive(claim.host):
        age_s = picture.host_view(claim.host).age_s
        silent = "was never heard of" if age_s is None else f"has been silent for {age_s} s"
        return f"unknown: {claim.host} has it, and {silent}: is isthmus agent running there?"
    status = picture.status_of(port_id)
    if status is None or status.revision != port.revision:
        return f"{claim.host} has it and has not applied the last change yet"
    if status.state is PortState.ERROR:
        return f"{claim.host} has it and reports: {status.detail}"
    if told is None:
        return f"works: {claim.host} had it and had applied it when this was written"
    answer = told.get(claim.host, {})
    if answer.get("error"):
        return f"unknown: {claim.host} has applied it, but does not answer now: {answer['error']}"
    if answer.get("missing"):
        return f"{claim.host}'s switch lacks flows of it: the agent there will put them back"
    problems = answer.get("problems")
    if isinstance(problems, list | tuple) and problems:
        return f"{claim.host} has it, but {'; '.join(map(str, problems))}"
    return f"works: {claim.host} has it, and its switch holds all its flows"


def misnamed(picture: Picture, port_id: str = "") -> list[tuple[str, str]]:
    """By host, the interfaces that name no port, or `port_id`, which is none."""
    return [
        (view.host, problem.finding)
        for view in picture.host_views()
        if view.alive
        for problem in picture.problems_of(view)
        if problem.code == NO_PORT and (not port_id or problem.about == port_id)
    ]


def _row(row: Row) -> dict[str, Json]:
    return {"table": row.TABLE, "row": shown(row)}
