# SPDX-License-Identifier: Apache-2.0
"""``diagnostics/ConnectivityCheck`` and its results (MS-NCNBI section B.20)."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Annotated

from isthmus.api.http.replies import Reply, json_reply
from isthmus.api.interfaces import Check
from isthmus.api.routes import VERSIONED, Call, Route, Services
from isthmus.api.schemas import (
    COUNT,
    FREE,
    ID,
    OF_A_BODY,
    TEXT,
    answer,
    list_of,
    object_of,
)
from isthmus.errors import Invalid, NotFound
from isthmus.intent.address_values import IpAddress
from isthmus.intent.fields import Field, Part, Rules, required
from isthmus.intent.model import Json, JsonObject
from isthmus.intent.references import Reference, key_of
from isthmus.intent.specs import Nested
from isthmus.intent.values import Choice, Integer, inside

RESULTS = "/diagnostics/ConnectivityCheckResults"
DEFAULT_PORT = 80
"""Of TCP and UDP: the standard has no field for it, our extension has."""


class CheckProtocol(enum.StrEnum):
    """Of a check."""

    ICMP = "Icmp"
    TCP = "Tcp"
    UDP = "Udp"


class IcmpConfig(Part, frozen=True, kw_only=True):
    """Of an echo request."""

    length: Annotated[int, Integer(0, 9000), Field("Bytes of data.")] = 32
    sequence_number: Annotated[int, Integer(0, 65535), Field("Kept as information.")] = 1


_VIRTUAL = Reference(("virtualNetworks",))
_LOGICAL = Reference(("logicalNetworks",))


class ConnectivityCheck(Part, frozen=True, kw_only=True):
    """Can one address of a virtual network reach another."""

    sender_ip_address: Annotated[str, IpAddress(), required("Of a port of the network.")]
    receiver_ip_address: Annotated[str, IpAddress(), required("Of the other port.")]
    sender_virtual_network: Annotated[str | None, _VIRTUAL, Field("The sender's network.")] = None
    receiver_virtual_network: Annotated[
        str | None, _VIRTUAL, Field("The receiver's network: the same.")
    ] = None
    sender_logical_network: Annotated[
        str | None, _LOGICAL, Field("Not offered: no host programs logical networks.")
    ] = None
    receiver_logical_network: Annotated[str | None, _LOGICAL, Field("Not offered.")] = None
    protocol: Annotated[CheckProtocol, Choice(CheckProtocol), Field("Of the packet.")] = (
        CheckProtocol.ICMP
    )
    icmp_protocol_config: Annotated[IcmpConfig | None, Field("Of an echo request.")] = None
    disable_tracing: Annotated[bool, Field("Whether the switches are not asked.")] = False
    destination_port: Annotated[
        int,
        Integer(1, 65535),
        Field("Of TCP and UDP.", Rules(extension="connectivityCheckPort")),
    ] = DEFAULT_PORT


_TYPE = Nested(ConnectivityCheck)


def read_check(body: Json) -> ConnectivityCheck:
    """Raises Invalid."""
    properties = body.get("properties") if isinstance(body, dict) else None
    if not isinstance(properties, dict):
        raise Invalid(
            'a check is {"properties": {...}}', code="InvalidRequestFormat", target="properties"
        )
    try:
        check = _TYPE.read(properties)
    except Invalid as error:
        raise inside(error, "properties") from error
    assert isinstance(check, ConnectivityCheck)
    families = [
        ip_address(end).version for end in (check.sender_ip_address, check.receiver_ip_address)
    ]
    if families[0] != families[1]:
        raise Invalid(
            f"{check.sender_ip_address} is IPv{families[0]} and {check.receiver_ip_address}"
            f" IPv{families[1]}: nothing passes between the two",
            code="InvalidIPAddress",
            target="properties.receiverIpAddress",
        )
    _check_networks(check)
    return check


def _check_networks(check: ConnectivityCheck) -> None:
    virtual = check.sender_virtual_network, check.receiver_virtual_network
    logical = check.sender_logical_network, check.receiver_logical_network
    if any(virtual) and any(logical):
        raise Invalid(
            "one end is in a virtual network and the other in a logical one",
            code="NetworkMismatch",
            target="properties.receiverLogicalNetwork",
        )
    if any(logical):
        raise Invalid(
            "logical networks are not programmed by hosts of this controller",
            code="OperationNotSupported",
            target="properties.senderLogicalNetwork",
        )
    if virtual[0] is None or virtual[1] is None:
        raise Invalid(
            "senderVirtualNetwork and receiverVirtualNetwork are needed, both",
            code="RequiredParamMissing",
            target="properties.senderVirtualNetwork",
        )
    if key_of(virtual[0]) != key_of(virtual[1]):
        raise Invalid(
            f"{virtual[0]} and {virtual[1]} are two networks",
            code="VirtualNetworkMismatch",
            target="properties.receiverVirtualNetwork",
        )


async def start(services: Services, call: Call) -> Reply:
    """Begin a check; its result is at `RESULTS`, under the id in the answer."""
    check = read_check(call.request.json())
    network = key_of(check.sender_virtual_network or "").rpartition("/")[2]
    config = check.icmp_protocol_config or IcmpConfig()
    asked = _TYPE.write(check)
    assert isinstance(asked, dict)
    asked["submitTime"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}0+00:00"
    operation_id = await services.operations.check_connectivity(
        Check(
            network=network,
            sender=check.sender_ip_address,
            receiver=check.receiver_ip_address,
            protocol=check.protocol.value,
            port=0 if check.protocol is CheckProtocol.ICMP else check.destination_port,
            length=config.length,
            with_trace=not check.disable_tracing,
            asked=asked,
        )
    )
    properties: JsonObject = {
        "provisioningState": "Succeeded",
        "operationId": operation_id,
        "connectivityCheckResult": {"resourceRef": f"{RESULTS}/{operation_id}"},
        **asked,
    }
    return json_reply(
        200,
        {
            "resourceRef": "/diagnostics/ConnectivityCheck/Action",
            "resourceId": "Action",
            "properties": dict(properties),
        },
    )


async def list_results(services: Services, _call: Call) -> Reply:
    found = services.operations.check_results()
    value: list[Json] = [_shown(name, found[name]) for name in sorted(found)]
    return json_reply(200, {"value": value, "nextLink": ""})


async def get_result(services: Services, call: Call) -> Reply:
    results, name = services.operations.check_results(), call.names["id"].lower()
    if name not in results:
        raise NotFound(f"no check is called {name}", target=call.request.path)
    return json_reply(200, _shown(name, results[name]))


def _shown(name: str, result: JsonObject) -> dict[str, Json]:
    asked = result.get("asked")
    shown = {key: value for key, value in result.items() if key not in ("atS", "asked")}
    return {
        "resourceRef": f"{RESULTS}/{name}",
        "resourceId": name,
        "properties": {
            "provisioningState": "Succeeded",
            "operationId": name,
            **(asked if isinstance(asked, dict) else {}),
            "result": {"roundTripTimeMSec": 0, "errorMessage": "", "nodeOutput": [], **shown},
        },
    }


_CHECK = _TYPE.schema()
_FIELDS = _CHECK["properties"]
assert isinstance(_FIELDS, dict)
_RESULT = object_of(
    {
        "resourceRef": TEXT,
        "resourceId": TEXT,
        "properties": object_of(
            {
                **_FIELDS,
                "operationId": TEXT,
                "submitTime": TEXT,
                "result": object_of(
                    {
                        "status": {"type": "string", "enum": ["InProgress", "Success", "Failure"]},
                        "roundTripTimeMSec": COUNT,
                        "errorMessage": TEXT,
                        "nodeOutput": list_of(FREE),
                    },
                    "status",
                ),
            },
            "result",
        ),
    },
    *("resourceRef", "properties"),
)

ROUTES = (
    Route(
        method="PUT",
        path=f"{VERSIONED}/diagnostics/ConnectivityCheck",
        handler=start,
        summary="Begin to look whether one address of a virtual network reaches another.",
        body=object_of({"properties": dict(_CHECK)}, "properties"),
        answers=answer(),
        errors=(*OF_A_BODY, "404"),
        offers=("connectivityCheckPort",),
    ),
    Route(
        method="GET",
        path=f"{VERSIONED}{RESULTS}",
        handler=list_results,
        summary="What checks have found in the last hour.",
        answers=answer(object_of({"value": list_of(_RESULT)}, "value")),
    ),
    Route(
        method="GET",
        path=f"{VERSIONED}{RESULTS}/{{id}}",
        handler=get_result,
        summary="What a check has found.",
        parameters=(ID,),
        answers=answer(_RESULT),
    ),
)
