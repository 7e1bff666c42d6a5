# SPDX-License-Identifier: Apache-2.0
"""Golden scenarios: from requests through policy to the flows of each host, one folder each.

``scenario.yaml`` says what clients ask for, which host has which port on its switch, and what hosts
speak; and which packets to follow. ``policy.txt``, ``flows-HOST.txt`` and ``traces.txt`` are what
comes of it; `verdict` of each packet is what must become of it, and is written by hand. `fixed.txt`
has the flows that every host has, whatever its policy. The files hold names, not numbers of ports,
stages, registers or anything that is allocated. After a change that is meant, rewrite them and
read the difference:

    .venv/bin/python -m tests.golden.rewrite
"""
