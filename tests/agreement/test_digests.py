"""What both engines built is the same, by everything that a digest knows; before either of them runs again."""

import pytest

from sanso.digest import compare
from sanso.digest.program import SECTIONS


@pytest.mark.parametrize("section", SECTIONS)
def test_both_engines_build_the_same(section, digests, told):
    one, other = (each.sections[section] for each in digests)
    assert one, f"the digest of {digests[0].host} has nothing of {section}, which would always agree"
    found = compare.in_section(section, one, other)
    if found:
        pytest.fail(told(found), pytrace=False)
