"""The page of an audit, in a real browser."""

from __future__ import annotations

import pytest
from builder import lynis, report, ssh, suggestion, waiver

from sanso.audit import judge, page
from sanso.audit.model import Finding, Outcome

NASTY = "</td><script>alert(1)</script> <img src=https://elsewhere.example/x> \u202egnp"


@pytest.fixture
def shown(browser, tmp_path):
    """shown(judged, **context): the page of an audit, which asked for nothing and complained of nothing."""
    contexts, complaints = [], []

    def show(judged, **options):
        (tmp_path / "audit.html").write_text(page.render(judged.as_data()), encoding="utf-8")
        contexts.append(browser.new_context(**options))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: request.url.startswith("file:") or complaints.append(request.url))
        tab.goto((tmp_path / "audit.html").as_uri())
        return tab

    yield show
    for context in contexts:
        context.close()
    assert complaints == []


def some(*further):
    note = Finding("systemd-analyze", "nginx PrivateNetwork=", "note", "Service has access to the network (0.5)")
    outcomes = [lynis(89, suggestion("A-1"), suggestion("B-2"), *further), ssh(), Outcome("systemd-analyze")]
    outcomes[-1].findings.append(note)
    return judge([report(*outcomes, Outcome("ports", not_run="the time was up"))], [waiver("B-2")], {})


def test_table_tells_figure_aim_and_verdict(shown):
    cells = shown(some()).locator(".figures tbody tr").first.locator("th, td").all_inner_texts()
    assert cells == ["Lynis 3.1.6 hardening index", "89", "≥ 90", "", "✗ missed"]


def test_what_is_open_stands_apart_from_what_is_waived(shown):
    tab = shown(some())
    assert tab.locator("h3").all_inner_texts() == [
        "Findings without a reason to stay: 1",
        "Findings that stay, and why: 1",
        "What the sandboxes leave open",
    ]
    assert "There is a good reason for it." in tab.locator("table").nth(2).inner_text()


def test_auditor_that_did_not_run_says_why(shown):
    assert "the time was up" in shown(some()).locator(".figures").inner_text()


def test_text_of_an_auditor_is_text(shown):
    tab = shown(some(suggestion("C-3", NASTY)))
    assert tab.locator("script, img").count() == 0
    assert "</td><script>alert(1)</script>" in tab.locator("main").inner_text()
    assert "\u202e" not in tab.locator("main").inner_text()


@pytest.mark.parametrize("width", [360, 1280])
def test_page_is_never_wider_than_the_screen(shown, width):
    tab = shown(some(suggestion("D" * 200)), viewport={"width": width, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_and_light_differ(shown):
    colours = {
        shown(some(), color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    }
    assert len(colours) == 2


def test_print_shows_what_nobody_opened(shown):
    tab = shown(some())
    tab.emulate_media(media="print")
    assert tab.get_by_text("Service has access to the network").is_visible()


def test_same_audit_makes_the_same_bytes():
    assert page.render(some().as_data()) == page.render(some().as_data())


def test_title_tells_the_verdict(shown):
    assert shown(some()).title() == "sanso: not all aims met · Sansō audit"
    assert shown(judge([report(lynis())], [], {})).title() == "sanso: all aims met · Sansō audit"
