# SPDX-License-Identifier: Apache-2.0
"""The benchmarks: Isthmus, and on the same topology, in the same run, OVN from Debian."""
