"""The YAML reader: values as Docker Compose resolves them, a position for each, bounds on what others wrote."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cais.source.emit import dump
from cais.source.files import File, Sources
from cais.source.tree import MAX_DEPTH
from cais.source.yaml import YamlError, read


def value(text: str) -> object:
    return read(text, 0)[0].value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", "yes"),
        ("true", True),
        ("~", None),
        ("0440", 288),
        ("0o17", 15),
        ("0x10", 16),
        ("1_000", 1000),
        ("1:30", "1:30"),
        ("1e3", 1000.0),
        ("0888", 888.0),
        ("'1'", "1"),
        ("2020-01-01", "2020-01-01"),
        ("!!str 1", "1"),
        ("!own 1", "1"),
        ("!!int '1'", 1),
        (".5_0", ".5_0"),
        ("1e400", "1e400"),
    ],
)
def test_plain_scalars(text: str, expected: object) -> None:
    assert value(f"a: {text}") == {"a": expected}


def test_merge_keys_lose_against_the_mapping_itself_and_win_in_order() -> None:
    text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz: {<<: [*x, *y], a: 0}"
    assert value(text)["z"] == {"a": 0, "b": 1, "c": 2}  # type: ignore[index]


def test_an_alias_is_a_copy() -> None:
    tree = value("x: &x [1]\ny: *x")
    assert tree["x"] == tree["y"] and tree["x"] is not tree["y"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("a: 1\na: 2", "duplicate-key", 1),
        ("a: &a {b: *a}", "alias-cycle", 0),
        ("a: *b", "unknown-anchor", 0),
        ("1: a", "non-string-key", 0),
        ("? [a]\n: b", "yaml-key", 0),
        ("a: b\n\tc: d", "yaml", 1),
        ("a: \0", "yaml", 0),
        ("a: [" * 50_000, "too-deep", 0),
        ("a: {<<: 1}", "merge-key", 0),
        ("a:\n  !!int x", "yaml-tag", 1),
    ],
)
def test_faults_have_a_place(text: str, code: str, line: int) -> None:
    with pytest.raises(YamlError) as caught:
        read(text, 0)
    assert caught.value.code == code
    assert caught.value.position >> 20 == line


def test_an_alias_bomb_ends() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    with pytest.raises(YamlError, match="200,000"):
        read(text, 0)


def test_positions_become_spans_of_keys_and_values() -> None:
    text = "services:\n  web: {image: 'x y'}\n  list:\n  - a: 1\n    b: 2\n"
    sources = Sources()
    number = sources.add(File("f.yaml", text))
    services = read(text, number)[0].value["services"]
    at = services["web"].where("image")
    assert sources.span(at) == ("f.yaml", 2, 16, 2, 21)
    assert sources.span(at, key=True) == ("f.yaml", 2, 9, 2, 14)
    item = services["list"].where(0)
    assert sources.span(item)[1:3] == (4, 5)  # type: ignore[index]
    assert sources.span(services["list"][0].where("a"), key=True) == ("f.yaml", 4, 5, 4, 6)


telling = st.text(alphabet="a0. \t\n:#-'\"|>?&*!%@`{}[],~=<_\r\x85\xa0\u2028é😀", max_size=8)
long = telling.map(lambda text: f"word {text} x" * 20)
texts = st.text(max_size=20) | telling | long | telling.map(lambda text: text + "long" * 32)
scalars = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | texts
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(texts, trees, max_size=5))
@example({"": {"0\n": None}})
@example({"a\nb": {"c\n": ["d"]}, "long" * 33: {"a": [[], {"b": 1}]}})
def test_what_is_written_is_read_back(tree: dict[str, object]) -> None:
    for fold in (False, True):
        text = dump(tree, fold=fold)
        try:
            documents = read(text, 0)
        except YamlError as error:
            assert any(ord(char) > 0xD7FF or not char.isprintable() for char in text), error
            return
        assert documents[0].value == tree


@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`, \n\t?<~0.", max_size=60))
def test_any_text_gives_a_tree_or_a_fault(text: str) -> None:
    faults: list[YamlError] = []
    try:
        read(text, 0, faults)
    except YamlError:
        pass


def test_depth_is_bounded_below_the_interpreters_own_limit() -> None:
    assert MAX_DEPTH < 200
