"""Dockerfile text -> instructions, with places and every fault."""

import pytest

from cais.source.formats.dockerfile import Dockerfile, Instruction, read


def one(text: str) -> Instruction:
    found = read(text)
    assert not found.faults, found.faults
    assert len(found.instructions) == 1
    return found.instructions[0]


def faults(text: str) -> list[tuple[int, int, str]]:
    return [(f.span.line, f.span.column, f.message) for f in read(text).faults]


def test_a_continued_instruction_skips_comments_and_blank_lines_inside_it() -> None:
    run = one("RUN apt-get update \\\n  # a comment\n\n  && apt-get install -y curl \\\n# last\n")
    assert run.text == "apt-get update   && apt-get install -y curl"
    assert (run.span.line, run.span.end_line) == (1, 4)


def test_a_word_of_a_later_line_knows_its_own_place() -> None:
    copy = one("COPY a \\\n     b /dst/")
    assert [(w.text, w.span.line, w.span.column) for w in copy.words] == [("a", 1, 6), ("b", 2, 6), ("/dst/", 2, 8)]


def test_the_escape_directive_changes_what_continues_a_line() -> None:
    found = read("# escape=`\nFROM a\nRUN dir c:\\\nRUN x `\n  y\n")
    assert [i.text for i in found.instructions] == ["a", "dir c:\\", "x   y"]
    assert found.escape == "`"


def test_directives_end_at_the_first_other_line() -> None:
    assert read("# syntax=docker/dockerfile:1\n# check=skip=all\n\nFROM a").directives == (
        ("syntax", "docker/dockerfile:1"),
        ("check", "skip=all"),
    )
    assert read("# a comment\n# escape=`\nFROM a").escape == "\\"


def test_windows_line_ends_and_a_byte_order_mark_are_taken() -> None:
    found = read("\ufeffFROM a\r\nRUN b \\\r\n c\r\n")
    assert [(i.name, i.text) for i in found.instructions] == [("FROM", "a"), ("RUN", "b  c")]


def test_heredocs_several_quoted_and_with_tabs_taken_away() -> None:
    copy = one("COPY <<A <<-\"B\" <<'C' /dst/\n$x\nA\n\t\tdeep\n\tB\nraw\nC\n")
    assert [(h.name, h.content, h.expand, h.chomp) for h in copy.heredocs] == [
        ("A", "$x\n", True, False),
        ("B", "deep\n", False, True),
        ("C", "raw\n", False, False),
    ]


def test_a_heredoc_may_hold_lines_that_look_like_instructions() -> None:
    found = read("RUN <<EOF\nFROM nothing\nEOF\nCMD x")
    assert [i.name for i in found.instructions] == ["RUN", "CMD"]


def test_a_shift_in_arithmetic_is_no_heredoc() -> None:
    assert one("RUN echo $((1<<2))").heredocs == ()


def test_json_and_shell_form() -> None:
    assert [w.text for w in one('CMD ["a", "b c"]').words] == ["a", "b c"]
    shell = one("CMD a  'b c'")
    assert not shell.json and [w.text for w in shell.words] == ["a  'b c'"]


def test_what_only_looks_like_json_is_a_shell_command_and_a_warning() -> None:
    found = read("CMD ['a']")
    assert not found.instructions[0].json
    assert [f.severity for f in found.faults] == ["warning"]


def test_flags_with_and_without_value() -> None:
    copy = one('COPY --link --from=build --chown=a:b --exclude=*.txt --exclude="x y" src /dst')
    assert copy.flag("link") == "true" and copy.flag("from") == "build" and copy.flag("chmod") is None
    assert [f.value for f in copy.all_flags("exclude")] == ["*.txt", "x y"]
    assert [w.text for w in copy.words] == ["src", "/dst"]


def test_env_pairs_quotes_escapes_and_the_old_form() -> None:
    env = one('ENV a=1 b="2 3" c=d\\ e')
    assert [(p.name.text, p.value.text if p.value else None) for p in env.pairs] == [
        ("a", "1"),
        ("b", '"2 3"'),
        ("c", "d\\ e"),
    ]
    old = one("ENV key the rest = of it")
    assert [(p.name.text, p.value and p.value.text) for p in old.pairs] == [("key", "the rest = of it")]


def test_arg_with_and_without_default() -> None:
    assert [(p.name.text, p.value and p.value.text) for p in one("ARG A B=2").pairs] == [("A", None), ("B", "2")]


def test_onbuild_holds_the_instruction_it_will_carry_out() -> None:
    inner = one("ONBUILD COPY --chown=1 . /app").inner
    assert inner is not None and inner.name == "COPY" and inner.flag("chown") == "1"


def test_healthcheck_forms() -> None:
    assert one("HEALTHCHECK NONE").words[0].text == "NONE"
    check = one('HEALTHCHECK --interval=5s --retries=2 CMD ["curl", "x"]')
    assert [w.text for w in check.words] == ["CMD", "curl", "x"] and check.flag("interval") == "5s"


def test_all_faults_are_reported_at_once_with_line_and_column() -> None:
    text = "FORM a\nFROM b\nRUN\n  COPY x\nCOPY --chwon=1 a b\nFROM a b\nHEALTHCHECK curl\nENV a\nSHELL bash\n"
    found = read(text)
    assert [(f.span.line, f.span.column) for f in found.faults] == [
        (1, 1),
        (3, 1),
        (4, 3),
        (5, 6),
        (6, 1),
        (7, 1),
        (8, 1),
        (9, 7),
    ]
    assert found.faults[0].hint == "did you mean FROM?"
    assert found.faults[3].hint == "did you mean --chown?"


def test_a_lost_continuation_is_recognised() -> None:
    hint = read("FROM a\nRUN x\n  && y").faults[0].hint
    assert "to continue it" in hint


def test_an_unended_heredoc_is_named_where_it_begins() -> None:
    assert faults("FROM a\nRUN <<EOF\nx\n") == [(2, 5, "the here-document EOF does not end")]


def test_an_empty_file_is_a_fault_and_not_a_crash() -> None:
    assert len(read("").faults) == 1
    assert len(read("# only a comment\n").faults) == 1


@pytest.mark.parametrize(
    "text", ["ENV", "ENV =", "COPY", "FROM", "RUN --mount", "\\", "ONBUILD", "<<EOF", "RUN <<", 'ENV a="']
)
def test_broken_text_never_raises(text: str) -> None:
    assert isinstance(read(text), Dockerfile)


def test_a_huge_line_is_read_in_bounded_time() -> None:
    assert one("RUN " + "a" * 1_000_000 + " \\\n" * 1 + " b").name == "RUN"
    many = read("FROM a\n" + "RUN x \\\n" * 20_000)
    assert len(many.instructions) == 2
