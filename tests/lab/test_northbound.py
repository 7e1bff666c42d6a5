# SPDX-License-Identifier: Apache-2.0
"""The lab's client against the controller's REST API."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.errors import Invalid, NotFound
from isthmus_lab.northbound import Northbound
from tests.api.conftest import BODY, Api
from tests.api.serving import serving


def test_a_batch_is_put_in_one_transaction_all_or_none() -> None:
    api = Api()
    api.furnish()
    good = [(f"/networkInterfaces/n{k}", {"properties": BODY}) for k in range(3)]
    bad = ("/networkInterfaces/bad", {"properties": {"isPrimary": "perhaps"}})
    with serving(api.app) as url, Northbound(Path(url.removeprefix("unix:"))) as northbound:
        with pytest.raises(Invalid) as caught:
            northbound.put_all([*good, bad])
        assert caught.value.target == "[3].properties.isPrimary"
        assert northbound.get("/networkInterfaces")["value"] == []
        northbound.put_all(good)
        listed = northbound.get("/networkInterfaces")["value"]
        assert [one["resourceId"] for one in listed] == ["n0", "n1", "n2"]
        assert northbound.delete("/networkInterfaces/n0")
        with pytest.raises(NotFound):
            northbound.get("/networkInterfaces/n0")
