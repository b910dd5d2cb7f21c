"""What services wrote is kept as it came: megabyte lines, bytes that are no text, order, rotation, crashes."""

import os
import random
import time

import pytest

from cais.supervise import logwriter
from cais.supervise.api import Log
from cais.supervise.logs import Follower, last_lines, read
from cais.supervise.logwriter import LogWriter
from cais.supervise.records import CHUNK, ERR, NOTE, OUT, log_path, remove_logs


def writer(tmp_path, id="p-api-1", **log) -> LogWriter:
    (tmp_path / "logs").mkdir(exist_ok=True)
    return LogWriter(log_path(tmp_path, id), Log(**log))


def joined(lines) -> bytes:
    return b"".join(line.data + (b"" if line.partial else b"\n") for line in lines)


def test_a_line_of_a_megabyte_comes_back_whole(tmp_path):
    big = os.urandom(1 << 20).replace(b"\n", b"x")
    log = writer(tmp_path)
    for start in range(0, len(big), 60_000):
        log.feed(OUT, big[start : start + 60_000])
    log.feed(OUT, b"\nafter\n")
    log.close()
    lines = list(read(tmp_path))
    assert joined(lines) == big + b"\nafter\n"
    assert max(len(line.data) for line in lines) <= CHUNK


def test_binary_output_survives_any_cutting(tmp_path):
    data = bytes(range(256)) * 500 + b"\n"
    random.seed(1)
    log = writer(tmp_path)
    position = 0
    while position < len(data):
        size = random.randint(1, 9000)
        log.feed(OUT, data[position : position + size])
        position += size
    log.close()
    assert joined(read(tmp_path)) == data


def test_streams_stay_apart_and_times_rise(tmp_path):
    log = writer(tmp_path)
    log.feed(OUT, b"half of ")
    log.feed(ERR, b"error\n")
    log.feed(OUT, b"a line\n")
    log.close()
    lines = list(read(tmp_path))
    assert [(line.stream, line.data) for line in lines] == [(ERR, b"error"), (OUT, b"half of a line")]
    assert lines[0].at <= lines[1].at


def test_the_last_words_without_a_newline_are_kept(tmp_path):
    log = writer(tmp_path)
    log.feed(ERR, b"Killed")
    log.end(ERR)
    log.close()
    assert [line.data for line in read(tmp_path)] == [b"Killed"]


def test_tail_counts_lines_of_each_instance_across_files(tmp_path):
    for id in ("p-a-1", "p-b-1"):
        log = writer(tmp_path, id, max_size=800, max_file=5)
        for number in range(60):
            log.feed(OUT, f"{id} {number}\n".encode())
        log.close()
    assert log_path(tmp_path, "p-a-1").with_name("p-a-1.log.1").exists()
    lines = [line.data for line in read(tmp_path, ["p-a-1"], tail=55)]
    assert lines == [f"p-a-1 {n}".encode() for n in range(5, 60)]
    assert len(list(read(tmp_path, tail=3))) == 6


def test_rotation_keeps_so_many_files_and_no_more(tmp_path):
    log = writer(tmp_path, max_size=1000, max_file=3)
    for number in range(500):
        log.feed(OUT, b"%d\n" % number)
    log.close()
    files = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert files == ["p-api-1.log", "p-api-1.log.1", "p-api-1.log.2"]
    assert all(path.stat().st_size <= 1000 for path in (tmp_path / "logs").iterdir())
    numbers = [int(line.data) for line in read(tmp_path)]
    assert numbers == list(range(numbers[0], 500))


def test_half_a_record_left_by_a_crash_is_cut_off_and_writing_goes_on(tmp_path):
    log = writer(tmp_path)
    log.feed(OUT, b"one\ntwo\n")
    log.close()
    path = log_path(tmp_path, "p-api-1")
    whole = path.read_bytes()
    for cut in range(1, 20):
        path.write_bytes(whole[:-cut])
        again = writer(tmp_path)
        again.feed(OUT, b"three\n")
        again.close()
        assert [line.data for line in read(tmp_path)] == [b"one", b"three"]


def test_since_and_until_cut_by_time(tmp_path):
    log = writer(tmp_path)
    log.feed(OUT, b"old\n")
    middle = time.time_ns()
    log.feed(OUT, b"new\n")
    log.close()
    assert [line.data for line in read(tmp_path, since=middle)] == [b"new"]
    assert [line.data for line in read(tmp_path, until=middle)] == [b"old"]


def test_a_follower_gets_all_across_rotations(tmp_path):
    log = writer(tmp_path, max_size=3000, max_file=3)
    follower = Follower(tmp_path, None)
    seen: list[bytes] = [line.data for line in follower.begin(None, None)]
    for number in range(300):
        log.feed(OUT, b"%d\n" % number)
        if number % 7 == 0:
            seen += [line.data for line in follower.poll()]
    seen += [line.data for line in follower.poll()]
    follower.close()
    log.close()
    assert seen == [b"%d" % n for n in range(300)]


