import pytest


@pytest.mark.parametrize("name", ["shop", "a", "0-9", "n" * 64])
def test_a_name_of_letters_digits_and_dashes_is_taken(report, name):
    assert report(project=name).status_code == 201


@pytest.mark.parametrize("name", ["Shop", "a_b", "a.b", "caf%C3%A9", "%F0%9F%8D%B5", "%00", "%D9%A3", "a%0A", "n" * 65])
def test_any_other_name_is_refused_with_the_reason(client, report, name):
    answer = report(project=name)
    assert (answer.status_code, answer.json) == (404, {"error": "A name is 1 to 64 of a-z, 0-9 and -."})
    assert client.get(f"/projects/{name}").status_code == 404
    assert client.get(f"/projects/shop/groups/{name}").status_code == 404
