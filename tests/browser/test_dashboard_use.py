"""What can be done with the dashboard in a real browser: with and without script, with keys alone, by who may.

Nothing here measures time: a ledger of some thousand requests is enough (`test_dashboard_pages.py` has the million).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from dashboard_page import Watched, logged_in
from palette import contrast, palettes
from playwright.sync_api import Browser

from pointsman.stores.bodies import Bodies


@pytest.fixture(scope="module")
def seen(chromium: Browser, small: Any) -> Iterator[Watched]:
    yield from logged_in(chromium, small)


def test_usage_goes_further_in_with_each_click(seen: Watched) -> None:
    seen.go("/usage?by=route&since=7d")
    seen.page.click("tbody tr td a")
    seen.page.wait_for_selector(".chip")
    assert "route" in seen.page.inner_text(".chip") and "by model" in seen.page.inner_text("main h2").lower()
    with seen.page.expect_download() as download:
        seen.page.click("a[download]:has-text('CSV')")
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith("model,requests") and len(lines) > 3
    assert seen.wrong == []


def test_notices_are_found_by_kind_and_say_who_was_told(seen: Watched) -> None:
    seen.go("/notices")
    assert seen.page.locator("tbody tr").count() == 50
    assert "not told, tried 4 times: answers with status 500" in seen.page.inner_text("tbody")
    seen.page.click("text=Older")
    seen.page.wait_for_selector("text=Newest")
    assert seen.page.locator("tbody tr").count() == 11
    seen.page.select_option("select[name=kind]", "price")
    seen.page.click("button:has-text('Find')")
    seen.page.wait_for_url("**/notices?kind=price**")
    assert seen.page.locator("tbody tr").count() == 1 and "held back" in seen.page.inner_text("tbody")
    assert seen.wrong == []


def test_what_is_stored_is_shown_and_deleted_with_keys_alone(seen: Watched, small: Any) -> None:
    path = "/requests/req_gone/bodies"
    seen.go(path)
    assert '"content": "how do I return it?"' in seen.page.inner_text("pre[aria-label=Request]")
    seen.page.focus("button.danger")
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_url(f"{small.url}/requests/req_gone")
    assert Bodies(small.data).find("req_gone") is None and Bodies(small.data).find("req_stored") is not None
    seen.wrong.clear()  # that request is in no ledger: the browser itself says 404


def test_the_live_page_brings_itself_up_to_date_and_says_when_it_cannot(chromium: Browser, small: Any) -> None:
    with Watched(chromium, small) as seen:
        seen.log_in()
        seen.go("/")
        seen.page.wait_for_function(
            "document.querySelectorAll('#live dd.big')[0].textContent.match(/^[0-9.]+.s$/)", timeout=15_000
        )
        before = seen.page.inner_text("#live .cards")
        seen.page.wait_for_function(
            "(was) => document.querySelector('#live .cards').innerText !== was", arg=before, timeout=15_000
        )
        assert seen.wrong == []
        seen.page.route("**/live", lambda route: route.abort())
        seen.page.wait_for_selector("#stale:not([hidden])", timeout=15_000)


def test_it_can_be_used_with_keys_alone(seen: Watched) -> None:
    seen.go("/")
    for letter, path in (
        ("r", "/requests"),
        ("u", "/usage"),
        ("o", "/routes"),
        ("p", "/providers"),
        ("b", "/limits"),
        ("h", "/cache"),
        ("i", "/billing"),
        ("n", "/notices"),
        ("a", "/audit"),
        ("c", "/config"),
        ("k", "/keys"),
        ("l", "/"),
    ):
        seen.page.keyboard.press("g")
        seen.page.keyboard.press(letter)
        seen.page.wait_for_url(seen.site.url + path)
        seen.page.wait_for_selector("html[data-ready]")
    seen.page.keyboard.press("?")
    assert seen.page.is_visible("dialog#help")
    seen.page.keyboard.press("Escape")
    assert not seen.page.is_visible("dialog#help")
    seen.go("/requests")
    seen.page.keyboard.press("j")
    seen.page.keyboard.press("j")
    chosen = seen.page.evaluate("document.activeElement.getAttribute('href')")
    assert chosen == seen.page.locator("tbody tr").nth(1).locator("a").first.get_attribute("href")
    seen.page.keyboard.press("k")
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_selector("text=All requests")
    seen.go("/requests")
    seen.page.keyboard.press("/")
    seen.page.keyboard.type("overloaded gj?")
    assert seen.page.input_value("input[type=search]") == "overloaded gj?"  # in a field keys are text


@pytest.mark.parametrize("path", ["/usage", "/routes", "/providers?deployment=luna", "/billing", "/notices", "/audit"])
def test_tab_leads_through_a_page_and_every_stop_is_seen(seen: Watched, path: str) -> None:
    seen.go(path)
    stops, landed = 0, set()
    for _ in range(60):
        seen.page.keyboard.press("Tab")
        if seen.page.evaluate("document.activeElement === document.body"):
            break
        stops += 1
        assert seen.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        landed.add(seen.page.evaluate("document.activeElement.closest('header, main, footer')?.tagName"))
    assert stops > 12 and {"HEADER", "MAIN"} <= landed


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(chromium: Browser, small: Any, scheme: Any) -> None:
    for name, colours in palettes().items():
        for text in ("text", "quiet", "link", "good", "warn", "bad"):
            for back in ("back", "card", "soft"):
                assert contrast(colours[text], colours[back]) >= 4.5, (name, text, back)
        assert (
            contrast(colours["on-accent"], colours["accent"]) >= 4.5 and contrast(colours["edge"], colours["card"]) >= 3
        ), name
        assert min(contrast(colours["text"], colours[back]) for back in ("good-soft", "bad-soft")) >= 4.5
    with Watched(chromium, small, color_scheme=scheme) as seen:
        seen.log_in()
        shown = seen.page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--back').trim()")
        assert shown == palettes()[scheme]["back"]
        other = {"light": "dark", "dark": "light"}[scheme]
        for _ in range(3):
            seen.page.click("#theme")
            if seen.page.evaluate("document.documentElement.dataset.theme") == other:
                break
        seen.go("/usage")  # the choice stays
        shown = seen.page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--back').trim()")
        assert shown == palettes()[other]["back"] and seen.wrong == []


def test_it_works_without_script(chromium: Browser, small: Any) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(small.url + "/requests?key=acme%2Fcare-1")
    page.fill("#credential", small.token)
    page.click("button.primary")
    assert urlsplit(page.url).path == "/requests" and page.locator("tbody tr").count() == 50
    page.click("text=Older")
    assert "before=" in page.url and page.locator("tbody tr").count() == 50
    page.goto(small.url + "/keys")
    page.click("text=Log out")
    page.goto(small.url + "/keys")
    assert urlsplit(page.url).path == "/login"
    context.close()


def test_a_wrong_token_is_told_and_a_right_one_leads_to_the_page(chromium: Browser, small: Any) -> None:
    with Watched(chromium, small) as seen:
        seen.go("/usage?by=team")
        assert urlsplit(seen.page.url).path == "/login"
        seen.page.fill("#credential", "not the token")
        seen.page.click("button.primary")
        seen.page.wait_for_selector("[role=alert]")
        assert all("401" in text for text in seen.wrong)  # what the browser itself says of the status
        seen.page.fill("#credential", small.token)
        seen.page.click("button.primary")
        seen.page.wait_for_url(small.url + "/usage?by=team")
        assert small.token not in seen.page.content()
        assert seen.page.evaluate("document.cookie") == ""  # no script reads it


def test_who_may_look_makes_no_key_and_who_may_change_does(chromium: Browser, small: Any) -> None:
    with Watched(chromium, small) as seen:
        seen.log_in(small.viewer)
        seen.go("/keys")
        assert seen.page.locator("form[action='/keys']").count() == 0 and "You may look" in seen.page.inner_text("main")
    with Watched(chromium, small) as seen:
        seen.log_in(small.bound)
        assert urlsplit(seen.page.url).path == "/requests" and seen.page.locator("nav a").count() == 7
        seen.go("/limits")
        assert seen.page.locator(".scroll").first.locator("tbody tr").count() == 3
        assert "acme/care-1" in seen.page.inner_text("main") and "everybody" not in seen.page.inner_text("main")
        seen.go("/keys")
        seen.page.click("summary:has-text('New key')")
        seen.page.fill("input[name=name]", "from-the-page")
        seen.page.select_option("select[name=project]", index=1)
        seen.page.click("text=Make the key")
        assert re.fullmatch(r"pk-pm-[\w-]{40,}", seen.page.inner_text(".secret").strip())
        assert "care-4" not in seen.page.inner_text("main")  # of no organisation
        seen.page.locator("tr", has_text="from-the-page").locator("summary").click()
        seen.page.locator("tr", has_text="from-the-page").locator("button.danger").click()
        seen.page.wait_for_url(small.url + "/keys")
        assert "revoked" in seen.page.locator("tr", has_text="from-the-page").inner_text()
        assert seen.wrong == []


def test_a_router_that_has_nothing_yet_says_so(chromium: Browser, bare: Any) -> None:
    with Watched(chromium, bare) as seen:
        seen.log_in()
        for path, said in (
            ("/", "No worker has said anything"),
            ("/limits", "has no quotas"),
            ("/config", "No version was noted"),
            ("/keys", "There are no keys"),
        ):
            seen.go(path)
            assert said in seen.page.inner_text("main"), path
        assert seen.wrong == []
        for path in ("/routes", "/providers", "/cache", "/billing"):
            seen.go(path)
            assert "not there yet" in seen.page.inner_text("main"), path
        assert seen.wrong == []
        for path in ("/requests", "/usage", "/usage?show=times", "/notices"):
            seen.go(path)
            assert "not there yet" in seen.page.inner_text("main")
