"""The page of a trace, in a real browser: Debian's Chromium, or else Playwright's own."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest

from sanso import html
from sanso.tracing import page as trace_page

APP_SOCKET, DATABASE_SOCKET = "/run/app-faults/current.sock", "/run/mysqld/mysqld.sock"
ORDER = ["client", "nginx", "uwsgi", "app", "mysql"]
NAMES = dict(zip(ORDER, ["client", "nginx", "uWSGI", "faults", "MySQL"], strict=True))
STATEMENT = "SELECT COUNT ( * ) , SLEEP ( ? ) FROM `item` WHERE `project` = ? AND `state` IN (...) ORDER BY `id`"


def span(number, tier, depth, name, start_ms, duration_ms, kind=1, error=False, **attributes) -> dict:
    attributes = {key.replace("__", "."): value for key, value in attributes.items()}
    given = {"id": f"{number:016x}", "parent": f"{number - 1:016x}" if depth else "", "tier": tier, "name": name}
    times = {"start_ms": start_ms, "duration_ms": duration_ms, "depth": depth, "kind": kind, "error": error}
    return given | times | {"attributes": attributes}


def asking() -> dict:
    return {"db__system__name": "mysql", "network__transport": "unix", "network__peer__address": DATABASE_SOCKET}


SLOW = {
    "trace_id": "281c9adbfd07255b1ef3f333bd8581b2",
    "url": "https://faults.test/slow",
    "method": "GET",
    "app": "faults",
    "status": 200,
    "ok": True,
    "ended": None,
    "clock": {"offset_ms": -0.012, "error_ms": 0.029, "mysql_spread_us": 4.0},
    "duration_ms": 80.0,
    "queue_wait_ms": 4.0,
    "spans": [
        span(1, "client", 0, "GET /slow", 0.0, 80.0, 3, server__address="10.77.0.10", tls__protocol__version="TLSv1.3"),
        span(2, "client", 1, "TLS handshake", 4.041, 4.409),
        span(3, "nginx", 1, "GET /slow", 10.0, 68.0, 2, process__pid=6611, http__response__status_code=200),
        span(4, "nginx", 2, "upstream", 10.0, 66.0, 3, network__peer__address=f"unix:{APP_SOCKET}"),
        span(5, "uwsgi", 3, "worker 1", 14.0, 60.0, 2, process__pid=7816, uwsgi__core=0),
        span(6, "app", 4, "GET /slow", 15.0, 58.0, 2, process__pid=7816, service__name="faults"),
        span(7, "app", 5, "SELECT", 16.0, 42.0, 3, **asking()),
        span(8, "mysql", 6, STATEMENT, 17.0, 40.0, 2, db__query__text=STATEMENT, mysql__rows_examined=900),
        span(9, "app", 5, "SELECT", 62.0, 0.663, 3, **asking()),
        span(10, "mysql", 6, "SELECT ?", 62.1, 0.063, 2, mysql__no_index=False),
    ],
    "gaps": [
        {"ms": 10.337, "tier": "app", "said": "faults: after SELECT, until its end"},
        {"ms": 1.074, "tier": "client", "said": "client: until nginx's GET /slow"},
    ],
    "proofs": [
        {"name": "nginx recorded this trace", "ok": True, "said": "pid 6611, connection 344222"},
        {"name": "uWSGI recorded this trace", "ok": True, "said": "worker 1, pid 7816"},
    ],
    "hints": ["SELECT COUNT ( * ) … examined 900 rows to send 1"],
    "spent_ms": {"request": 75.0, "collect": 94.0},
}
# What each tier, and the queue, spent itself of those 80 ms.
OWN = {"client": 12.0, "nginx": 4.0, "queue": 4.0, "uwsgi": 2.0, "app": 17.937, "mysql": 40.063}


def slow(**changes) -> dict:
    return copy.deepcopy(SLOW | changes)


def ended_at(tier: str) -> dict:
    """The same request, as it ends where a tier can't be reached."""
    before = ORDER[: ORDER.index(tier)]
    ended = {"tier": tier, "said": f"connect() failed (111): no {tier}", "next": f"./sanso logs --tier {tier}"}
    proofs = [SLOW["proofs"][0], {"name": "MySQL recorded this trace", "ok": False, "said": "no row within 2 s"}]
    spans = [each for each in SLOW["spans"] if each["tier"] in before]
    return slow(status=502, ok=False, ended=ended, spans=spans, proofs=proofs, queue_wait_ms=None, hints=[], gaps=[])


