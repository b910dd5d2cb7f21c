"""Messages with descriptors between the processes of a stack."""

import os

from cais.sandbox import wire


def test_the_last_words_arrive_from_an_end_that_left_something_unread() -> None:
    ours, theirs = wire.pair()
    wire.send(ours, b"go")
    wire.send(theirs, b"mount /vault: no such directory")
    theirs.close()
    assert wire.receive(ours) == (b"mount /vault: no such directory", [])
    assert wire.receive(ours) is None


def test_large_messages_keep_their_descriptors() -> None:
    ours, theirs = wire.pair()
    readable, writable = os.pipe()
    for size in (0, 10, 64 * 1024, 3_000_000):
        wire.send(ours, b"x" * size, [writable])
        got = wire.receive(theirs)
        assert got is not None and got[0] == b"x" * size and len(got[1]) == 1
        assert not os.get_inheritable(got[1][0])
        os.write(got[1][0], b"!")
        assert os.read(readable, 1) == b"!"
        os.close(got[1][0])
    ours.close()
    assert wire.receive(theirs) is None
