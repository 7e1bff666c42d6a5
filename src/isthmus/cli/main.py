# SPDX-License-Identifier: Apache-2.0
"""The ``isthmus`` command.

Exit status: 0 done, 1 refused or something is wrong, 2 a wrong command line, 3 out of reach.
"""

from __future__ import annotations

import os
import sys

import typer
from typer.core import TyperGroup

from isthmus.cli.daemons import daemons
from isthmus.errors import IsthmusError, Unavailable

REFUSED, UNREACHABLE = 1, 3

app = typer.Typer(
    name="isthmus",
    help="One virtual network across hypervisors.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    cls=TyperGroup,
)
app.add_typer(daemons)


def main() -> None:
    """Run the command line; errors become one sentence and an exit status."""
    try:
        app()
    except IsthmusError as error:
        if os.environ.get("ISTHMUS_DEBUG"):
            raise
        print(f"isthmus: {_sentence(error)}", file=sys.stderr)
        sys.exit(UNREACHABLE if isinstance(error, Unavailable) else REFUSED)
    except BrokenPipeError:
        # Whoever read our output has enough of it; what Python would flush at exit has no reader.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(REFUSED)


def _sentence(error: IsthmusError) -> str:
    target = f" [{error.target}]" if error.target else ""
    lines = [f"{error.message}{target} ({error.code})"]
    lines += [f"  {detail.code}: {detail.message}" for detail in error.details]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
