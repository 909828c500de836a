"""What the figures of a comparison have in common: colours, and the two worlds told apart in print too."""

from typing import Any

BLUE, ORANGE, GREEN, PINK, RED = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00"
"""Okabe and Ito: readable by colour-blind people."""
PART_COLOURS = (BLUE, ORANGE, GREEN, PINK)
HATCHES = ("", "//////", "......", "xxxxxx")
"""Beside colours, for who prints in black: of the parts, and of kinds of steps."""
MEASURED: dict[str, Any] = {"color": "black", "linestyle": "-", "linewidth": 1.2}
SIMULATED: dict[str, Any] = {"color": RED, "linestyle": "--", "linewidth": 1.6}
GRID: dict[str, Any] = {"alpha": 0.3, "linewidth": 0.6}
