"""Colours and letters of everything that is drawn."""

from __future__ import annotations

INK, QUIET, RULE = "#1f2328", "#5b626b", "#e3e6ea"
# Okabe and Ito's palette without its yellow, which vanishes on a white page.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Noto Sans CJK SC', sans-serif"
GAP = 228  # light grey, between pictures: told apart from white ones, black ones and HIDDEN
HIDDEN = (0.53, 0.71, 0.87)  # light blue, of what is hidden or not there yet: no grey is like it
ALIKE = 3.0  # axes whose spans differ by less have one scale
