# SPDX-License-Identifier: Apache-2.0
"""servers and their physical interfaces (MS-NCNBI section B.13)."""

from __future__ import annotations

from isthmus.intent.model import Json
from tests.intent.cloud import Cloud, child, ref

NETWORK = "/logicalNetworks/front"

SUBNET = f"{NETWORK}/subnets/a"


def test_a_server_holds_its_credential_and_its_logical_subnets(cloud: Cloud) -> None:
    cloud.put("/credentials/c", {"type": "X509Certificate", "value": "AB"})
    cloud.put(NETWORK, {"subnets": [child("a", addressPrefix="10.8.0.0/24")]})
    connection: Json = {
        "managementAddresses": ["10.8.0.5"],
        "credential": ref("/Credentials/C"),
        "credentialType": "X509Certificate",
        "port": "6645",
    }
    physical = child("vswitch one", isBMC="false", logicalSubnets=[ref(SUBNET)])
    made = cloud.put("/servers/h", {"connections": connection, "networkInterfaces": [physical]})
    assert made["connections", 0, "credential"] == ref("/credentials/C")
    assert made["networkInterfaces", 0, "isBMC"] == "False"
    assert cloud.delete_refused("/credentials/c").code == "InUseCredentialCannotBeDeleted"
    assert cloud.delete_refused(SUBNET).code == "InUseSubnetCannotBeDeleted"
    back = cloud.get(SUBNET)["properties"]
    assert isinstance(back, dict)
    assert back["networkInterfaces"] == [ref("/servers/h/networkInterfaces/vswitch one")]
    error = cloud.refused(
        "/servers/h",
        {"connections": [{**dict(connection), "credential": ref("/credentials/x")}]}
        if isinstance(connection, dict)
        else None,
    )
    assert (error.code, error.target) == (
        "InvalidResourceReference",
        "properties.connections[0].credential",
    )


def test_a_server_of_ours_needs_no_connection_and_audits_nothing(cloud: Cloud) -> None:
    cloud.put("/servers/h", {"auditingEnabled": "Disabled"})
    assert (
        cloud.refused("/servers/h", {"auditingEnabled": ["Firewall"]}).code
        == "OperationNotSupported"
    )
    error = cloud.refused(
        "/servers/h",
        {
            "connections": [
                {
                    "managementAddresses": [],
                    "credential": ref("/credentials/c"),
                    "credentialType": "X509Certificate",
                }
            ]
        },
    )
    assert error.status == 400
