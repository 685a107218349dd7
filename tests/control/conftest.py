"""Make the record makers of the stores' tests importable here, and let no test fold what another has said."""

import sys
from pathlib import Path

import pytest

from pointsman.observe.log import LOG

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "stores"))


@pytest.fixture(autouse=True)
def unfolded() -> None:
    """Begin with a log that has said nothing."""
    LOG._folds.clear()
    LOG._lines.clear()
    return