def many() -> dict:
    statements = [span(20 + at, "app", 5, "SELECT", 16 + at / 10, 0.05, 3, **asking()) for at in range(490)]
    return slow(spans=SLOW["spans"] + statements)


TRACES = {"slow": slow, "ended": lambda: ended_at("uwsgi"), "many": many}


# A browser


class Watched:
    """What a page did that it should not do."""

    def __init__(self, page):
        self.requests, self.complaints = [], []
        page.on("request", lambda request: self.requests.append(request))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))

    def forget(self):
        self.requests.clear()
        self.complaints.clear()


@pytest.fixture(scope="module")
def tabs(browser):
    """One tab for each set of options that a tab can't change: a new one costs more than most tests."""
    tabs = {}

    def tab(**options):
        key = tuple(sorted(options.items()))
        if key not in tabs:
            tabs[key] = browser.new_context(**options).new_page()
            tabs[key].watched = Watched(tabs[key])
            tabs[key].set_default_timeout(10_000)
        return tabs[key]

    return tab


@pytest.fixture
def show(tabs, tmp_path):
    """Open the page of a trace as a person does, from its file."""

    def show(
        data: dict, edit=lambda html: html, width=1280, scheme="light", motion="reduce", media="screen", **options
    ):
        file = tmp_path / "trace.html"
        file.write_bytes(edit(trace_page.render(data)).encode())
        page = tabs(**options)
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(media=media, color_scheme=scheme, reduced_motion=motion)
        page.watched.forget()
        page.goto(file.as_uri(), wait_until="domcontentloaded")  # there is nothing else to wait for
        return page

    return show


def summaries(page):
    return page.locator(".spans summary")


def focused(page) -> int:
    """Which span has the focus, or -1."""
    return page.evaluate("[...document.querySelectorAll('.spans summary')].indexOf(document.activeElement)")


def opened(page) -> list[int]:
    return page.evaluate("[...document.querySelectorAll('.spans details')].flatMap((each, at) => each.open ? at : [])")


def open_all(page):
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")


def words(locator) -> str:
    return " ".join(locator.inner_text().split())


def press(page, *keys: str):
    for key in keys:
        page.keyboard.press(key)


# Nothing from elsewhere, nothing that runs


@pytest.mark.parametrize(
    ("trace", "scheme"), [("slow", "light"), ("slow", "dark"), ("ended", "light"), ("many", "light")]
)
def test_page_asks_the_network_for_nothing_and_complains_of_nothing(show, trace, scheme):
    page = show(TRACES[trace](), scheme=scheme)
    open_all(page)
    page.emulate_media(media="print")
    page.wait_for_load_state("load")
    assert [re.sub(r"^file:.*/", "", request.url) for request in page.watched.requests] == ["trace.html"]
    assert page.watched.complaints == []


INTRUDERS = {
    "script": "<script>window.hit = 1</script>",
    "handler": "<input autofocus onfocus='window.hit = 1'><svg onload='window.hit = 1'></svg>",
    "image": "<img src='https://example.org/a.png' onerror='window.hit = 1'>",
    "style": "<style>body { background: rgb(1, 2, 3) }</style>",
    "frame": "<iframe src='https://example.org/'></iframe>",
}


@pytest.mark.parametrize("intruder", INTRUDERS)
def test_policy_forbids_what_is_not_the_page_s_own(show, intruder):
    page = show(slow(), edit=lambda html: html.replace("<main>", f"<main>{INTRUDERS[intruder]}"))
    page.wait_for_load_state("load")
    assert page.watched.complaints
    assert page.evaluate("window.hit") is None
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(1, 2, 3)"
    assert {request.failure for request in page.watched.requests[1:]} <= {"csp"}


