import pytest

ERRORS = "/api/projects/shop/errors"


def walk(client, limit, between=lambda: None):
    """The messages of all pages, one list a page; `between` happens after each page."""
    pages, query = [], {"limit": limit}
    while True:
        answer = client.get(ERRORS, query_string=query).json
        pages.append([error["message"] for error in answer["errors"]])
        if answer["next"] is None:
            return pages
        query["after"] = answer["next"]
        between()


def test_pages_go_from_the_newest_to_the_oldest(client, report):
    for message in "abcde":
        report(message=message)
    assert walk(client, limit=2) == [["e", "d"], ["c", "b"], ["a"]]


def test_errors_of_the_same_microsecond_are_paged_one_by_one(client, report, stopped_clock):
    for message in "abcde":
        report(message=message)
    assert walk(client, limit=2) == [["e", "d"], ["c", "b"], ["a"]]


def test_errors_that_arrive_meanwhile_shift_no_page(client, report):
    for message in "abcd":
        report(message=message)
    assert walk(client, limit=2, between=lambda: report(message="new")) == [["d", "c"], ["b", "a"]]


def test_a_full_last_page_has_no_next(client, report):
    report()
    answer = client.get(ERRORS, query_string={"limit": 1}).json
    assert (len(answer["errors"]), answer["next"]) == (1, None)


def test_a_page_has_50_errors_unless_told(client, report):
    for _ in range(51):
        report()
    assert len(client.get(ERRORS).json["errors"]) == 50


def test_after_the_oldest_comes_an_empty_page(client, report):
    answer = client.get(ERRORS, query_string={"after": report().json["id"]})
    assert answer.json == {"errors": [], "next": None}


@pytest.mark.parametrize(
    "query",
    [
        *("after=abc", "after=", "after=-1", "after=1.5", "after=9223372036854775808", "after=%D9%A3"),
        *("limit=0", "limit=-1", "limit=201", "limit=1000000", "limit=ten", "limit=", "limit=1%00"),
        "after=" + "9" * 5000,
    ],
    ids=lambda query: query[:30],
)
def test_a_page_that_cannot_be_is_refused(client, query):
    answer = client.get(f"{ERRORS}?{query}")
    assert answer.status_code == 400
    assert answer.json["error"].startswith(f"{query.split('=')[0]} must be a whole number from ")
