"""`.dockerignore`: order, exceptions, `**`."""

import pytest

from cais.source.formats.dockerignore import read


@pytest.mark.parametrize(
    ("patterns", "path", "hidden"),
    [
        ("node_modules", "node_modules", True),
        ("node_modules", "node_modules/a/b.js", True),
        ("node_modules", "src/node_modules", False),
        ("**/node_modules", "src/node_modules/x", True),
        ("**/node_modules", "node_modules", True),
        ("/src/", "src/a", True),
        ("*.log", "a.log", True),
        ("*.log", "sub/a.log", False),
        ("**/*.log", "sub/deep/a.log", True),
        ("*.log\n!keep.log", "keep.log", False),
        ("!keep.log\n*.log", "keep.log", True),
        ("docs\n!docs/readme.md", "docs/readme.md", False),
        ("docs\n!docs/readme.md", "docs/other.md", True),
        ("*\n!src", "src/a/b", False),
        ("*\n!src", "other", True),
        ("*\n!src\nsrc/secret", "src/secret", True),
        ("# comment\n\n  a  ", "a", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[ab].txt", "b.txt", True),
        ("a[z-b]c", "a[z-b]c", True),  # no set: the bracket stands for itself
        ("a\\*b", "a*b", True),
        ("a\\*b", "axb", False),
        (".git", ".gitignore", False),
        ("a/**", "a/b/c", True),
        ("**", "x/y", True),
        ("a/*/c", "a/b/c", True),
        ("a/*/c", "a/b/d/c", False),
        ("../outside", "outside", False),
    ],
)
def test_what_is_hidden(patterns: str, path: str, hidden: bool) -> None:
    assert read(patterns).ignored(path) is hidden


def test_a_hidden_directory_is_walked_when_an_exception_may_lie_below() -> None:
    assert read("docs\n!docs/readme.md").may_hold_exceptions("docs")
    assert not read("docs\n!src/readme.md").may_hold_exceptions("docs")
    assert read("*\n!**/*.py").may_hold_exceptions("src")
