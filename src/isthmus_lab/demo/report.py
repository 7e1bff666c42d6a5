# SPDX-License-Identifier: Apache-2.0
"""What the demonstration says, as it goes: colours on a terminal, the same text in a pipe."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from isthmus_lab.demo.check import Check, Unmet
from isthmus_lab.demo.cloud import Cloud


class Report:
    """Runs checks and counts. `failed` are the claims that do not hold."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._section = ""
        self.passed = 0
        self.failed: list[str] = []

    def say(self, text: str, style: str = "") -> None:
        self._console.print(escape(text), style=style or None, soft_wrap=True, highlight=False)

    def run(self, checks: Sequence[Check], cloud: Cloud) -> None:
        """Run the checks in order, as far as the first essential one that fails."""
        for number, check in enumerate(checks, start=1):
            if not self.run_one(check, cloud) and check.essential:
                self.say(f"  The other {len(checks) - number} checks need that and are not run.")
                return

    def run_one(self, check: Check, cloud: Cloud) -> bool:
        self._begin(check.section)
        start = time.monotonic()
        try:
            if self._console.is_terminal:
                with self._console.status(escape(check.claim)):
                    detail = check.run(cloud)
            else:
                detail = check.run(cloud)
        except Unmet as unmet:
            return self._fail(check, str(unmet))
        except Exception as error:
            # Whatever it was, the remaining checks still have something to say.
            return self._fail(check, f"{type(error).__name__}: {error}")
        seconds = time.monotonic() - start
        self.passed += 1
        told = f"{escape(check.claim)}  [dim]{escape(detail)}; {seconds:.1f} s[/dim]"
        self._console.print(f"  [green]ok[/green]  {told}", soft_wrap=True, highlight=False)
        return True

    def _begin(self, section: str) -> None:
        if section != self._section:
            self._section = section
            self.say(f"\n{section}", style="bold")

    def _fail(self, check: Check, reason: str) -> bool:
        self.failed.append(f"{check.section}: {check.claim}")
        self._console.print(
            f"  [red]FAILED[/red]  {escape(check.claim)}\n          {escape(reason)}",
            soft_wrap=True,
            highlight=False,
        )
        return False
