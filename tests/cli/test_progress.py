"""The progress display: what a person sees on a terminal, what a log file gets."""

import io
import os
import pty
import threading
from collections.abc import Iterator

import pytest

from cais.cli.progress import Progress, cells, fit


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    yield Terminal()


def screen(text: str, columns: int = 60) -> list[str]:
    """What a terminal shows after `text`: enough of ECMA-48 for what the display sends."""
    rows: list[str] = [""]
    line = column = i = 0
    while i < len(text):
        c = text[i]
        if c == "\x1b":
            end = i + 2
            while not text[end].isalpha():
                end += 1
            argument, final = text[i + 2 : end], text[end]
            if final == "A":
                line -= int(argument)
                assert line >= 0, "moved above the first line"
            elif final == "K":
                rows[line] = rows[line][:column]
            elif final == "J":
                del rows[line + 1 :]
                rows[line] = rows[line][:column]
            i = end + 1
            if final == "A":
                column = 0
            continue
        if c == "\r":
            column = 0
        elif c == "\n":
            line += 1
            column = 0
            if line == len(rows):
                rows.append("")
        else:
            rows[line] = rows[line][:column] + c + rows[line][column + 1 :]
            column += 1
            assert column < columns, "wrapped"
        i += 1
    return [row.rstrip() for row in rows if row.strip()]


def test_a_pipe_gets_a_line_only_when_the_words_change() -> None:
    out = io.StringIO()
    with Progress(out) as progress:
        progress.update("api", "waiting for postgres to be healthy")
        progress.update("api", "waiting for postgres to be healthy")
        progress.update("api", "starting")
        progress.done("api", "started")
    assert out.getvalue() == "api  waiting for postgres to be healthy\napi  starting\napi  started\n"


def test_a_pipe_gets_bytes_only_every_few_seconds() -> None:
    out, clock = io.StringIO(), Clock()
    with Progress(out, clock=clock) as progress:
        for megabytes in range(100):
            clock.now = megabytes / 10
            progress.update("postgres", f"fetching {megabytes} of 100 MB")
        progress.update("postgres", "unpacking")
    lines = out.getvalue().splitlines()
    assert [line for line in lines if "fetching" in line] == [
        f"postgres  fetching {n} of 100 MB" for n in (0, 30, 60, 90)
    ]
    assert lines[-1] == "postgres  unpacking"


def test_a_terminal_shows_each_service_once_in_its_last_state(terminal: Terminal) -> None:
    clock = Clock()
    with Progress(terminal, clock=clock, title="up", size=lambda: (60, 24)) as progress:
        progress.update("postgres", "fetching 12 of 35 MB")
        progress._frame()
        clock.now = 1.5
        progress.note("python 3.11 stands for 3.12")
        progress.update("api", "waiting for postgres")
        progress._frame()
        clock.now = 2.0
        progress.done("postgres", "healthy")
        progress.fail("api", "exited (1)")
    shown = screen(terminal.getvalue())
    assert shown[0] == "python 3.11 stands for 3.12"
    assert shown[1] == "[+] up 1/2"
    assert shown[2].split() == ["✔", "postgres", "healthy", "2.0s"]
    assert shown[3].split() == ["✘", "api", "exited", "(1)", "0.5s"]
    assert len(shown) == 4


def test_words_of_a_service_cannot_move_the_cursor(terminal: Terminal) -> None:
    with Progress(terminal, size=lambda: (60, 24)) as progress:
        progress.done("api", "bad\x1b[2Jthing\x07")
    assert "\x1b[2J" not in terminal.getvalue()
    assert "\x07" not in terminal.getvalue()


def test_long_text_never_wraps(terminal: Terminal) -> None:
    with Progress(terminal, size=lambda: (60, 24)) as progress:
        progress.done("a-very-long-name-of-a-service-that-goes-on", "x" * 300)
        progress.done("日本語", "漢" * 300)
    for line in terminal.getvalue().splitlines():
        plain = line.replace("\x1b[K", "")
        for code in ("\x1b[32m", "\x1b[0m", "\x1b[2m", "\x1b[31m", "\x1b[J", "\x1b[?25h", "\x1b[?25l", "\r"):
            plain = plain.replace(code, "")
        assert cells(plain) < 60