HOSTILE = {
    "script": "<script>window.hit = 1</script>",
    "end of script": "</script><script>window.hit = 1</script>",
    "comment": "<!--<script>--></script><script>window.hit = 1</script>",
    "end of style": "</style></title><svg onload='window.hit = 1'>",
    "attribute": '" onmouseover="window.hit = 1" autofocus onfocus="window.hit = 1',
    "attribute in single quotes": "' onmouseover='window.hit = 1' autofocus onfocus='window.hit = 1",
    "image": "<img src=x onerror='window.hit = 1'>",
    "link": "javascript:window.hit=1",
    "template": "{{ 7 * 7 }}{% raw %}",
    "style": "} * { display: none",
    "entities": "&lt;b&gt; &amp;amp; &#60;",
    "separators": "a\u2028b\u2029c",
    "turned around": "a\u202egnp.exe",
    "not seen": "a\x00\x1b[31m\x7fb",
    "not UTF-8": b"caf\xe9 \xff".decode(errors="surrogateescape"),
    "half a pair": "a\ud83e",
    "far away": "漢字 🦊 ﷽ e\u0301 \ufffe",
    "long": "x" * 4000,
}


def poisoned(text: str) -> dict:
    """A trace with that text wherever something comes from elsewhere."""
    data = ended_at("mysql") | {"url": text, "method": text, "app": text, "trace_id": text, "hints": [text]}
    data["ended"] |= {"said": text, "next": text}
    data["gaps"] = [{"ms": 1.0, "tier": text, "said": text}]
    data["proofs"] = [{"name": text, "ok": False, "said": text}]
    keys = ["network.peer.address", "tls.protocol.version", "server.address"]
    for each in data["spans"]:
        each |= {"name": text, "attributes": {text: text, "list": [text]} | dict.fromkeys(keys, text)}
    return data | {"spans": [*data["spans"], data["spans"][-1] | {"id": text, "parent": text, "tier": text}]}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_is_shown_and_does_nothing(show, kind):
    page = show(poisoned(HOSTILE[kind]))
    open_all(page)
    for place in page.locator("h1, #span-1 summary, #span-1 dd").all():
        place.dispatch_event("mouseover")
    page.wait_for_load_state("load")
    assert page.evaluate("window.hit") is None
    assert page.watched.complaints == []
    assert len(page.watched.requests) == 1
    shown = html.visible(HOSTILE[kind])
    assert page.locator(".hints bdi").text_content() == shown
    assert page.locator(".evidence dd").first.text_content() == shown
    # Nothing but what the template makes.
    assert page.evaluate("document.querySelectorAll('script').length") == 2
    assert page.evaluate("document.querySelectorAll('img, body svg:not(.brand svg), iframe, main a').length") == 0
    assert (
        page.evaluate("[...document.querySelectorAll('*')].some(e => e.getAttributeNames().some(n => /^on/.test(n)))")
        is False
    )


@pytest.mark.parametrize("kind", HOSTILE)
def test_embedded_data_is_the_trace_s(kind):
    data = poisoned(HOSTILE[kind])
    text = re.search(r'<script type="application/json" id="trace">(.*?)</script>', trace_page.render(data))[1]
    assert json.loads(text) == data
    assert re.search(r"[<>&\u2028\u2029]", text) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, 漢字 and 🦊", "plain, 漢字 and 🦊"),
        ("two\n\tlines", "two\n\tlines"),
        ("\x00\x1b[31m", r"\x00\x1b[31m"),
        ("\udcff\udce9", r"\xff\xe9"),
        ("\ud83e", r"\ud83e"),
        ("a\u202eb\u2066c\u200bd", r"a\u202eb\u2066c\u200bd"),
        ("a\u2028b", r"a\u2028b"),
    ],
)
def test_what_can_not_be_seen_is_escaped(text, shown):
    assert html.visible(text) == shown


def test_same_trace_makes_the_same_bytes():
    assert trace_page.render(slow()) == trace_page.render(slow())


# What is shown


