"""Make the record makers of the stores' tests importable here, and let no test fold what another has said."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pointsman.observe.log import LOG

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "stores"))

if TYPE_CHECKING:
    from notice_office import Hook, Office


@pytest.fixture(autouse=True)
def unfolded() -> None:
    """Begin with a log that has said nothing."""
    LOG._folds.clear()
    LOG._lines.clear()
    return


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A webhook that listens."""
    from notice_office import Hook

    made = Hook()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def office(tmp_path: Path) -> Callable[..., Office]:
    """Return a call that makes notices to these channels."""
    from notice_office import Office

    return lambda *channels: Office(tmp_path / "data", *channels)
