# SPDX-License-Identifier: Apache-2.0
"""docs/pipeline.md: what is declared of stages and registers, as tables, with the room that is
left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from isthmus.switches.ovs.bands import BANDS, Band
from isthmus.switches.ovs.declared import STAGES, Name
from isthmus.switches.ovs.pipeline import DROPS, FOLLOWING, ROOM, Stage
from isthmus.switches.ovs.placing import Register, free
from isthmus.switches.ovs.registers import REGISTERS
from isthmus.wire import oxm


def markdown() -> str:
    """The page."""
    return "\n".join(
        (
            "# The data plane's stages and registers",
            "",
            "Written from `src/isthmus/switches/ovs/` (`pipeline`, `bands`, `registers`,"
            " `declared`) by `make docs`. Every flow is held to it when it is made.",
            "",
            "## Stages",
            "",
            "| table | stage | a packet that ends here was |",
            "|---|---|---|",
            *_tables(),
            "",
            "## What the flows of a stage may do",
            "",
            "Names in capitals are registers, fields are as in ovs-fields(7). A band is one"
            " priority, or several (first–last). Priority 0 drops, in every stage.",
            "",
            "| stage | looks at | writes | leads to | bands |",
            "|---|---|---|---|---|",
            *(_stage(stage) for stage in Stage),
            "",
            "## Registers",
            "",
            "Where a register is follows from the stages in which it lives. One that is *written"
            " at* a stage has been written by whatever goes from there into its life; another one"
            " is zero until somebody writes it.",
            "",
            "| register | bits | holds | lives | written at | place |",
            "|---|---|---|---|---|---|",
            *(_register(one) for one in REGISTERS),
            "",
            "## Bits that are free",
            "",
            "Of each 32-bit register, by stage. Two neighbours of an even and an odd number are one"
            " of 64 bits; four from a multiple of four on are one of 128.",
            "",
            f"| stages | {' | '.join(one.text.removeprefix('reg') for one in oxm.REG)} | all |",
            f"|---|{'---|' * (len(oxm.REG) + 1)}",
            *_free(),
            "",
        )
    )


def _tables() -> Iterator[str]:
    rows = {stage.value: f"| {stage.value} | {stage.name} | {DROPS[stage]} |" for stage in Stage}
    rows |= {its[0]: f"| {its[0]}–{its[-1]} | | *free:* {what} |" for its, what in ROOM.items()}
    yield from (rows[number] for number in sorted(rows))


def _stage(stage: Stage) -> str:
    declared = STAGES[stage]
    leads = ", ".join(one.name for one in FOLLOWING[stage])
    writes = _names(one for one in declared.writes if one is not oxm.METADATA)
    bands = ", ".join(_band(one) for one in sorted(BANDS[stage], reverse=True))
    return f"| {stage.name} | {_names(declared.matches)} | {writes} | {leads} | {bands} |"


def _names(names: Iterable[Name]) -> str:
    registers, fields = [], []
    for one in names:
        if isinstance(one, Register):
            registers.append(one.name)
        else:
            fields.append(one.text)
    return ", ".join((*sorted(registers), *sorted(fields)))


def _band(band: Band) -> str:
    last = f"–{band.last}" if band.last > band else ""
    return f"{band.name} {band.value}{last}"


def _register(one: Register) -> str:
    lives = ", ".join(
        first.name if first is last else f"{first.name}–{last.name}" for first, last in one.lives
    )
    written = ", ".join(stage.name for stage in one.written_at)
    last = f"..{one.first_bit + one.bits - 1}" if one.bits > 1 else ""
    end = f"[{one.first_bit}{last}]"
    parts = "".join(f"; {name} {bits}" for name, bits in one.parts)
    place = f"{one.field.text}{'' if one.bits == one.field.bits else end}"
    return f"| {one.name} | {one.bits}{parts} | {one.about} | {lives} | {written} | {place} |"


def _free() -> Iterator[str]:
    for room, stages in groupby(Stage, lambda stage: free(REGISTERS, stage)):
        its = list(stages)
        name = its[0].name if len(its) == 1 else f"{its[0].name}–{its[-1].name}"
        yield f"| {name} | {' | '.join(str(bits) for bits in room)} | {sum(room)} |"