@pytest.mark.parametrize("trace", TRACES)
def test_every_span_is_shown_with_its_time(show, trace):
    data = TRACES[trace]()
    shown = (
        show(data)
        .locator(".spans")
        .evaluate(
            """list => [...list.querySelectorAll('summary')].map(row =>
               ['.tier', '.called bdi', '.start', '.took'].map(cell => row.querySelector(cell).innerText.trim()))"""
        )
    )
    times = [(f"{each['start_ms']:.3f}", f"{each['duration_ms']:.3f}") for each in data["spans"]]
    named = [(NAMES[each["tier"]], each["name"]) for each in data["spans"]]
    # Words for screen readers are part of the cells' text.
    found = [(tier, name, re.search(r"[\d.]+(?!.*\d)", start)[0], took.split()[0]) for tier, name, start, took in shown]
    assert found == [name + time for name, time in zip(named, times, strict=True)]


def test_bars_lie_where_and_as_long_as_their_spans(show):
    page = show(slow())
    lanes, bars = (
        page.evaluate(
            f"""[...document.querySelectorAll('.spans {each}')].map(each => each.getBoundingClientRect())
                .map(each => [each.left, each.width])"""
        )
        for each in (".lane", ".bar")
    )
    per_ms = lanes[0][1] / 80
    least = 3  # pixels, so that a short span is seen
    expected = [
        [lanes[0][0] + each["start_ms"] * per_ms, max(least, each["duration_ms"] * per_ms)] for each in SLOW["spans"]
    ]
    assert bars == [pytest.approx(bar, abs=0.6) for bar in expected]


def test_axis_has_round_ticks_where_the_bars_have_them(show):
    page = show(slow())
    ticks = page.evaluate(
        """[...document.querySelectorAll('.axis span')].map(each =>
               [parseFloat(each.innerText), each.offsetLeft])"""
    )
    width = page.locator(".axis").bounding_box()["width"]
    assert ticks == [pytest.approx([ms, width * ms / 80], abs=0.6) for ms in (0, 20, 40, 60)]


@pytest.mark.parametrize(("end", "step"), [(0.4, 0.1), (9, 2), (75, 20), (1100, 200), (61000, 20000), (0, 0.2)])
def test_axis_steps_are_round(end, step):
    labels = [float(tick["label"]) for tick in trace_page.axis(end)["ticks"]]
    assert labels[1] == pytest.approx(step)


def test_wait_in_the_queue_is_a_hatched_bit_before_the_worker(show):
    page = show(slow())
    wait, bar = (page.locator(f"#span-5 .{each}").bounding_box() for each in ("wait", "bar"))
    assert wait["x"] + wait["width"] == pytest.approx(bar["x"], abs=0.6)
    assert wait["width"] / bar["width"] == pytest.approx(4 / 60, abs=0.01)
    assert "gradient" in page.locator("#span-5 .wait").evaluate("each => getComputedStyle(each).backgroundImage")
    assert "after waiting 4.000 ms in line" in words(summaries(page).nth(4))
    assert page.locator(".spans .wait").count() == 1


def test_span_reads_as_a_sentence(show):
    text = summaries(show(slow())).nth(2).text_content()
    assert " ".join(text.split()) == "nginx GET /slow, level 2, starts at 10.000 ms, takes 68.000 ms"


def test_evidence_has_a_label_where_there_is_one_and_always_the_key(show):
    page = show(slow())
    summaries(page).nth(4).click()
    found = page.locator("#span-5 dl div").evaluate_all("all => all.map(each => each.innerText.replace(/\\s+/g, ' '))")
    assert found == ["Process id process.pid 7816", "Core uwsgi.core 0"]


def test_span_without_attributes_says_so(show):
    page = show(slow())
    summaries(page).nth(1).click()
    assert "recorded nothing else" in words(page.locator("#span-2 dl"))


def test_every_moment_belongs_to_one_tier():
    own = trace_page.own_times(SLOW["spans"], trace_page.wait_in_queue(SLOW))
    assert own == pytest.approx(OWN)


