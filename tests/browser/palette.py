"""The colours of the style sheet, and how well one can be told from another (WCAG 2.2, relative luminance)."""

from __future__ import annotations

import re

from pointsman.control.dashboard.frame import asset


def palettes() -> dict[str, dict[str, str]]:
    """Return the colours by name, of light and dark; dark stands twice, for the system's wish and for the switch."""
    blocks = re.findall(r"(:root[^{]*)\{([^}]*--back[^}]*)\}", asset("dashboard.css").decode())
    found = [dict(re.findall(r"--([\w-]+): (#\w+)", body)) for _, body in blocks]
    assert len(found) == 3 and found[1] == found[2]
    return {"light": found[0], "dark": found[1]}


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
