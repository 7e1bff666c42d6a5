# SPDX-License-Identifier: Apache-2.0
"""Protocols as pure codecs without I/O: bytes to values, values to bytes."""