def test_picture_shows_the_tiers_what_they_took_and_what_lies_between(show):
    tiers = show(slow()).locator(".tiers > li").all()
    assert [words(tier.locator(".name")) for tier in tiers] == list(NAMES.values())
    assert [words(tier.locator(".own")) for tier in tiers] == [
        "12.0 ms · 15 %",
        "4.0 ms · 5 %",
        "2.0 ms · 2 %",
        "17.9 ms · 22 %",
        "40.1 ms · 50 %",
    ]
    assert [words(tier.locator(".hop")) for tier in tiers[1:]] == [
        "TLS 1.3 10.77.0.10",
        f"Unix socket {APP_SOCKET} waited 4.000 ms in line",
        "WSGI",
        f"Unix socket {DATABASE_SOCKET}",
    ]


def test_tcp_between_tiers_is_called_so(show):
    data = slow()
    data["spans"][3]["attributes"]["network.peer.address"] = "127.0.0.1:8000"
    assert words(show(data).locator(".tiers .uwsgi .kind")) == "TCP"


def test_plain_http_is_called_so(show):
    assert words(show(slow(url="http://faults.test/")).locator(".tiers .nginx .kind")) == "TCP, no TLS"


def test_proofs_gaps_hints_and_clock_are_said(show):
    text = words(show(slow()).locator("body"))
    expected = [
        "✓ All 2 proofs hold",
        "✓ holds uWSGI recorded this trace worker 1, pid 7816",
        "10.337 ms faults: after SELECT, until its end",
        SLOW["hints"][0],
        "client = \N{MINUS SIGN}0.012 ms (± 0.029 ms)",
        "±4 µs",
        "collecting its evidence 94.000 ms",
        "200 OK",
        SLOW["trace_id"],
    ]
    assert [each for each in expected if each not in text] == []


def test_failed_proof_is_named_before_all_else(show):
    failed = {"name": "MySQL recorded this trace", "ok": False, "said": "no row within 2 s"}
    page = show(slow(ok=False, proofs=[*SLOW["proofs"], failed]))
    assert words(page.locator(".verdict")) == "✗ 1 of 3 proofs failed MySQL recorded this trace: no row within 2 s"
    assert words(page.locator("tbody tr").first) == "✗ failed MySQL recorded this trace no row within 2 s"


def test_failed_span_is_said_to_have_failed(show):
    data = slow()
    data["spans"][6]["error"] = True
    page = show(data)
    assert [words(summaries(page).nth(at)).count("✗ failed") for at in (5, 6)] == [0, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {"clock": {"offset_ms": 0.0, "error_ms": None, "mysql_spread_us": None}},
        {"status": None, "duration_ms": None, "spans": [], "proofs": [], "gaps": [], "hints": [], "ok": False},
        {"duration_ms": None},
        {"app": None},
        {"ended": {"tier": "moon", "said": "far", "next": ""}, "ok": False},
        {"clock": None, "spent_ms": None},
    ],
    ids=["clock", "nothing", "duration", "app", "unknown tier", "no clock"],
)
def test_trace_that_lacks_something_has_a_page(show, changes):
    page = show(slow(**changes))
    assert page.watched.complaints == []
    assert page.locator("text=/None|nan|Undefined/").count() == 0


# Where it broke


@pytest.mark.parametrize("tier", ORDER[1:])
def test_broken_hop_is_named(show, tier):
    page = show(ended_at(tier))
    said = words(page.locator(".verdict"))
    assert f"✗ It ended early, at {NAMES[tier]} connect() failed (111): no {tier}" in said
    assert f"Next: ./sanso logs --tier {tier}" in said
    states = [words(each) for each in page.locator(".tiers .state").all()]
    broken = ORDER.index(tier)
    assert states == ["✓ took part"] * broken + ["✗ broke here"] + ["not reached"] * (4 - broken)
    assert "this hop broke" in words(page.locator(f".tiers .{tier} .hop"))
    assert page.locator(".tiers").get_by_text("this hop broke").count() == 1


