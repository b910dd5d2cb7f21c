"""`$NAME` and its kin, as the Dockerfile reference's "Environment replacement" has them."""

import pytest

from cais.build.expand import BadExpansion, expand, expand_body

ENV = {"x": "foo/bar/baz", "empty": "", "A": "1", "file": "a.tar.gz"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$x", "foo/bar/baz"),
        ("${x}y", "foo/bar/bazy"),
        ("$nothing", ""),
        ("${n:-d}", "d"),
        ("${empty:-d}", "d"),
        ("${empty-d}", ""),
        ("${n-a$A}", "a1"),
        ("${n:-${A}}", "1"),
        ("${x:+y}", "y"),
        ("${empty:+y}", ""),
        ("${empty+y}", "y"),
        ("${x#*/}", "bar/baz"),
        ("${x##*/}", "baz"),
        ("${x%/*}", "foo/bar"),
        ("${x%%/*}", "foo"),
        ("${file%.gz}", "a.tar"),
        ("${file#b}", "a.tar.gz"),
        ("${x/bar/q}", "foo/q/baz"),
        ("${x//\\//-}", "foo-bar-baz"),
        ("'$x'", "$x"),
        ('"$A b"', "1 b"),
        ("\\$A", "$A"),
        ("a\\ b", "a b"),
        ("100$", "100$"),
        ("$ a", "$ a"),
    ],
)
def test_forms(text: str, value: str) -> None:
    assert expand(text, ENV) == value


@pytest.mark.parametrize("text", ["${", "${x", "${x:", "${n:?why}", "${x!}", "'a", '"a'])
def test_what_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(BadExpansion):
        expand(text, ENV)


def test_a_heredoc_keeps_its_quotes() -> None:
    assert expand_body("a = \"$A\" 'b' \\$A \\n", ENV) == "a = \"1\" 'b' $A \\n"


def test_names_that_are_not_set_are_told() -> None:
    unset: set[str] = set()
    expand("$x $y ${z}", ENV, unset=unset)
    assert unset == {"y", "z"}
