# SPDX-License-Identifier: Apache-2.0
"""``python -m isthmus_lab.demo``: run it, say what held, leave nothing.

Exit status 0 when every check passed, 1 when one did not, 130 after Ctrl-C.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from isthmus.errors import IsthmusError
from isthmus_lab import namespaces, prerequisites
from isthmus_lab.daemon import marked_processes
from isthmus_lab.demo import building, isolation, reachability, resilience, rules
from isthmus_lab.demo.check import Check, expect
from isthmus_lab.demo.cloud import HOSTS, PLACES, TENANTS, Cloud
from isthmus_lab.demo.report import Report
from isthmus_lab.lab import Lab

NAME = "demo"


def planned() -> list[Check]:
    return [
        *building.checks(),
        *reachability.checks(),
        *isolation.checks(),
        *rules.checks(),
        *resilience.checks(),
    ]


def main(
    dry_run: Annotated[bool, typer.Option(help="Say what would be done, and do nothing.")] = False,
    keep: Annotated[bool, typer.Option(help="Leave the cloud up, to look around in it.")] = False,
    name: Annotated[str, typer.Option(help="Of its lab: two may run side by side.")] = NAME,
    patience: Annotated[
        float, typer.Option(help="By how much this machine may be slower than an idle one.")
    ] = 1.0,
) -> None:
    """Three hosts, two tenants, real packets: show what Isthmus does, and prove that it does it."""
    report = Report(Console())
    if dry_run:
        describe(report, name)
        raise typer.Exit(0)
    if problem := prerequisites.missing():
        report.say(f"demo: {problem}")
        raise typer.Exit(1)
    try:
        raise typer.Exit(demonstrate(report, name, keep=keep, patience=patience))
    except KeyboardInterrupt:
        report.say("demo: interrupted, cleaned up")
        raise typer.Exit(130) from None
    except IsthmusError as error:
        report.say(f"demo: {error.message}")
        raise typer.Exit(1) from None


def describe(report: Report, name: str) -> None:
    report.say(
        f"demo: would make the lab {name!r}: {len(HOSTS)} hosts, {len(TENANTS)} tenants with"
        f" {len(PLACES)} guests each, in network namespaces is-{name}-… and in"
        f" {Lab(name).run_directory}; would run these checks, and remove all of it:"
    )
    section = ""
    for check in [*planned(), CLEAN]:
        if check.section != section:
            section = check.section
            report.say(f"\n{section}", style="bold")
        report.say(f"  {check.claim}")


def demonstrate(report: Report, name: str, *, keep: bool, patience: float) -> int:
    """Run all checks; the exit status."""
    checks = planned()
    total = len(checks) + (not keep)
    lab = Lab(name)
    cloud = Cloud(lab, patience=patience)
    try:
        lab.refuse_if_up()
        with lab:
            report.run(checks, cloud)
            if report.failed:
                logs = Path(tempfile.mkdtemp(prefix="isthmus-demo-"))
                lab.save_logs(logs)
                report.say(f"\nThe logs were saved in {logs}")
            if keep:
                lab.release()
    finally:
        if cloud.north is not None:
            cloud.north.close()
    if keep:
        report.say(f"\nThe cloud is up; to end it: isthmus lab down --name {name}")
    else:
        report.run_one(CLEAN, cloud)
    report.say("")
    for claim in report.failed:
        report.say(f"failed: {claim}")
    report.say(f"demo: {report.passed} of {total} checks passed")
    return 0 if report.passed == total else 1


def nothing_left(cloud: Cloud) -> str:
    left = [
        *namespaces.existing(cloud.lab.namespace("")),
        *map(str, marked_processes(cloud.lab.run_directory)),
        *([str(cloud.lab.run_directory)] if cloud.lab.run_directory.exists() else []),
    ]
    expect(not left, "no namespace, process or file of the demonstration", left)
    return "no namespace, no process, no file"


CLEAN = Check("The end", "nothing is left of it", nothing_left)


if __name__ == "__main__":
    typer.run(main)
