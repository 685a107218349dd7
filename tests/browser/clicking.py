"""Somebody at a browser who clicks through every page, as a process of its own: `clicking.py URL CREDENTIAL CHROMIUM`.

Reads `go` and `stop` on standard input; answers a `stop` with how many pages were looked at since `go`, and how many of them
were not there. Of the lowest priority, with its browser: it plays a person at another machine.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from itertools import cycle

from playwright.sync_api import Page, sync_playwright

FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
FURTHER = (  # beyond what the navigation leads to
    "/usage?show=times&by=route&since=24h",
    "/usage?by=key&then=model&since=30d",
    "/usage?show=errors&by=hour&since=24h",
    "/requests?q=nowhere+at+all",
    "/billing/statements",
    "/routes?since=7d",
    "/providers?since=24h",
)


def ways(page: Page, url: str) -> Iterator[str]:
    links = page.eval_on_selector_all("nav a", "all => all.map(one => one.getAttribute('href'))")
    yield from cycle([url + path for path in (*links, *FURTHER)])


def main(url: str, credential: str, chromium: str) -> None:
    os.nice(19)
    going, wanted = threading.Event(), threading.Event()
    ended = threading.Event()

    def listen() -> None:
        for line in sys.stdin:
            (going.set if line.strip() == "go" else wanted.set)()
        ended.set()
        going.set()

    threading.Thread(target=listen, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = browser.new_page()
        page.goto(url + "/login")
        page.fill("#credential", credential)
        page.keyboard.press("Enter")
        page.wait_for_selector("nav")
        print("ready", flush=True)
        seen = missing = 0
        for path in ways(page, url):
            if wanted.is_set():
                wanted.clear()
                going.clear()
                page.goto("about:blank")  # Live would go on asking
                print(seen, missing, flush=True)
                seen = missing = 0
            going.wait()
            if ended.is_set():
                break
            answer = page.goto(path)
            page.wait_for_selector("html[data-ready]")
            seen, missing = seen + 1, missing + (answer is None or answer.status != 200)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
