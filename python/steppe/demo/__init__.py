"""``python -m steppe demo``: both models on real data, by one engine, in four ways."""

from __future__ import annotations

from steppe.demo._command import main

__all__ = ["main"]
