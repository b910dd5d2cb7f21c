"""Lists and logs look as Docker Compose's do."""

import io
import time

import pytest

from cais.cli.logprint import ERR, LogPrinter, stamp
from cais.cli.moments import moment, span
from cais.cli.tables import ago, by_template, table, template
from cais.diag.api import CaisError


def test_columns_are_three_apart_and_the_last_is_not_padded() -> None:
    text = table(("NAME", "STATUS"), [("a-long-name", "running(1)"), ("b", "x")])
    assert text == "NAME          STATUS\na-long-name   running(1)\nb             x\n"


def test_an_empty_list_is_its_head() -> None:
    assert table(("NAME", "STATUS"), []) == "NAME      STATUS\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "Less than a second"),
        (1.2, "1 second"),
        (59.9, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_spans_of_time_are_in_dockers_words(seconds: float, words: str) -> None:
    assert ago(seconds) == words


def test_templates_name_fields() -> None:
    row = {"Name": "shop-db-1", "Publishers": [], "State": "running"}
    assert template("{{.Name}}\\t{{ upper .State }}", row) == "shop-db-1\tRUNNING"
    assert template("{{json .Publishers}}", row) == "[]"
    assert by_template("table {{.Name}}\t{{.State}}", [row]) == "NAME        STATE\nshop-db-1   running\n"


@pytest.mark.parametrize("text", ["{{range .}}x{{end}}", "{{.Nmae}}", "{{}}", "{{frob .Name}}"])
def test_a_template_we_cannot_read_is_a_usage_error(text: str) -> None:
    with pytest.raises(CaisError) as caught:
        template(text, {"Name": "x"})
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_prefixes_are_aligned_and_can_be_left_out() -> None:
    out = io.BytesIO()
    printer = LogPrinter(out, names=["db-1", "worker-12"])
    printer.write("db-1", b"ready")
    printer.write("worker-12", b"busy")
    assert out.getvalue() == b"db-1       | ready\nworker-12  | busy\n"
    bare = io.BytesIO()
    LogPrinter(bare, prefix=False).write("db-1", b"ready")
    assert bare.getvalue() == b"ready\n"


def test_binary_output_and_a_line_of_a_megabyte_survive() -> None:
    out = io.BytesIO()
    printer = LogPrinter(out, prefix=False)
    binary = bytes(range(256)).replace(b"\n", b"")
    printer.write("a", binary)
    big = b"x" * (1 << 20)
    for start in range(0, len(big), 16384):
        printer.write("b", big[start : start + 16384], partial=True)
        printer.write("a", b"between")
    printer.write("b", b"")
    lines = out.getvalue().split(b"\n")
    assert lines[0] == binary
    assert lines[-2] == big
    assert lines[1:-2] == [b"between"] * 64


def test_parts_of_stdout_and_stderr_are_not_mixed() -> None:
    out = io.BytesIO()
    printer = LogPrinter(out)
    printer.write("a", b"one ", partial=True)
    printer.write("a", b"error", stream=ERR)
    printer.write("a", b"line")
    assert out.getvalue() == b"a  | error\na  | one line\n"


def test_an_unfinished_line_is_printed_at_the_end() -> None:
    out = io.BytesIO()
    printer = LogPrinter(out)
    printer.write("a", b"no end", partial=True)
    assert out.getvalue() == b""
    printer.close()
    assert out.getvalue() == b"a  | no end\n"


def test_colours_differ_and_can_be_left_out() -> None:
    out = io.BytesIO()
    printer = LogPrinter(out, names=["a", "b"], colour=True)
    printer.write("a", b"x")
    printer.write("b", b"x")
    assert out.getvalue() == b"\x1b[36ma  | \x1b[0mx\n\x1b[33mb  | \x1b[0mx\n"


def test_timestamps_are_rfc_3339_with_nanoseconds() -> None:
    assert stamp(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123456789Z"
    out = io.BytesIO()
    LogPrinter(out, timestamps=True).write("a", b"x", at=10**9)
    assert out.getvalue() == b"a  | 1970-01-01T00:00:01.000000000Z x\n"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("42m", 2520.0), ("1h30m", 5400.0), ("1.5s", 1.5), ("300ms", 0.3), ("", None), ("5x", None), ("m", None)],
)
def test_durations_are_gos(text: str, seconds: float | None) -> None:
    assert span(text) == seconds


def test_moments_are_absolute_relative_or_unix() -> None:
    assert moment("1970-01-01T00:00:05Z", "since") == 5 * 10**9
    assert moment("10s", "since", now=100.0) == 90 * 10**9
    assert moment("1700000000.5", "since") == 1_700_000_000_500_000_000
    local = time.mktime((2026, 1, 2, 13, 23, 37, 0, 0, -1))
    assert moment("2026-01-02T13:23:37", "since") == int(local) * 10**9
    with pytest.raises(CaisError, match="since"):
        moment("yesterday", "since")
