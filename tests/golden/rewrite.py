# SPDX-License-Identifier: Apache-2.0
"""Writes the golden files anew: ``python -m tests.golden.rewrite``; then read ``git diff``."""

from __future__ import annotations

from tests.golden.scenario import outcome, scenarios

if __name__ == "__main__":
    for folder in scenarios():
        for old in folder.glob("*.txt"):
            old.unlink()
        for name, text in outcome(folder).items():
            (folder / name).write_text(text)
        print(f"wrote {folder.name}")
