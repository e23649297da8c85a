"""Fetching one artifact: from a target that answers, and from one that does not."""

import hashlib
import threading
import time
from dataclasses import replace

import pytest

from fabric.edge.artifacts.artifact import Artifact
from fabric.edge.fetching import fetch as fetching
from fabric.edge.fetching.fetch import Fetch, file_for
from fabric.edge.fetching.fetches import Said
from fabric.edge.messages import Message
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.fetching import FETCH_TYPE, read_wanted
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Label

CONTENT = bytes(range(256)) * 8_000  # two megabytes


def artifact(content=CONTENT):
    digest = hashlib.sha256(content).hexdigest()
    return Artifact("0" * 16, "a.bin", len(content), digest, Label.AMBER, 0, "fw-1", "ab" * 32, Label.GREEN)


def said(by_relay=False, withheld=None, **content):
    return Said(by_relay, Message("", "", "result", "fw-1", Severity.LOW, Phase.NONE, Label.GREEN, 0, 0, 0, (), content,
                                  {}, withheld or {}))


class Target:
    """A connection to a target. `script`: what it says of one range after the other, before it answers as it should."""

    def __init__(self, *script, content=CONTENT):
        self.script = list(script)
        self.content = content
        self.session = bytes(16)
        self.connected, self.ended = True, None
        self.stamps, self.wanted, self.forgotten = [], [], 0

    @property
    def fetches(self):
        return self

    def forget(self, _hear):
        self.forgotten += 1

    def ask(self, stamp, record, target, hear):
        assert target == "fw-1" and stamp.to == "id=fw-1" and record["action"] == "query"
        wanted = read_wanted(record["target"][FETCH_TYPE])
        self.stamps.append(stamp)
        self.wanted.append(wanted)
        words = self.script.pop(0) if self.script else "all"
        if callable(words):
            words = words(self)
        if words == "silence":
            return
        if words != "all":
            hear(words)
            return
        for offset, bytes_ in wanted.pieces(len(self.content)):
            hear(said(state="running", offset=offset, data=self.content[offset:offset + bytes_]))
        hear(said(end="completed", result={}))


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(fetching, "_LOOK_S", 0.001)
    monkeypatch.setattr(fetching, "_RETRY_S", 0.001)
    monkeypatch.setattr(fetching, "_SILENT_S", 0.005)


def get(target, path, one=None, timeout_s=20.0):
    told = []
    Fetch(target, one or artifact(), told.append, timeout_s).into(path)
    return told


def code_of(target, path, **options):
    with pytest.raises(FabricError) as error:
        get(target, path, **options)
    return error.value.code


