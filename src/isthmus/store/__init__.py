# SPDX-License-Identifier: Apache-2.0
"""The two stores on OVSDB (RFC 7047): client, schemas, servers, and rows as intent and policy."""
