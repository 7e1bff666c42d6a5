# SPDX-License-Identifier: Apache-2.0
"""The resources: one file for each that stands at the root of the API, and one for each child that
has rules of its own.

A file declares its struct with the checks of its own rules, and its `Kind`. The registry lists the
kinds at the root. The other files hold what several resources share: address spaces, routes,
settings of a port, which address an ipConfiguration gets (`ip_assignment`), and which segment it is
on (`segments`).
"""
