# SPDX-License-Identifier: Apache-2.0
"""Golden scenarios: from requests through policy to the flows of each host, one folder each.

``scenario.yaml`` says what clients ask for, which host has which port on its switch, and what hosts
speak; and which packets to follow. ``policy.txt``, ``flows-HOST.txt`` and ``traces.txt`` are what
comes of it. They hold names, not allocated numbers. After a change that is meant, rewrite them and
read the difference:

    .venv/bin/python -m tests.golden.rewrite
"""
