"""The pages of the dashboard, and one of them in a browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page

PAGES = {
    "live": "/",
    "requests": "/requests",
    "requests-of-a-key": "/requests?key=acme%2Fcare-1",
    "requests-with-words": "/requests?q=overloaded&since=7d&outcome=failed",
    "requests-not-there": "/requests?q=nowhere+to+be+found",
    "usage": "/usage?by=model&then=team&since=7d",
    "usage-of-a-month": "/usage?by=key&then=model&since=30d",
    "usage-times": "/usage?show=times&by=route&since=24h",
    "usage-by-tag": "/usage?tag=env&then=model&since=24h",
    "usage-errors-of-a-day": "/usage?show=errors&by=hour&then=route&since=24h",
    "usage-satisfaction": "/usage?show=satisfaction&by=model&since=7d",
    "routes": "/routes?since=24h",
    "route": "/routes?route=code",
    "route-of-a-day": "/routes?route=drafts&since=24h",
    "providers": "/providers?since=24h",
    "deployment": "/providers?deployment=luna&since=24h",
    "cache": "/cache",
    "billing": "/billing",
    "notices": "/notices",
    "notices-of-a-kind": "/notices?kind=quota&since=7d",
    "stored": "/requests/req_stored/bodies",
    "audit": "/audit",
    "limits": "/limits",
    "config": "/config",
    "keys": "/keys",
}


def logged_in(browser: Browser, site: Any) -> Iterator[Watched]:
    """Yield a page on a desk's screen that is logged in; nothing may have gone wrong in it."""
    with Watched(browser, site, viewport={"width": 1280, "height": 800}) as made:
        made.log_in()
        yield made
        assert made.wrong == []


class Watched:
    """A page of a browser, and what went wrong in it."""

    def __init__(self, browser: Browser, site: Any, **context: Any) -> None:
        self.site, self.wrong = site, []
        self.context = browser.new_context(**context)
        self.page: Page = self.context.new_page()
        self.expected: set[int] = set()
        self.page.on(
            "console", lambda message: self.wrong.append(message.text) if message.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self._look(request.url))

    def _look(self, url: str) -> None:
        if urlsplit(url).scheme != "data" and urlsplit(url).netloc != f"127.0.0.1:{self.site.port}":
            self.wrong.append(f"asked for {url}")

    def go(self, path: str) -> float:
        """Open a page; return the seconds until it can be used."""
        began_s = time.monotonic()
        self.page.goto(self.site.url + path)
        self.page.wait_for_selector("html[data-ready]")
        return time.monotonic() - began_s

    def log_in(self, credential: str = "") -> None:
        self.go("/login")
        self.page.fill("#credential", credential or self.site.token)
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector("nav")

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()
