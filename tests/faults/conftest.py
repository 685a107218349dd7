"""What the tests of the fault catalogue share with those of the parts they break."""

from __future__ import annotations

import sys
from pathlib import Path

_TESTS = Path(__file__).parent.parent
for _folder in (Path(__file__).parent, _TESTS / "cli", _TESTS / "stores", _TESTS / "simulation"):
    sys.path.insert(0, str(_folder))
