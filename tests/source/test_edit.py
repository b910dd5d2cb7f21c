"""Edits change what they are asked to change, and not one byte more."""

import pytest

from cais.source import edit

TEXT = """\
# the shop
services:
  db:   # keep me
    image: 'postgres:16'   # pinned
    environment: {A: 1, B: "two"}
    ports:
      - "5432:5432"
      - 80   # web

  web: &web
    image: nginx
    command: |
      one
      two
    profiles:
volumes:
  data:
"""


def changed(*edits: edit.Edit) -> str:
    return edit.apply(TEXT, edits)


def test_a_scalar_keeps_its_quotes_and_its_comment() -> None:
    assert changed(edit.set_value(TEXT, ("services", "db", "image"), "postgres:17")) == TEXT.replace(
        "'postgres:16'", "'postgres:17'"
    )


def test_a_value_in_a_flow_mapping_changes_in_place() -> None:
    assert changed(edit.set_value(TEXT, ("services", "db", "environment", "B"), "x, y")) == TEXT.replace(
        '"two"', '"x, y"'
    )


def test_an_item_of_a_list_changes_in_place() -> None:
    assert changed(edit.set_value(TEXT, ("services", "db", "ports", 1), 8080)) == TEXT.replace("- 80 ", "- 8080 ")


def test_a_block_scalar_is_replaced_whole() -> None:
    assert changed(edit.set_value(TEXT, ("services", "web", "command"), "run")) == TEXT.replace(
        "|\n      one\n      two", "run"
    )


def test_an_empty_value_is_filled() -> None:
    assert changed(edit.set_value(TEXT, ("services", "web", "profiles"), ["a"])) == TEXT.replace(
        "profiles:", "profiles: [a]"
    )


def test_a_key_is_added_behind_the_last_one_with_its_indent() -> None:
    assert changed(edit.add_key(TEXT, ("services", "db"), "restart", "always")) == TEXT.replace(
        "      - 80   # web\n", "      - 80   # web\n    restart: always\n"
    )


def test_a_key_is_added_to_a_flow_mapping() -> None:
    assert changed(edit.add_key(TEXT, ("services", "db", "environment"), "C", "3")) == TEXT.replace(
        '"two"}', '"two", C: "3"}'
    )


def test_a_key_is_deleted_with_its_lines_and_comment() -> None:
    assert changed(edit.delete_key(TEXT, ("services", "db", "image"))) == TEXT.replace(
        "    image: 'postgres:16'   # pinned\n", ""
    )


def test_the_only_key_leaves_an_empty_mapping() -> None:
    assert changed(edit.delete_key(TEXT, ("volumes", "data"))) == TEXT.replace("volumes:\n  data:\n", "volumes: {}\n")


def test_several_edits_at_once() -> None:
    text = changed(
        edit.set_value(TEXT, ("services", "db", "image"), "a"), edit.delete_key(TEXT, ("services", "db", "ports", 0))
    )
    assert "image: 'a'" in text and "5432" not in text and "- 80   # web" in text


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(edit.CannotEdit, match=r"services\.cache"):
        edit.set_value(TEXT, ("services", "cache", "image"), "x")


def test_windows_line_ends_stay() -> None:
    text = TEXT.replace("\n", "\r\n")
    added = edit.apply(text, [edit.add_key(text, ("volumes",), "more", None)])
    assert added == text.rstrip("\r\n") + "\r\n  more: null\r\n"


def test_no_key_is_added_where_keys_have_question_marks() -> None:
    with pytest.raises(edit.CannotEdit, match="question mark"):
        edit.add_key("? a\n: b\n", (), "c", 1)


def test_a_key_added_to_a_flow_mapping_is_quoted_where_it_must_be() -> None:
    new = changed(edit.add_key(TEXT, ("services", "db", "environment"), "?C", ":9, x"))
    assert new == TEXT.replace('B: "two"}', 'B: "two", "?C": ":9, x"}')
