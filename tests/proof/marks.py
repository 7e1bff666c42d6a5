# SPDX-License-Identifier: Apache-2.0
"""Whether the mark of a connection makes a difference to what becomes of its packets.

Of some protocols it makes none: whatever it is, the flows that compare it do what others would do
that do not. A flow that only writes the mark of a connection that is known, and then does what
another would do without it, makes a difference to none but those who read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from isthmus.wire import oxm
from tests.proof import operations as op
from tests.proof.lookups import Lookups, Taken
from tests.proof.operations import Operation
from tests.proof.packet_sets import OFFSET, PacketSet, whole
from tests.proof.slots import SLOT

Reached = Mapping[int, tuple[PacketSet, ...]]
"""By table."""
ReadsMarks = Callable[[PacketSet], bool]
"""Whether anybody looks at the marks of the connections that packets of a set belong to."""


def always(packets: PacketSet) -> bool:
    """Where that has not been looked at."""
    return True


def reads_marks(lookups: Lookups, reached: Reached) -> ReadsMarks:
    """In a program in which these sets come to its tables."""
    known: dict[tuple[int, int], bool] = {}

    def reads(packets: PacketSet) -> bool:
        ours = packets.values & _PROTOCOL, packets.known & _PROTOCOL
        if ours not in known:
            each = (
                its
                for table, sets in reached.items()
                for one in sets
                if (its := one.narrowed(*ours)) is not None and _chooses(lookups, table, its)
            )
            known[ours] = next(each, None) is not None
        return known[ours]

    return reads


def _chooses(lookups: Lookups, table: int, packets: PacketSet) -> bool:
    """Whether packets of a set that differ in their marks alone may find flows that do not do the
    same."""
    taken = lookups.find(table, packets).taken
    return any(
        _compares_mark(one) and not _is_followed_by_the_same(one, taken[number + 1 :])
        for number, one in enumerate(taken)
        if not any(one.packets.is_within(*earlier.packets[:2]) for earlier in taken[:number])
    )


def _is_followed_by_the_same(one: Taken, others: tuple[Taken, ...]) -> bool:
    """Whether what a flow takes would fare the same if its mark were another."""
    values, known = one.packets.values & ~_MARK, one.packets.known & ~_MARK
    done = list(_without_marks(one))
    for other in others:
        if (other.packets.values ^ values) & other.packets.known & known & ~_MARK:
            continue
        if list(_without_marks(other)) != done:
            return False
        if not other.packets.known & ~known & ~_MARK:
            return True
    return False


def _without_marks(one: Taken) -> Iterator[Operation]:
    """What a flow does, but for a known connection's mark."""
    is_known = one.packets.is_within(_ESTABLISHED, _ESTABLISHED)
    for operation in one.flow.operations:
        if not (isinstance(operation, op.Ct) and operation.commit and is_known):
            yield operation


def _compares_mark(one: Taken) -> bool:
    return any(slot == SLOT[oxm.CT_MARK] for slot, _, _ in one.flow.conditions)


_PROTOCOL = 0xFF << OFFSET[SLOT[oxm.IP_PROTO]]
_ESTABLISHED = oxm.CT_EST << OFFSET[SLOT[oxm.CT_STATE]]
_MARK = whole(oxm.CT_MARK)