def test_broken_hop_is_red(show):
    page = show(ended_at("uwsgi"))
    accent = "rgb(169, 58, 36)"
    assert page.locator(".tiers .uwsgi .state").evaluate("each => getComputedStyle(each).color") == accent
    assert page.locator(".tiers .uwsgi .wire").evaluate("each => getComputedStyle(each).borderTopColor") == accent
    assert page.locator(".tiers .nginx .state").evaluate("each => getComputedStyle(each).color") != accent


def test_tier_that_was_reached_and_broke_has_no_broken_hop(show):
    page = show(slow(ok=False, ended={"tier": "mysql", "said": "ERROR 1205", "next": "./sanso logs --tier db"}))
    assert words(page.locator(".tiers .mysql .state")) == "✗ broke here"
    assert page.locator(".tiers").get_by_text("this hop broke").count() == 0


def test_tier_that_was_not_needed_took_no_part(show):
    page = show(slow(spans=[each for each in SLOW["spans"] if each["tier"] in ("client", "nginx")], queue_wait_ms=None))
    states = [words(each) for each in page.locator(".tiers .state").all()]
    assert states == ["✓ took part"] * 2 + ["took no part"] * 3


def test_tier_that_was_passed_without_a_trace_left_no_record(show):
    data = ended_at("app")
    data["spans"] = [each for each in data["spans"] if each["tier"] != "uwsgi"]
    states = [words(each) for each in show(data).locator(".tiers .state").all()]
    assert states == ["✓ took part"] * 2 + ["left no record", "✗ broke here", "not reached"]


# By mouse and by keys


KEYS = {
    "ArrowDown": (0, ["ArrowDown", "ArrowDown"], 2),
    "ArrowUp": (3, ["ArrowUp"], 2),
    "End": (0, ["End"], 9),
    "Home": (5, ["Home"], 0),
    "above the first": (0, ["ArrowUp"], 0),
    "below the last": (9, ["ArrowDown"], 9),
}


@pytest.mark.parametrize("name", KEYS)
def test_key_moves_between_the_spans(show, name):
    start, keys, end = KEYS[name]
    page = show(slow())
    summaries(page).nth(start).focus()
    press(page, *keys)
    assert focused(page) == end


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_keyboard_opens_a_span_s_evidence_and_escape_closes_it(show, key):
    page = show(slow())
    summaries(page).first.focus()
    press(page, "ArrowDown", "ArrowDown", key)
    assert opened(page) == [2]
    assert page.locator("#span-3 dd").first.is_visible()
    press(page, "Escape")
    assert (opened(page), focused(page)) == ([], 2)
    assert page.locator("#span-3 dd").first.is_visible() is False


