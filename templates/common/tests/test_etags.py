"""Entity tags: which versions the lines of a header name."""

import pytest

from service.etags import etag, is_known, versions

MALFORMED = ["2", '"2', '"2 "', "", '"1" "2"', 'w/"2"', '*, "2"', ",", "'2'", '"' * 10_000]


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (['"2"'], [2]),
        (['W/"2"'], [2]),
        (['"1", "2"'], [1, 2]),
        (['"1","2",\t"x!y"'], [1, 2]),
        (['"1"', '"2"'], [1, 2]),
        ([', "2",,'], [2]),
        (['"x", W/"2"'], [2]),
        (['"02"', '""', f'"{2**31}"', f'"{"9" * 5000}"'], []),
        (["*"], None),
        ([" * "], None),
        ([], None),
        (None, None),
        *(([line], []) for line in MALFORMED),
    ],
)
def test_versions_that_a_header_names(lines: list[str] | None, named: list[int] | None) -> None:
    assert versions(lines) == named
    is_any = bool(lines) and named is None
    assert is_known(2, lines) == (is_any or 2 in (named or []))


def test_tag_of_a_version_names_it() -> None:
    assert versions([etag(7)]) == [7]
