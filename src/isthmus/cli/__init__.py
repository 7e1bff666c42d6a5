# SPDX-License-Identifier: Apache-2.0
"""The ``isthmus`` command: how people talk to a controller, and how the daemons are started."""