def test_tab_reaches_tiers_buttons_and_spans_in_this_order(show):
    page = show(slow())
    seen = []
    for _ in range(11):
        press(page, "Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
    tiers = [f"tier-{tier}" for tier in ORDER]
    assert seen == ["skip", *tiers, "open", "save", "help", "cells", "cells"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("presses", "place"), [(1, ".skip"), (2, ".tiers .client .box"), (7, "#open"), (10, "#span-1 summary")]
)
def test_focus_is_visible(show, presses, place, scheme):
    page = show(slow(), scheme=scheme)
    press(page, *["Tab"] * presses)
    outline = page.locator(place).evaluate(
        "each => [getComputedStyle(each).outlineStyle, getComputedStyle(each).outlineWidth]"
    )
    assert outline == ["solid", "2px"]


def test_skip_link_leads_to_the_waterfall(show):
    page = show(slow())
    press(page, "Tab", "Enter", "Tab", "Tab", "Tab", "Tab")
    assert focused(page) == 0


@pytest.mark.parametrize("close", ["Escape", "Enter"])
def test_question_mark_shows_the_keys(show, close):
    page = show(slow())
    press(page, "?")
    assert page.get_by_role("dialog").is_visible()
    assert "Home" in words(page.get_by_role("dialog"))
    press(page, close)  # Enter presses the button that has the focus
    assert page.get_by_role("dialog").count() == 0
    assert page.watched.complaints == []


def bold(page) -> list[str]:
    """The tiers whose spans stand out."""
    found = page.locator(".spans > li").evaluate_all(
        "all => all.map(each => getComputedStyle(each.querySelector('summary')).fontWeight > 500 ? each.className : '')"
    )
    return sorted(set(found) - {""})


def bars(page) -> list[str]:
    return page.locator(".spans .bar").evaluate_all("all => all.map(each => getComputedStyle(each).backgroundColor)")


@pytest.mark.parametrize(("tier", "script"), [(tier, True) for tier in ORDER] + [("nginx", False)])
def test_clicking_a_tier_highlights_its_spans(show, tier, script):
    page = show(slow(), java_script_enabled=script)
    before = bars(page)
    page.locator(f".tiers .{tier} .box").click()
    assert bold(page) == [tier]
    kept = [old == new for old, new in zip(before, bars(page), strict=True)]
    assert kept == [each["tier"] == tier for each in SLOW["spans"]]
    page.locator(f".tiers .{tier} .box").click()
    assert (bold(page), bars(page)) == ([], before)


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_keyboard_chooses_a_tier_and_escape_ends_it(show, key):
    page = show(slow())
    press(page, "Tab", "Tab", "Tab", key)
    assert bold(page) == ["nginx"]
    press(page, "Escape")
    assert bold(page) == []


def test_tier_that_took_no_part_can_not_be_chosen(show):
    assert show(ended_at("uwsgi")).locator(".tiers input:disabled").count() == 3


def test_saved_file_is_the_trace(show):
    page = show(slow())
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as JSON").click()
    assert json.loads(Path(download.value.path()).read_text()) == SLOW


def test_all_evidence_opens_and_closes_at_once(show):
    page = show(slow())
    button = page.get_by_role("button", name="Open or close all")
    button.click()
    assert opened(page) == list(range(10))
    button.click()
    assert opened(page) == []


def test_evidence_can_be_opened_without_javascript(show):
    page = show(slow(), java_script_enabled=False)
    assert page.locator("#span-3 dd").first.is_visible() is False
    summaries(page).nth(2).focus()
    press(page, "Enter")
    assert page.locator("#span-3 dd").first.is_visible()
    summaries(page).nth(4).click()
    assert page.locator("#span-5 dd").first.is_visible()
    assert page.locator(".tools button:visible").count() == 0  # they would do nothing


@pytest.mark.parametrize(
    ("keys", "end"), [(["Home"], 0), (["End"], 499), (["ArrowUp"] * 16, 234), (["ArrowDown"] * 16, 266)]
)
def test_500_spans_can_be_gone_through(show, keys, end):
    page = show(many())
    assert summaries(page).count() == 500
    summaries(page).nth(250).focus()
    covered = []
    for key in keys:
        press(page, key)
        # Nothing covers the span that has the focus, not even the axis that stays in sight.
        covered += page.evaluate(
            """() => {
                const row = document.activeElement.getBoundingClientRect();
                return [row.top + 4, row.bottom - 4].filter(y =>
                    !document.activeElement.contains(document.elementFromPoint(row.left + row.width / 2, y)));
            }"""
        )
    assert (focused(page), covered) == (end, [])


# On paper, on a phone, for every eye


# Of each visible text: its contrast with the first opaque background behind it. An unexpected kind of colour is NaN.
CONTRAST = """() => {
    const parse = text => {
        const found = text.match(/^rgba?\\((\\d+), (\\d+), (\\d+)(?:, ([\\d.]+))?\\)$/);
        return found ? { rgb: found.slice(1, 4).map(Number), alpha: Number(found[4] ?? 1) } : { rgb: [NaN], alpha: 1 };
    };
    const linear = part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
    const light = rgb => rgb.map(part => linear(part / 255))
        .reduce((sum, part, at) => sum + part * [.2126, .7152, .0722][at], 0);
    const behind = each => {
        for (; each; each = each.parentElement) {
            const { rgb, alpha } = parse(getComputedStyle(each).backgroundColor);
            if (alpha) return alpha < 1 ? [NaN] : rgb;
        }
        return [255, 255, 255];
    };
    const texts = [...document.body.querySelectorAll("*")].filter(each => !each.matches("script, style, .unseen") &&
        each.checkVisibility({ visibilityProperty: true, opacityProperty: true }) &&
        [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
    return texts.map(each => {
        const [one, two] = [light(parse(getComputedStyle(each).color).rgb), light(behind(each))].sort((a, b) => b - a);
        return [(one + .05) / (two + .05), each.textContent.trim().slice(0, 40)];
    });
}"""


def choose(page):
    page.locator(".tiers .nginx .box").click()


def keys(page):
    press(page, "?")


def nothing(page):
    pass


@pytest.mark.parametrize(
    ("trace", "width", "act"),
    [
        ("slow", 1280, nothing),
        ("ended", 1280, nothing),
        ("ended", 360, nothing),
        ("slow", 1280, choose),
        ("slow", 360, keys),
    ],
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(show, scheme, trace, width, act):
    page = show(TRACES[trace](), scheme=scheme, width=width)
    open_all(page)
    act(page)
    found = page.evaluate(CONTRAST)
    assert len(found) > 50
    assert [(round(ratio, 2), text) for ratio, text in found if not ratio >= 4.5] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_scheme_is_the_reader_s(show, scheme):
    background = show(slow(), scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(250, 248, 244)", "dark": "rgb(23, 22, 20)"}[scheme]


def hidden_evidence(page) -> list[str]:
    return page.locator(".evidence dd").evaluate_all(
        "all => all.filter(each => !each.checkVisibility() || !each.offsetHeight).map(each => each.textContent)"
    )


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_paper_shows_all_evidence(show, script):
    page = show(slow(), java_script_enabled=script)
    assert len(hidden_evidence(page)) == page.locator(".evidence dd").count() > 10
    page.emulate_media(media="print")
    assert hidden_evidence(page) == []


@pytest.mark.parametrize("width", [703, 965])  # A4 upright, Letter on its side; less 12 mm of margin
@pytest.mark.parametrize("trace", ["slow", "ended"])
def test_paper_is_light_and_cuts_nothing_off(show, trace, width):
    page = show(TRACES[trace](), scheme="dark", media="print", width=width)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('.bar')).printColorAdjust") == "exact"
    assert cut_off(page) == []
    assert [text for ratio, text in page.evaluate(CONTRAST) if not ratio >= 4.5] == []
    assert page.locator(".tools").is_visible() is False


def cut_off(page) -> list[str]:
    """What sticks out of the page on its right."""
    return page.evaluate(
        """[...document.querySelectorAll('body *')].filter(each => !each.matches('.unseen, .skip')
               && each.checkVisibility()
               && each.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
               .map(each => each.className || each.tagName)"""
    )


@pytest.mark.parametrize("trace", [*TRACES, "poisoned"])
def test_phone_needs_no_horizontal_scrolling(show, trace):
    data = poisoned("x" * 400) if trace == "poisoned" else TRACES[trace]()
    page = show(data, width=360, is_mobile=True)
    open_all(page)
    assert page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [360, 360]
    assert cut_off(page) == []


@pytest.mark.parametrize("width", [420, 660, 840, 1088, 1100, 1280, 1920])
def test_no_width_makes_the_page_scroll_sideways(show, width):
    page = show(slow(), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize(("motion", "moves"), [("reduce", False), ("no-preference", True)])
def test_nothing_moves_for_those_who_ask_for_that(show, motion, moves):
    page = show(slow(), motion=motion)
    times = page.evaluate(
        """[...document.querySelectorAll('body *')].flatMap(each => [null, '::before', '::after'].map(part =>
               getComputedStyle(each, part).transitionDuration))"""
    )
    assert any(time != "0s" for time in times) is moves


def test_page_has_a_language_a_title_and_headings_in_order(show):
    page = show(slow())
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.title() == "GET https://faults.test/slow: 200 · Sansō trace"
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(each => each.tagName)")
    assert levels == ["H1", *["H2"] * 6]
    assert page.get_by_role("table").count() == 2
    assert page.get_by_role("checkbox", name="nginx").count() == 1
