# SPDX-License-Identifier: Apache-2.0
"""Intent → policy: one file for each family of resource kinds, and `program`, made of them all.

A family's file holds what derivation needs of its resources (the facts), the readers that make a
fact from a stored resource, and the units that make rows of policy from facts. `names` says what
rows are called.
"""