def test_more_services_than_the_screen_is_high_stay_on_it(terminal: Terminal) -> None:
    with Progress(terminal, title="up", size=lambda: (60, 10)) as progress:
        for n in range(40):
            progress.update(f"web-{n}", "starting")
        terminal.truncate(0), terminal.seek(0)
        progress._drawn = []
        progress._frame()
        assert len(screen(terminal.getvalue())) < 10
        assert "and 33 more" in terminal.getvalue()
        for n in range(40):
            progress.done(f"web-{n}", "started")
    assert len([row for row in screen(terminal.getvalue()) if "✔" in row]) == 40


@pytest.mark.parametrize(
    ("variables", "columns"), [({"TERM": "dumb"}, 80), ({"TERM": "xterm"}, 30), ({"TERM": "xterm"}, 80)]
)
def test_a_dumb_or_narrow_terminal_gets_plain_lines(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], columns: int
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    out = Terminal()
    with Progress(out, size=lambda: (columns, 24)) as progress:
        progress.done("api", "started")
    plain = out.getvalue() == "api  started\n"
    assert plain is not (variables["TERM"] == "xterm" and columns == 80)


def test_no_color_redraws_without_colours(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with Progress(terminal, size=lambda: (60, 24)) as progress:
        progress.done("api", "started")
    assert "\x1b[32m" not in terminal.getvalue()


def test_a_reader_that_has_gone_does_not_stop_the_work() -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as gone:
        progress = Progress(gone)
        with progress:
            progress.update("api", "starting")
            progress.done("api", "started")
        gone.close = lambda: None  # type: ignore[method-assign]


def test_json_lines_name_the_service_its_state_and_the_words() -> None:
    import json

    out = io.StringIO()
    with Progress(out, mode="json") as progress:
        progress.update("api", "starting")
        progress.fail("api", "exited (1)")
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"id": "api", "status": "Working", "text": "starting"},
        {"id": "api", "status": "Error", "text": "exited (1)"},
    ]


def test_many_threads_lose_no_state() -> None:
    out = io.StringIO()
    with Progress(out) as progress:

        def work(name: str) -> None:
            for step in range(200):
                progress.update(name, f"step {'abc'[step % 3]}")
            progress.done(name, "done")

        threads = [threading.Thread(target=work, args=(f"s{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = out.getvalue().splitlines()
    assert len(lines) == 8 * 201
    assert sum(line.endswith("  done") for line in lines) == 8


def test_a_real_terminal_is_left_with_its_cursor_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    with open(slave, "w", encoding="utf-8") as stream:
        with Progress(stream, title="up") as progress:
            progress.update("api", "starting")
            progress.done("api", "started")
        got = os.read(master, 65536)
    os.close(master)
    assert got.count(b"\x1b[?25h") == got.count(b"\x1b[?25l") > 0
    assert "✔".encode() in got


def test_text_is_cut_by_columns_not_characters() -> None:
    assert fit("漢字漢字", 5) == "漢字…"
    assert cells("漢字…") == 5
    assert fit("abc", 3) == "abc"
    assert fit("abcd", 3) == "ab…"


def test_the_closing_count_is_of_services_and_what_is_fetched_is_none() -> None:
    out, clock = io.StringIO(), Clock()
    with Progress(out, clock=clock, title="up") as progress:
        progress.update("python 3.11", "fetching", aside=True)
        progress.done("python 3.11", "ready", aside=True)
        progress.done("api", "started")
    assert out.getvalue().splitlines()[-1] == "up: 1 of 1 done in 0.0s"


def test_above_an_error_nothing_says_that_all_is_done() -> None:
    out, clock = io.StringIO(), Clock()
    with pytest.raises(ValueError), Progress(out, clock=clock, title="up") as progress:
        progress.done("redis 7", "ready", aside=True)
        progress.done("api", "started")
        clock.now = 2.0
        raise ValueError
    assert out.getvalue().splitlines()[-1] == "up: ended after 2.0s"


def test_what_was_not_finished_does_not_seem_to_turn_on_a_terminal(terminal: Terminal) -> None:
    with pytest.raises(ValueError), Progress(terminal, title="up", size=lambda: (60, 24)) as progress:
        progress.update("redis 7", "fetching", aside=True)
        progress.update("api", "waiting for redis")
        progress.done("redis", "started")
        raise ValueError
    shown = screen(terminal.getvalue())
    assert shown[0] == "[+] up 1/2"
    assert [line.split()[0] for line in shown[1:]] == ["-", "-", "✔"]
