import re

import pytest

ATTACK = "<script>alert(1)</script>"


def test_the_first_page_lists_projects_with_their_newest_error_first(client, report):
    for project in ("shop", "shop", "till"):
        report(project=project)
    rows = re.findall(r'href="/projects/([a-z]+)".*?data-label="errors">(\d+)<', client.get("/").text, re.DOTALL)
    assert rows == [("till", "1"), ("shop", "2")]


def test_without_errors_the_first_page_says_how_to_report_one(client):
    page = client.get("/", base_url="https://faults.test/")
    assert page.status_code == 200
    assert "curl https://faults.test/api/projects/hello/errors" in page.text


def test_an_unknown_project_is_a_404_that_says_how_to_report_its_first_error(client, report):
    report(project="till")
    page = client.get("/projects/shop")
    assert page.status_code == 404
    assert "curl http://localhost/api/projects/shop/errors" in page.text


def test_a_project_shows_its_groups_with_the_latest_message_and_how_often(client, report):
    report(type="Rare", backtrace=[], message="once")
    for message in ("'first'", "'second'"):
        report(message=message)
    report(project="till", message="'elsewhere'")
    text = client.get("/projects/shop").text
    assert text.index("KeyError") < text.index("Rare")
    assert re.findall(r'data-label="times">(\d+)<', text) == ["2", "1"]
    assert re.findall(r'class="message">(.+?)<', text) == ["&#39;second&#39;", "once"]


def test_a_group_lists_its_errors_newest_first(client, report):
    ids = [report(message=message).json["id"] for message in "abc"]
    report(type="Other")
    group = client.get("/api/projects/shop/errors").json["errors"][-1]["group"]
    text = client.get(f"/projects/shop/groups/{group}").text
    assert re.findall(r'href="/projects/shop/errors/(\d+)"', text) == ids[::-1]


@pytest.mark.parametrize("groups", [False, True], ids=["errors", "groups"])
def test_older_ones_are_a_link_away(client, report, groups):
    for message in ("one", "two", "three"):
        report(message=message, backtrace=[message if groups else "main.py:7 in run"])
    path = "/projects/shop"
    if not groups:
        path = re.search(r'href="(/projects/shop/groups/\w+)"', client.get(path).text)[1]
    first = client.get(path, query_string={"limit": 2}).text
    assert [word for word in ("three", "two", "one") if word in first] == ["three", "two"]
    older = client.get(re.search(r'href="([^"]+)" rel="next"', first)[1]).text
    assert "one" in older
    assert 'rel="next"' not in older


def test_an_error_shows_its_backtrace_and_its_context(client, report):
    path = f"/projects/shop/errors/{report(context={'user': 'aoi', 'basket': {'items': 3}}).json['id']}"
    text = client.get(path).text
    assert "checkout.py:88 in total" in text
    assert "aoi" in text
    assert "&#34;items&#34;: 3" in text


def test_a_time_can_be_read_by_people_and_machines(client, report, stopped_clock):
    report()
    expected = '<time datetime="2026-03-02T06:30:00+00:00">2026-03-02 06:30:00</time>'
    assert expected in client.get("/projects/shop").text


@pytest.mark.parametrize("page", ["", "/groups/{group}", "/errors/{id}"], ids=["project", "group", "error"])
def test_what_apps_report_is_never_markup(client, report, page):
    report(type=ATTACK, message=ATTACK, backtrace=[ATTACK], context={ATTACK: [ATTACK]})
    (error,) = client.get("/api/projects/shop/errors").json["errors"]
    text = client.get("/projects/shop" + page.format(**error)).text
    assert ATTACK not in text
    assert "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize("path", ["/", "/projects/shop", "/nothing"])
def test_a_page_needs_no_inline_style_or_script(client, report, path):
    report()
    assert not re.search(r"<script|<style|style=|\son\w+=|javascript:|data:", client.get(path).text)


@pytest.mark.parametrize(
    "path",
    ["groups/0123456789abcdef", "errors/1", "errors/abc", "errors/9223372036854775808", "errors/" + "9" * 5000],
    ids=lambda path: path[:30],
)
def test_what_is_not_there_is_a_404(client, report, path):
    report()
    assert client.get(f"/projects/shop/{path}").status_code == 404