def test_it_is_whole_and_how_far_it_is_was_told(tmp_path):
    target = Target()
    told = get(target, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert [each.bytes for each in told] == sorted(each.bytes for each in told) and told[-1].bytes == len(CONTENT)
    stamp = target.stamps[0]
    assert (stamp.label, stamp.severity, stamp.correlation) == (
        Label.GREEN, Severity.INFORMATIONAL, bytes.fromhex("ab" * 32))
    assert target.wanted[0].session == "00000000" and target.forgotten


def test_it_goes_on_where_it_ended(tmp_path):
    def stops(target):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(Target("all", "all", stops), tmp_path / "a.bin")
    (part,) = tmp_path.iterdir()
    there = part.stat().st_size
    target = Target()
    told = get(target, tmp_path / "a.bin")
    assert target.wanted[0].offset == there == told[0].resumed > 0
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    target = Target()
    assert get(target, tmp_path / "a.bin")[-1].bytes == len(CONTENT) and not target.wanted


@pytest.mark.parametrize("words", [
    "silence", said(end="refused", code="E719"), said(by_relay=True, end="expired", code="E501"),
    said(by_relay=True, end="nobody"), said(by_relay=True, end="unroutable"), FabricError(Code.BUSY),
    FabricError(Code.EXPIRED), said(end="completed", result={}), said(end="failed", code="E999"),
    said(state="running", offset="x", data=7), said(state="running"), said(end=7), said(),
], ids=str)
def test_what_passes_is_tried_again(tmp_path, words):
    get(Target(words, words), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(("words", "code"), [
    (said(end="refused", code="E732"), Code.ARTIFACT_GONE), (said(end="refused", code="E734"), Code.ARTIFACT_CHANGED),
    (said(end="refused", code="E601"), Code.WITHHELD),
    (said(by_relay=True, end="refused", code="E403"), Code.REQUEST_DENIED),
    (said(withheld={Label.AMBER: 1}, state="running", offset=0), Code.WITHHELD),
    (FabricError(Code.REQUEST_DENIED), Code.REQUEST_DENIED), (FabricError(Code.CLOSED), Code.CLOSED),
], ids=str)  # fmt: skip
def test_what_does_not_ends_it(tmp_path, words, code):
    assert code_of(Target("all", words), tmp_path / "a.bin") is code
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"], "what came is kept"


def test_a_relay_says_nothing_of_content(tmp_path):
    forged = said(by_relay=True, state="running", offset=0, data=b"x" * 100)
    get(Target(forged), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_it_stops_in_time_and_says_for_what_it_waited(tmp_path):
    with pytest.raises(FabricError) as error:
        get(Target("all", *["silence"] * 1000), tmp_path / "a.bin", timeout_s=0.1)
    assert error.value.code is Code.FETCH_STOPPED and "fw-1 is silent" in error.value.detail
    with pytest.raises(FabricError, match="fw-1 is away"):
        get(Target(*[said(by_relay=True, end="held")] * 1000), tmp_path / "b.bin", timeout_s=0.05)
    target = Target(*["silence"] * 1000)
    target.connected = False
    with pytest.raises(FabricError, match="no relay is connected"):
        get(target, tmp_path / "b.bin", timeout_s=0.05)
    assert len(target.wanted) == 1, "what asks waits for a relay, once"


def test_the_end_of_the_connection_ends_it(tmp_path):
    target = Target("all", "silence")

    def ends(progress):
        target.ended = FabricError(Code.REVOKED)

    with pytest.raises(FabricError) as error:
        Fetch(target, artifact(), ends).into(tmp_path / "a.bin")
    assert error.value.code is Code.REVOKED


def test_content_that_is_not_what_was_named(tmp_path):
    wrong = b"x" + CONTENT[1:]
    assert code_of(Target(content=wrong), tmp_path / "a.bin") is Code.ARTIFACT_CHANGED
    assert not list(tmp_path.iterdir()), "nothing of it is gone on with"
    (tmp_path / f"a.bin.{artifact().sha256[:12]}.part").write_bytes(b"wrong")
    target = Target()
    get(target, tmp_path / "a.bin")  # what was there before was wrong: it is fetched once more
    assert (tmp_path / "a.bin").read_bytes() == CONTENT and 0 in [wanted.offset for wanted in target.wanted]


def test_an_empty_one_asks_for_nothing(tmp_path):
    target = Target(content=b"")
    get(target, tmp_path / "a.bin", artifact(b""))
    assert (tmp_path / "a.bin").read_bytes() == b"" and not target.wanted


def test_it_can_be_stopped_from_elsewhere(tmp_path):
    fetch = Fetch(Target(*["silence"] * 100_000), artifact(), timeout_s=None)
    threading.Timer(0.01, fetch.stop.set).start()
    with pytest.raises(FabricError) as error:
        fetch.into(tmp_path / "a.bin")
    assert error.value.code is Code.CLOSED


def test_a_disk_that_is_full_is_an_error_and_what_came_is_gone_on_with(tmp_path, monkeypatch):
    from fabric.edge.fetching.part import Part

    def full(self, piece):
        if self.size > 500_000:
            raise OSError(28, "No space left on device")
        return append(self, piece)

    append = Part.append
    monkeypatch.setattr(Part, "append", full)
    with pytest.raises(OSError, match="No space"):
        get(Target(), tmp_path / "a.bin")
    monkeypatch.setattr(Part, "append", append)
    target = Target()
    get(target, tmp_path / "a.bin")
    assert target.wanted[0].offset > 500_000 and (tmp_path / "a.bin").read_bytes() == CONTENT


def test_it_is_a_file_or_one_in_a_folder(tmp_path):
    assert file_for(artifact(), tmp_path) == tmp_path / "a.bin"
    assert file_for(artifact(), str(tmp_path / "b")) == tmp_path / "b"
    assert time.monotonic() > 0


def test_a_target_that_says_it_is_larger_than_the_disk_is_not_asked_for_any_of_it(tmp_path):
    target = Target()
    with pytest.raises(OSError, match="No space"):
        get(target, tmp_path / "a.bin", replace(artifact(), bytes=2**52))
    assert not target.wanted and not list(tmp_path.iterdir())
