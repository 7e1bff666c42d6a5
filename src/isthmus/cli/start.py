# SPDX-License-Identifier: Apache-2.0
"""Where the command begins: nothing is read yet that takes a moment."""

from __future__ import annotations

import sys

INTERRUPTED = 130
"""Exit status of a program that SIGINT has ended, as shells have it."""


def main() -> None:
    """Run the command line. Who presses Ctrl-C while it is being read sees no traceback."""
    try:
        from isthmus.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
