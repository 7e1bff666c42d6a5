# SPDX-License-Identifier: Apache-2.0
"""Writes the golden files anew: ``python -m tests.golden.rewrite``; then read ``git diff``."""

from __future__ import annotations

from tests.golden.scenario import FIXED, fixed, outcome, scenarios

if __name__ == "__main__":
    FIXED.write_text("".join(f"{line}\n" for line in fixed()))
    print(f"wrote {FIXED.name}")
    for folder in scenarios():
        texts = outcome(folder)
        for old in folder.glob("*.txt"):
            old.unlink()
        for name, text in texts.items():
            (folder / name).write_text(text)
        print(f"wrote {folder.name}")
