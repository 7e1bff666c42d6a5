# SPDX-License-Identifier: Apache-2.0
"""Routes of a subnet, logical (MS-NCNBI section B.8) or, by our extension, virtual: destination and
next hop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from isthmus.errors import Invalid
from isthmus.intent.address_values import IpAddress, IpPrefix
from isthmus.intent.addressing import number_of, space
from isthmus.intent.fields import Part, required


class Route(Part, frozen=True, kw_only=True):
    """One route for the hosts or guests of a subnet."""

    destination: Annotated[
        str, IpPrefix("InvalidRouteAddressPrefix"), required("Prefix that it leads to.")
    ]
    next_hop: Annotated[
        str,
        IpAddress("InvalidNextHopIpAddress"),
        required("Address inside the subnet.", "MissingNextHopIpAddress"),
    ]


def check_routes(routes: Sequence[Route], prefix: str | None, path: str) -> None:
    """Next hops lie in the subnet, destinations are of its family and distinct. Raises Invalid."""
    seen: dict[str, int] = {}
    for index, route in enumerate(routes):
        if prefix is None or not space(prefix).holds(*number_of(route.next_hop)):
            raise Invalid(
                f"{route.next_hop} is outside the subnet's prefix {prefix}: a next hop must be"
                " inside.",
                code="InvalidNextHopIpAddress",
                target=f"{path}[{index}].nextHop",
            )
        if space(route.destination).family != space(prefix).family:
            raise Invalid(
                f"{route.destination} is of another address family than {prefix}.",
                code="InvalidRouteAddressPrefix",
                target=f"{path}[{index}].destination",
            )
        first = seen.setdefault(route.destination, index)
        if first != index:
            raise Invalid(
                f"{route.destination} is the destination of {path}[{first}] already.",
                code="RouteConflict",
                target=f"{path}[{index}].destination",
            )
