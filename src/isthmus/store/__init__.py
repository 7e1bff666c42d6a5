# SPDX-License-Identifier: Apache-2.0
"""The two stores on OVSDB (RFC 7047): client, schemas, servers, and rows as intent and policy.

Whoever imports anything from here can write and read rows of policy: their text is known from then
on (`store.south_rows`).
"""

from isthmus.store import south_rows as south_rows
