# SPDX-License-Identifier: Apache-2.0
"""The agent of an Open vSwitch host: its hands."""
