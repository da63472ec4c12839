"""One row by its name or id, or an error with names as they are typed."""

import pytest

from lib.api import find
from lib.errors import NotOne


@pytest.mark.parametrize(
    "name, shown",
    [
        ("東京\u3000一", "東京\u3000一"),
        ("a\tb", r"'a\tb'"),
        ("a\x1b[2Jb", r"'a\x1b[2Jb'"),
        ("a b", "a b"),
    ],
)
def test_a_name_that_is_offered_can_be_typed_again(name, shown):
    with pytest.raises(NotOne) as error:
        find.pick([{"name": name, "id": "1"}], "listZones", "x")
    assert f"\n  {shown} (id 1)" in str(error.value)
