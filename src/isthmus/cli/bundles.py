# SPDX-License-Identifier: Apache-2.0
"""``isthmus bundle``: what support needs in one file, and what can be asked of that file.

It holds the status, what the doctor found, counters, every resource as it is rendered (so without
passwords and keys, which can be written only) and the policy with what hosts said of it: as JSON,
compressed.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli.connecting import Url, User, connect
from isthmus.errors import Invalid, NotFound

bundles = typer.Typer()

Told = Mapping[str, Any]


@bundles.command()
def bundle(
    file: Annotated[Path, typer.Argument(help="To write: cloud.json.gz")],
    url: Url = "",
    user: User = "",
) -> None:
    """Write everything that support needs into one file, secrets left out. `isthmus trace --bundle`
    and `isthmus explain port --bundle` ask it."""
    from isthmus.files import replace_file

    with connect(url, user, timeout_s=120.0) as client:
        told = client.bundle()
    data = gzip.compress(json.dumps(told).encode())
    replace_file(file, data)
    n_rows = sum(len(rows) for rows in told["south"].values())
    typer.echo(f"{file}: {len(told['north'])} resources, {n_rows} rows, {len(data)} bytes")


def read(file: Path) -> Told:
    """A bundle. Raises NotFound, Invalid."""
    try:
        told: Told = json.loads(gzip.decompress(file.read_bytes()))
        told["south"], told["north"]
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {file}", target=str(file)) from error
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        text = f"{file} is no bundle: `isthmus bundle` writes one"
        raise Invalid(text, target=str(file)) from error
    return told


def rows_of(told: Told) -> Iterator[Any]:
    """The rows of the south store that a bundle holds."""
    from isthmus.policy.rows import TABLES
    from isthmus.store import south_rows

    for table in TABLES:
        for row in told["south"].get(table.TABLE, ()):
            # JSON has no tuples; a bundle of another version may have further columns.
            columns = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in row.items()
                if name in table.__struct_fields__
            }
            yield south_rows.read(table, columns)


def traced_offline(file: Path, source: str, destination: str, how: Mapping[str, Any]) -> Told:
    """`isthmus trace` on a bundle. Raises NotFound, Invalid."""
    from isthmus.controller.tracing import shown
    from isthmus.reach.trace import Question, trace
    from isthmus.reach.world import World

    if how.get("switches"):
        raise Invalid("a bundle has no switches: leave out --switches")
    question = Question(
        source,
        destination,
        protocol=int(how["protocol"]),
        destination_port=int(how["port"]),
        source_port=int(how["sourcePort"]),
        family=int(how.get("family", 0)),
    )
    return shown(trace(World(rows_of(read(file))), question))


def explained_offline(file: Path, port_id: str) -> Told:
    """`isthmus explain port` on a bundle. Raises NotFound, Invalid."""
    from isthmus.controller.explaining import explained
    from isthmus.controller.hearing import Hearing
    from isthmus.controller.observed_state import ObservedState

    told = read(file)
    ref = f"/networkinterfaces/{port_id.lower()}"
    request = next((one for one in told["north"] if one["resourceRef"].lower() == ref), None)
    if request is None:
        raise NotFound(f"the bundle has no networkInterface {port_id}", target=ref)
    now_s = float(told["atS"])
    hearing = Hearing(lambda: now_s, listening_s=0.0)
    observed = ObservedState(lambda: now_s, hearing)
    for row in rows_of(told):
        observed.change(None, row)
    for host in told["status"]["hosts"]:
        if host["ageSeconds"] is not None:  # as the controller had it by its own clock
            hearing.heard(host["host"], host["ageSeconds"])
    shown: Told = json.loads(json.dumps(explained(request, observed, None, {})))
    return shown
