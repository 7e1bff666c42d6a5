# SPDX-License-Identifier: Apache-2.0
"""Where values live in a packet's registers: declared by width and stages, placed by computation.

Open vSwitch gives a packet 16 registers of 32 bits, which are also 8 of 64 and 4 of 128. A value is
declared with the stages in which it is looked at. Two values may have the same bits where no stage
has both; and if one of them is expected to be zero before anybody has written it, no packet may
bring what the other has left behind. What has no place is `NoRoom`, when the program is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as later

from isthmus.switches.ovs.pipeline import Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm

REGISTER_BITS = 32
_LOADED_BITS = 64
"""What one load action can set."""

Bit = tuple[int, int]
"""Number of a 32-bit register, and the bit in it; 0 is the least significant."""


class NoRoom(Exception):
    """No bits are left for a value in all of its stages."""


@dataclass(slots=True, eq=False)
class Place:
    """Some bits of a register, as matches and actions name them."""

    field: oxm.Field = later(init=False)
    first_bit: int = later(init=False)
    bits: int
    _number: int = later(init=False, default=-1)
    _mask: int = later(init=False, default=0)
    _head: bytes = later(init=False, default=b"")
    _tail: bytes = later(init=False, default=b"")

    def put(self, place: oxm.Field, first_bit: int) -> None:
        """Say where it is; once."""
        assert self._number < 0, "it has its place"
        self.field, self.first_bit = place, first_bit
        self._number, low = first_bit_of(place, first_bit)
        if self.bits <= REGISTER_BITS:
            self.field, self.first_bit = oxm.REG[self._number], low
            self._mask = self.ones << low
            is_whole = self.bits == REGISTER_BITS
            self._head = self.field.exact if is_whole else self.field.masked
            self._tail = b"" if is_whole else self._mask.to_bytes(4, "big")

    @property
    def ones(self) -> int:
        return (1 << self.bits) - 1

    @property
    def number(self) -> int:
        """Of the 32-bit register that has its lowest bit."""
        return self._number

    def match(self, value: int, mask: int | None = None) -> bytes:
        """The entry that compares it, or those bits of it that are ones in `mask`. For up to 32
        bits; raises OverflowError for more."""
        if mask is None and not self._tail:
            return self._head + value.to_bytes(4, "big")
        if value >> self.bits:
            raise OverflowError(f"{value:#x} has more than {self.bits} bits")
        if mask is None:
            return self._head + (value << self.first_bit).to_bytes(4, "big") + self._tail
        return oxm.reg(self._number, value << self.first_bit, mask << self.first_bit & self._mask)

    def entries(self, value: int) -> tuple[bytes, ...]:
        """Likewise, for more than 32 bits: by 32-bit register, as a switch reads it back."""
        found: dict[int, tuple[int, int]] = {}
        for position, (number, bit) in enumerate(self.places()):
            its, mask = found.get(number, (0, 0))
            found[number] = its | (value >> position & 1) << bit, mask | 1 << bit
        return tuple(oxm.reg(number, *found[number]) for number in sorted(found))

    def load(self, value: int) -> bytes:
        """Sets it; for up to 64 bits."""
        return act.load(value, self.field, self.first_bit, self.bits)

    def clear(self) -> tuple[bytes, ...]:
        """Sets it to zero."""
        if self.bits <= _LOADED_BITS:
            return (self.load(0),)
        first = 2 * oxm.XXREG.index(self.field)
        return act.load(0, oxm.XREG[first]), act.load(0, oxm.XREG[first + 1])

    def take(self, source: oxm.Field) -> bytes:
        """Copies a field into its lowest bits."""
        return act.move(source, 0, self.field, self.first_bit, source.bits)

    def give(self, destination: oxm.Field) -> bytes:
        """Copies its lowest bits into a field."""
        return act.move(self.field, self.first_bit, destination, 0, destination.bits)

    def give_to(self, destination: oxm.Field, first_bit: int, n_bits: int) -> bytes:
        """Copies its lowest bits into some bits of a field."""
        return act.move(self.field, self.first_bit, destination, first_bit, n_bits)

    def copy_to(self, other: Place) -> bytes:
        """Copies it into another place of the same width."""
        return act.move(self.field, self.first_bit, other.field, other.first_bit, self.bits)

    def output(self) -> bytes:
        """Sends the packet to the port whose number it is; not to the port it came from."""
        return act.output_reg(self.field, self.first_bit, self.bits)

    def of(self, fields: Mapping[oxm.Field, int]) -> int:
        """What a packet that has come up has in it; 0 where the switch does not say."""
        return sum(
            (fields.get(oxm.REG[number], 0) >> bit & 1) << position
            for position, (number, bit) in enumerate(self.places())
        )

    def places(self) -> Iterator[Bit]:
        """Its bits, from the least significant."""
        for bit in range(self.first_bit, self.first_bit + self.bits):
            yield first_bit_of(self.field, bit)


def first_bit_of(place: oxm.Field, bit: int) -> Bit:
    """The 32-bit register and its bit that a bit of a wide one is."""
    return _LOWEST[place] - bit // REGISTER_BITS, bit % REGISTER_BITS


_LOWEST = {
    field: number * n_registers + n_registers - 1
    for fields, n_registers in ((oxm.REG, 1), (oxm.XREG, 2), (oxm.XXREG, 4))
    for number, field in enumerate(fields)
}
"""The 32-bit register that has the lowest bits of a register."""


@dataclass(slots=True, eq=False)
class Register(Place):
    """A value of packets. `parts` are its bits by name, from the least significant, each with its
    width; `about` says what it holds.

    It is looked at in the stages from `lives`. Where `written_at` names stages, what goes from one
    of these into its life has written it; otherwise, and where it `starts_at_zero`, it is zero
    until somebody writes it. One that is `left_zero` is set to zero by what leaves its life.
    """

    name: str
    about: str
    lives: tuple[tuple[Stage, Stage], ...] = ()
    written_at: tuple[Stage, ...] = ()
    starts_at_zero: bool = False
    left_zero: bool = False
    parts: tuple[tuple[str, int], ...] = ()
    alive: frozenset[Stage] = later(init=False)
    occupied: frozenset[Stage] = later(init=False)
    _parts: dict[str, Place] = later(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        spans = (range(first, last + 1) for first, last in self.lives)
        alive = {number for span in spans for number in span}
        self.alive = frozenset(stage for stage in Stage if stage in alive)
        self.occupied = self.alive.union(self.written_at)
        self.starts_at_zero |= not self.written_at
        assert sum(width for _, width in self.parts) in (0, self.bits)

    def put(self, place: oxm.Field, first_bit: int) -> None:
        Place.put(self, place, first_bit)
        first = self.first_bit
        for name, width in self.parts:
            self._parts[name] = Place(width)
            self._parts[name].put(self.field, first)
            first += width

    def __getitem__(self, part: str) -> Place:
        """Some of its bits, by name."""
        return self._parts[part]


def place(registers: Sequence[Register], reached: Mapping[Stage, frozenset[Stage]]) -> None:
    """Give each register its bits: the widest first, then in the order in which they are declared,
    each where the first are that it may have. `reached`: the stages to which packets of a stage can
    come. Raises NoRoom.
    """
    taken: dict[Bit, list[Register]] = {}
    for register in sorted(registers, key=lambda one: -_aligned(one.bits)):
        for field_, first_bit in _candidates(register.bits):
            bits = [
                first_bit_of(field_, bit) for bit in range(first_bit, first_bit + register.bits)
            ]
            others = {other for bit in bits for other in taken.get(bit, ())}
            if all(may_share(register, other, reached) for other in others):
                register.put(field_, first_bit)
                for bit in bits:
                    taken.setdefault(bit, []).append(register)
                break
        else:
            raise NoRoom(
                f"no {register.bits} bits are left for {register.name} in all of its stages"
            )


def may_share(one: Register, other: Register, reached: Mapping[Stage, frozenset[Stage]]) -> bool:
    """Whether two registers may have the same bits."""
    if one.occupied & other.occupied:
        return False
    return all(
        not first.starts_at_zero
        or then.left_zero
        or not any(reached[stage] & first.occupied for stage in then.occupied)
        for first, then in ((one, other), (other, one))
    )


def _aligned(bits: int) -> int:
    return next(width for width in (32, 64, 128) if bits <= width) if bits > 16 else bits


def _candidates(bits: int) -> Iterator[tuple[oxm.Field, int]]:
    if bits > REGISTER_BITS:
        for place in oxm.XREG if bits <= _LOADED_BITS else oxm.XXREG:
            yield place, 0
    else:
        for place in oxm.REG:
            for first_bit in range(REGISTER_BITS - bits + 1):
                yield place, first_bit


def free(registers: Iterable[Register], stage: Stage) -> list[int]:
    """How many bits of each 32-bit register nobody has in a stage."""
    taken = {bit for one in registers if stage in one.occupied for bit in one.places()}
    return [
        REGISTER_BITS - sum((number, bit) in taken for bit in range(REGISTER_BITS))
        for number in range(len(oxm.REG))
    ]
