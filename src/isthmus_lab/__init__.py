# SPDX-License-Identifier: Apache-2.0
"""A cloud on one machine: users try Isthmus on it, tests run on it.

It runs the ``isthmus`` command and speaks its REST API like any client; what it shares with it are
addresses and errors, nothing that decides about packets. Begin with `lab` (hosts, guests, their
life), then `guest`, `pings`, `transfers` and `rawsocket` (what to do with them), and `demo`.
"""