def test_following_ends_when_the_instance_has_ended_for_good(tmp_path):
    log = writer(tmp_path)
    log.note("started")
    log.feed(OUT, b"done\n")
    log.note("exited 0")
    log.note("closed")
    log.close()
    assert [line.data for line in read(tmp_path, follow=True)] == [b"done"]


def test_a_full_disk_costs_lines_not_the_service(tmp_path):
    log = writer(tmp_path)
    os.dup2(os.open("/dev/full", os.O_WRONLY), log._fd)
    log.feed(OUT, b"nobody will read this\n")
    assert log.lost == len(b"nobody will read this\n")


def test_what_a_full_disk_cost_is_told_where_it_is_missing(tmp_path):
    log = writer(tmp_path)
    log.feed(OUT, b"before\n")
    disk = os.dup(log._fd)
    os.dup2(os.open("/dev/full", os.O_WRONLY), log._fd)
    log.feed(OUT, b"lost\n")
    log.feed(ERR, b"lost too\n")
    os.dup2(disk, log._fd)
    log.feed(OUT, b"after\n")
    log.close()
    told = b"cais: 14 bytes were lost here: the disk of %s was full" % os.fsencode(tmp_path / "logs")
    assert [line.data for line in read(tmp_path)] == [b"before", told, b"after"]
    assert last_lines(tmp_path, "p-api-1") == ["before", "after"]


def test_what_was_lost_at_the_end_is_told_when_the_log_is_closed(tmp_path):
    log = writer(tmp_path)
    disk = os.dup(log._fd)
    os.dup2(os.open("/dev/full", os.O_WRONLY), log._fd)
    log.feed(OUT, b"lost\n")
    os.dup2(disk, log._fd)
    log.close()
    (line,) = read(tmp_path)
    assert line.data.startswith(b"cais: 5 bytes were lost here: ")


def test_last_lines_are_of_the_last_run(tmp_path):
    for line in (b"the first run's\n", b"the second run's\n", b""):
        log = writer(tmp_path)
        log.note("begins")
        log.feed(OUT, line)
        log.note("exited 1")
        log.close()
        assert last_lines(tmp_path, "p-api-1") == ([line.decode().strip()] if line else [])


def test_last_lines_go_on_in_the_older_file(tmp_path):
    log = writer(tmp_path, max_size=100, max_file=3)
    log.note("begins")
    for number in range(6):
        log.feed(OUT, b"line %d\n" % number)
    log.close()
    assert last_lines(tmp_path, "p-api-1", 4) == ["line 2", "line 3", "line 4", "line 5"]


def test_last_lines_are_text_for_messages(tmp_path):
    log = writer(tmp_path)
    log.feed(OUT, b"caf\xc3\xa9\n\xff\xfe\n")
    log.close()
    assert last_lines(tmp_path, "p-api-1", 5) == ["café", "\ufffd\ufffd"]


def fed(log: LogWriter, numbers: range) -> int:
    """As an instance feeds it: no more while it is full. How many of `numbers` it took."""
    for number in numbers:
        if log.full:
            return number - numbers.start
        log.feed(OUT, b"%d\n" % number)
    return len(numbers)


@pytest.mark.parametrize("max_file", [1, 2, 3, 5])
def test_who_follows_and_reads_seldom_loses_nothing(tmp_path, max_file):
    log = writer(tmp_path, max_size=1000, max_file=max_file)
    follower = Follower(tmp_path, None)
    seen = [line.data for line in follower.begin(None, None)]
    written = rounds = 0
    while written < 2000:
        written += fed(log, range(written, 2000))
        seen += [line.data for line in follower.poll()]
        rounds += 1
    seen += [line.data for line in follower.poll()]
    assert seen == [b"%d" % n for n in range(2000)]
    assert rounds > 2  # it had to wait for the reader
    files = sum(path.stat().st_size for path in (tmp_path / "logs").iterdir())
    assert files <= 1000 * (max(max_file, 2) + 1)
    follower.close()
    assert fed(log, range(2000, 4000)) == 2000  # nobody is waited for any more
    log.close()
    assert len(list((tmp_path / "logs").iterdir())) == max_file


def test_what_nobody_came_to_read_is_thrown_away_in_the_end_and_told(tmp_path, monkeypatch):
    log = writer(tmp_path, max_size=1000, max_file=3)
    follower = Follower(tmp_path, None)
    assert list(follower.begin(None, None)) == []
    fed(log, range(20))
    early = [line.data for line in follower.poll()]
    taken = fed(log, range(20, 5000))
    assert taken < 4000  # held up
    monkeypatch.setattr(logwriter, "PATIENCE", 0.0)
    assert fed(log, range(20 + taken, 5000)) == 4980 - taken
    late = list(follower.poll())
    (told,) = [line for line in late if line.stream == NOTE]
    shown = [line.data for line in late if line.stream != NOTE]
    assert (early + shown)[-1] == b"4999"
    lost = sum(len(b"%d\n" % n) for n in range(5000)) - len(b"\n".join([*early, *shown, b""]))
    assert told.data.startswith(b"cais: %d bytes were rotated away" % lost)
    # Where they were is where it is told.
    before = late.index(told)
    assert int(late[before - 1].data) + 1 < int(late[before + 1].data) - 1
    follower.close()
    log.close()


