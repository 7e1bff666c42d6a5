# SPDX-License-Identifier: Apache-2.0
"""Routes of a subnet: destination and next hop. Of a logical one they are resources of their own
(MS-NCNBI 3.1.5.8.2.3), of a virtual one, by our extension, a list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from isthmus.errors import Invalid
from isthmus.intent.address_values import IpAddress, IpPrefix
from isthmus.intent.addressing import number_of, space
from isthmus.intent.fields import MISSING, Part, kept, required
from isthmus.intent.resource import Resource


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


class LogicalRoute(Resource, frozen=True, kw_only=True):
    """One route for the hosts on a logical subnet: a record, for hosts route their underlay
    themselves."""

    destination: Annotated[
        str,
        IpPrefix("InvalidRouteAddressPrefix"),
        kept("Prefix that it leads to.", required=MISSING),
    ]
    next_hop: Annotated[
        str,
        IpAddress("InvalidNextHopIpAddress"),
        kept("Address inside the subnet.", required="MissingNextHopIpAddress"),
    ]


def check_routes(routes: Iterable[tuple[str, Route | LogicalRoute]], prefix: str | None) -> None:
    """Next hops lie in the subnet, destinations are of its family and distinct. With each route
    comes the JSON path of its fields, which ends in a dot. Raises Invalid."""
    seen: set[str] = set()
    for path, route in routes:
        if prefix is None or not space(prefix).holds(*number_of(route.next_hop)):
            raise Invalid(
                f"{route.next_hop} is outside the subnet's prefix {prefix}: a next hop must be"
                " inside.",
                code="InvalidNextHopIpAddress",
                target=f"{path}nextHop",
            )
        if space(route.destination).family != space(prefix).family:
            raise Invalid(
                f"{route.destination} is of another address family than {prefix}.",
                code="InvalidRouteAddressPrefix",
                target=f"{path}destination",
            )
        if route.destination in seen:
            raise Invalid(
                f"{route.destination} is the destination of another route already.",
                code="RouteConflict",
                target=f"{path}destination",
            )
        seen.add(route.destination)
