# SPDX-License-Identifier: Apache-2.0
"""Fuzzing asserts no timings: a busy machine must not fail a test."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
