"""Standard streams that are closed, full, or left by whoever read them."""

import errno
import io
import os
import sys

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays import streams
from relays.cli.shared.machine import machine_error
from relays.streams import LINE_BYTES_MAX, Output, ReaderGoneError


class Broken(io.StringIO):
    """A stream with a descriptor of its own, whose writes fail."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self._error = error
        self.descriptor = os.open(os.devnull, os.O_WRONLY)

    def write(self, text):
        raise self._error

    def fileno(self):
        return self.descriptor


@pytest.fixture
def broken():
    made = []

    def make(number):
        made.append(Broken(OSError(number, os.strerror(number))))
        return made[-1]

    yield make
    for stream in made:
        os.close(stream.descriptor)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EBADF])
def test_output_that_cannot_be_written_is_an_error_of_ours(broken, number):
    with pytest.raises(FabricError) as raised:
        Output(broken(number), "standard output", lossy=False).write("x")
    assert raised.value.code is Code.OUTPUT_FAILED
    assert raised.value.detail == f"standard output: {os.strerror(number)}"


def test_whoever_has_read_enough_is_told_nothing(broken):
    with pytest.raises(ReaderGoneError):
        Output(broken(errno.EPIPE), "standard output", lossy=False).write("x")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE])
def test_errors_that_cannot_be_told_end_nothing(broken, number):
    assert Output(broken(number), "standard error", lossy=True).write("four") == 4


def test_a_library_that_tries_a_stream_finds_out_nothing(broken):
    assert Output(broken(errno.ENOSPC), "standard output", lossy=False).write("") == 0


def test_it_is_the_stream_otherwise():
    inner = io.StringIO()
    output = Output(inner, "standard output", lossy=False)
    output.write("text")
    output.flush()
    assert inner.getvalue() == "text" and output.isatty() is False and output.encoding is inner.encoding


def given(monkeypatch, raw):
    monkeypatch.setattr(sys, "stdin", None if raw is None else io.TextIOWrapper(io.BytesIO(raw)))


@pytest.mark.parametrize(
    ("raw", "words"),
    [(None, "standard input is closed"), (b"\xff\n", "not text"), (b"x" * (LINE_BYTES_MAX + 1), "more than")],
)
def test_a_line_that_cannot_be_had(monkeypatch, raw, words):
    given(monkeypatch, raw)
    with pytest.raises(FabricError) as raised:
        streams.input_line("the token")
    assert raised.value.code is Code.BAD_INPUT and words in raised.value.detail and "token" in raised.value.detail


@pytest.mark.parametrize(("raw", "line"), [(b"a\nb", "a"), (b"a\r\n", "a"), (b"a", "a"), (b"", "")])
def test_a_line_without_its_end(monkeypatch, raw, line):
    given(monkeypatch, raw)
    assert streams.input_line("the token") == line


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EMFILE, errno.EBADF])
@pytest.mark.parametrize("name", [None, "/a/b", b"/a/b", 7])
def test_what_the_machine_refused_has_its_cause_and_its_file(number, name):
    error = machine_error(OSError(number, os.strerror(number), name))
    assert error.code is Code.MACHINE_REFUSED and error.next_step
    assert os.strerror(number) in error.detail and "None" not in error.detail
    assert (name is None) == (":" not in error.detail)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE])
def test_what_only_tells_of_something_that_was_done_is_lost(broken, number):
    with streams.lossy():
        Output(broken(number), "standard output", lossy=False).write("x")


def test_what_is_lost_is_nothing_but_output():
    with pytest.raises(FabricError), streams.lossy():
        raise FabricError(Code.USAGE)
