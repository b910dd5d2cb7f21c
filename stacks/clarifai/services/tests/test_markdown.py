import pytest

from clarifai.notes.markdown import LARGEST, NoteError, read_note


def kinds(text: str) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in read_note(text.encode(), "a.md").blocks]


def test_a_note_is_split_at_blank_lines_headings_and_fences() -> None:
    text = "# Title\nFirst\nline\n\n- one\n- two\n\n```py\nx = 1\n\ny = 2\n```\nlast\n"
    assert kinds(text) == [
        ("heading", "Title"),
        ("paragraph", "First\nline"),
        ("list", "- one\n- two"),
        ("code", "```py\nx = 1\n\ny = 2\n```"),
        ("paragraph", "last"),
    ]


def test_a_block_knows_the_heading_it_stands_under() -> None:
    blocks = read_note(b"before\n\n# A\n\nin a\n\n## B\n\nin b\n", "a.md").blocks
    assert [(block.text, block.section) for block in blocks if block.kind == "paragraph"] == [
        ("before", ""),
        ("in a", "A"),
        ("in b", "B"),
    ]


def test_title_comes_from_front_matter_then_heading_then_name() -> None:
    assert read_note(b"---\ntitle: 'From the front'\n---\n# Heading\n", "dir/name.md").title == "From the front"
    assert read_note(b"text\n\n# Heading\n", "dir/name.md").title == "Heading"
    assert read_note(b"text\n", "dir/name.md").title == "name"


def test_a_generated_note_says_so() -> None:
    assert read_note(b"---\ngenerated: true\n---\ntext\n", "a.md").generated
    assert not read_note(b"generated: true\n", "a.md").generated


def test_line_endings_and_byte_order_marks_change_nothing() -> None:
    assert read_note("\ufeff# A\r\n\r\nb\r\nc\r\n".encode(), "a.md") == read_note(b"# A\n\nb\nc\n", "a.md")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"good\ncaf\xe9\n", "line 2: not UTF-8"),
        ("cut in a letter: ç".encode()[:-1], "not UTF-8"),
        (b"text\n\0\0\0\0", "line 2: a NUL byte"),
        (b"---\ntitle: x\n", "front matter opened here is not closed"),
        (b"a\n\n```py\nx = 1\n", "code fence opened at line 3"),
        (b"x" * (LARGEST + 1), "more than"),
    ],
)
def test_what_is_no_whole_note_says_why(raw: bytes, reason: str) -> None:
    with pytest.raises(NoteError, match=reason):
        read_note(raw, "a.md")


@pytest.mark.parametrize("raw", [b"", b"\n\n", b"---\n---\n", b"#\n"])
def test_an_empty_note_is_a_note(raw: bytes) -> None:
    assert all(block.text.strip() for block in read_note(raw, "a.md").blocks)


def test_a_fence_is_closed_by_its_own_kind_only() -> None:
    assert kinds("````\n```\n````\nafter\n") == [("code", "````\n```\n````"), ("paragraph", "after")]
    assert kinds("~~~\n```\n~~~\n") == [("code", "~~~\n```\n~~~")]