def test_nothing_is_thrown_away_before_who_is_awaited_has_come(tmp_path, monkeypatch):
    (tmp_path / "logs").mkdir()
    for max_file in (1, 3):
        log = LogWriter(log_path(tmp_path, "p-api-1"), Log(max_size=1000, max_file=max_file), awaited=True)
        written = fed(log, range(2000))
        assert written < 500
        follower = Follower(tmp_path, None)
        seen = [line.data for line in follower.begin(None, 0)]
        while written < 2000:
            written += fed(log, range(written, 2000))
            seen += [line.data for line in follower.poll()]
        assert seen == [b"%d" % n for n in range(2000)]
        follower.close()
        log.close()
        remove_logs(tmp_path, "p-api-1")
    log = LogWriter(log_path(tmp_path, "p-api-1"), Log(max_size=1000, max_file=1), awaited=True)
    fed(log, range(2000))
    monkeypatch.setattr(logwriter, "PATIENCE", 0.0)  # he did not come
    assert fed(log, range(2000)) == 2000
    monkeypatch.setattr(logwriter, "PATIENCE", 1000.0)  # and is not awaited for ever
    assert fed(log, range(2000)) == 2000
    log.close()
    assert len(list((tmp_path / "logs").iterdir())) == 1


def test_a_follower_is_told_what_was_thrown_away_before_it_could_look(tmp_path):
    (tmp_path / "logs").mkdir()
    follower = Follower(tmp_path, ["p-api-1"])
    assert list(follower.begin(None, time.time_ns())) == []
    log = writer(tmp_path, max_size=1000, max_file=2)
    fed(log, range(500))
    told, *lines = follower.poll()
    lost = sum(len(b"%d\n" % n) for n in range(int(lines[0].data)))
    assert told.data.startswith(b"cais: %d bytes " % lost)
    assert [int(line.data) for line in lines] == list(range(int(lines[0].data), 500))
    follower.close()
    log.close()


def test_the_count_of_what_went_before_goes_on_with_the_next_supervisor(tmp_path):
    for _ in range(3):
        log = writer(tmp_path, max_size=500, max_file=2)
        fed(log, range(1000, 1050))
        log.close()
    follower = Follower(tmp_path, None)
    told, *lines = follower.begin(None, 0)
    follower.close()
    assert told.data.startswith(b"cais: up to %d bytes " % (3 * 50 * 5 - 5 * len(lines)))
    assert list(read(tmp_path, since=0)) == lines  # who does not follow asks for what there is


def test_a_log_begun_anew_under_a_follower_is_no_loss(tmp_path):
    log = writer(tmp_path, max_size=1000, max_file=3)
    follower = Follower(tmp_path, None)
    seen = [line.data for line in follower.begin(None, None)]
    for part in range(3):
        numbers = range(100 * part, 100 * part + 30)
        fed(log, numbers)
        seen += [line.data for line in follower.poll()]
        log.close()
        remove_logs(tmp_path, "p-api-1")
        log = writer(tmp_path, max_size=1000, max_file=3)
    follower.close()
    log.close()
    assert seen == [b"%d" % (100 * part + n) for part in range(3) for n in range(30)]


def test_lines_written_between_a_look_and_a_rotation_are_not_skipped(tmp_path):
    """The file is full and turned while the reader is at its end."""
    log = writer(tmp_path, max_size=300, max_file=4)
    follower = Follower(tmp_path, None)
    seen: list[bytes] = []
    lines = follower.begin(None, None)
    for number in range(60):
        log.feed(OUT, b"%d\n" % number)
        seen += [line.data for line in lines]
        lines = follower.poll()
        log.feed(OUT, b"and %d\n" % number)
    seen += [line.data for line in lines]
    follower.close()
    log.close()
    assert len(seen) == 120


def test_the_lines_of_several_come_by_their_times_and_a_pause_loses_none(tmp_path):
    logs = [writer(tmp_path, f"p-{name}-1") for name in "abc"]
    follower = Follower(tmp_path, None)
    assert list(follower.begin(None, None)) == []
    for number in range(90):
        logs[number % 3].feed(OUT, b"%d\n" % number)
    lines = follower.poll()
    seen = [next(lines).data for _ in range(40)]
    del lines  # ^C while they are shown
    seen += [line.data for line in follower.poll()]
    follower.close()
    assert seen == [b"%d" % n for n in range(90)]
