# SPDX-License-Identifier: Apache-2.0
"""The version tokens of MS-NCNBI URIs (section A.1): ``/networking/<token>/...``.

Resources and fields say since which version they exist; reading and writing JSON are projections of
one model.
"""

from __future__ import annotations

from typing import NamedTuple

from isthmus.errors import NotFound


class Version(NamedTuple):
    """``v3.1`` is (3, 1); ordered."""

    major: int
    minor: int = 0

    def __str__(self) -> str:
        return f"v{self.major}.{self.minor}" if self.minor else f"v{self.major}"


V1, V2, V3, V4, V5, V6, V7 = (Version(major) for major in range(1, 8))
V6_1 = Version(6, 1)

VERSIONS: tuple[Version, ...] = (
    V1,
    V2,
    V3,
    Version(3, 1),
    Version(3, 2),
    V4,
    Version(4, 2),
    V5,
    V6,
    V6_1,
    V7,
    Version(7, 1),
)
"""All twelve, oldest first."""

LATEST = VERSIONS[-1]

_BY_TOKEN = {str(version): version for version in VERSIONS}


def parse_version(token: str) -> Version:
    """Read a URI's version token in any letter case (clients copy ``V4`` from discovery). Raises
    NotFound."""
    version = _BY_TOKEN.get(token.lower())
    if version is None:
        raise NotFound(
            f"There is no API version {token!r}; versions are {', '.join(_BY_TOKEN)}.",
            target=token,
        )
    return version
