"""A browser, and a router's control process in front of a ledger of a million rows."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent.parent
for _folder in ("stores", "control", "browser"):
    sys.path.insert(0, str(TESTS / _folder))

from playwright.sync_api import Browser, sync_playwright  # noqa: E402  behind the paths

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")  # while it lives, Playwright's loop runs in this thread: other tests need their own
def chromium() -> Iterator[Browser]:
    assert shutil.which(CHROMIUM), "install chromium (Debian: apt-get install chromium)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The control process's listener over a million requests, with workers that seem to live."""
    from dashboard_site import DashboardSite

    with DashboardSite(tmp_path_factory.mktemp("million")) as running:
        yield running


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The same over as many requests as one sees that there are more."""
    from dashboard_site import DashboardSite

    with DashboardSite(tmp_path_factory.mktemp("small"), rows=20_000) as running:
        yield running


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The same of a router that was started just now: no ledger, no keys, no worker."""
    from dashboard_site import DashboardSite

    with DashboardSite(tmp_path_factory.mktemp("bare"), rows=0) as running:
        yield running
