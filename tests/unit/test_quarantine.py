"""The handler `quarantine`: a file goes, whole, and comes back as it was; nothing else is touched, whoever interferes
and whenever it is killed."""

import hashlib
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from fabric.edge.control import Control
from fabric.protocol.base.errors import Code, FabricError
from relays.handlers import moving
from relays.handlers.kinds import Options
from relays.handlers.quarantine import KIND, make
from tests.handling import action_for, end_of, place_in

CONTENT = b"MZ" + b"evil" * 1_000


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "home"
    (made / "user").mkdir(parents=True)
    return made


@pytest.fixture
def evil(root):
    file = root / "user" / "evil"
    file.write_bytes(CONTENT)
    file.chmod(0o4755)
    os.utime(file, ns=(5, 1_700_000_000_000_000_007))
    return file


def another_disk(folder):
    """A folder on another file system than this."""
    for name in ("/dev/shm", "/tmp", "/var/tmp"):
        if os.path.isdir(name) and os.stat(name).st_dev != os.stat(folder).st_dev:
            return Path(tempfile.mkdtemp(dir=name))
    pytest.skip("only one file system")


@pytest.fixture(params=["same disk", "another disk"])
def store(request, tmp_path):
    if request.param == "same disk":
        yield tmp_path / "store"
    else:
        made = another_disk(tmp_path)
        yield made / "store"
        shutil.rmtree(made)


def started(folder, root, store=None):
    options = {"root": [str(root)], **({"store": [str(store)]} if store else {})}
    made = make(Options("quarantine", options), place_in(folder))
    made.start()
    return made


@pytest.fixture
def handler(tmp_path, root):
    return started(tmp_path, root)


def asked(action, path, **more):
    return action_for(action, "file", {"path": str(path), **more})


def kept_in(handler):
    return sorted(path.name for path in handler._store.iterdir())


def test_it_goes_and_comes_back_as_it_was(tmp_path, root, store, evil):
    handler = started(tmp_path, root, store)
    os.chown(evil, 12_345, 12_346) if os.geteuid() == 0 else None
    evil.chmod(0o4755)
    before = evil.stat()
    digest = hashlib.sha256(CONTENT).hexdigest()
    answer = handler(wanted := asked("contain", evil, name="evil", hashes={"sha256": digest.upper()}))
    assert end_of(answer) == ("completed", "")
    assert {k: v for k, v in answer.result.items() if k != "as"} == {
        "contained": str(evil), "sha256": digest, "bytes": len(CONTENT), "already": False}
    assert not evil.exists() and os.listdir(evil.parent) == []
    (kept,) = handler._store.iterdir()
    assert kept.read_bytes() == CONTENT and stat.S_IMODE(kept.stat().st_mode) & 0o133 == 0
    assert stat.S_IMODE(handler._store.stat().st_mode) == 0o700
    assert handler(wanted).result["already"], "a second time, as after a crash"
    again = started(tmp_path, root, store)
    answer = again.revert(wanted)
    assert answer.result == {"restored": str(evil), "was_contained": True, "sha256": digest}
    after = evil.stat()
    assert evil.read_bytes() == CONTENT and kept_in(again) == [] and os.listdir(evil.parent) == ["evil"]
    for name in ("st_mode", "st_uid", "st_gid", "st_mtime_ns"):
        assert getattr(after, name) == getattr(before, name), name
    assert again.revert(asked("contain", evil)).result == {"restored": str(evil), "was_contained": False}


@pytest.mark.parametrize("verb", ["restore", "allow"])
def test_what_came_in_its_place_stays_and_so_does_the_file(tmp_path, root, store, evil, verb):
    handler = started(tmp_path, root, store)
    handler(asked("contain", evil))
    evil.write_bytes(b"new")
    answer = handler(asked(verb, evil))
    assert end_of(answer) == ("failed", "E953") and "another file" in answer.reason
    assert evil.read_bytes() == b"new" and os.listdir(evil.parent) == ["evil"]
    (kept,) = handler._store.iterdir()
    assert kept.read_bytes() == CONTENT and stat.S_IMODE(kept.stat().st_mode) & 0o133 == 0
    evil.unlink()
    assert end_of(handler(asked(verb, evil))) == ("completed", "") and evil.read_bytes() == CONTENT


def test_of_several_at_one_path_the_latest_comes_back_or_the_one_with_the_hash(handler, evil):
    digests = []
    for content in (b"one", b"two", b"three"):
        evil.write_bytes(content)
        digests.append(handler(asked("contain", evil)).result["sha256"])
    assert handler(asked("restore", evil, hashes={"sha256": digests[0]})).result["sha256"] == digests[0]
    assert evil.read_bytes() == b"one"
    evil.unlink()
    answer = handler.revert(asked("contain", evil))
    assert evil.read_bytes() == b"three" and answer.result["earlier_in_quarantine"] == 1


@pytest.mark.parametrize(
    ("more", "why"), [({"hashes": {"md5": "0" * 32}}, "hashes.md5"), ({"hashes": {"sha1": "0" * 40}}, "hashes.sha1"),
                      ({"hashes": {"sha256": "0" * 64}}, "hashes.sha256"), ({"name": "good"}, "name")],
)
def test_another_file_than_the_action_is_about_stays(handler, evil, more, why):
    answer = handler(asked("contain", evil, **more))
    assert end_of(answer) == ("refused", "E953") and why in answer.reason and evil.exists() and kept_in(handler) == []


def test_nothing_outside_of_the_roots_is_touched(tmp_path, root, handler, evil):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"x")
    (root / "link").symlink_to(outside)
    (root / "file").symlink_to(outside / "file")
    (root / "user" / "up").symlink_to("..")
    tries = {
        str(outside / "file"): ("refused", "E951"), f"{root}/../outside/file": ("refused", "E706"),
        f"{root}/link/file": ("refused", "E953"), f"{root}/file": ("refused", "E953"),
        f"{root}/user/up/user/evil": ("refused", "E953"), str(root): ("refused", "E951"), "/": ("refused", "E706"),
        f"{root}//user/evil": ("refused", "E706"), f"{root}/user/./evil": ("refused", "E706"),
        f"{root}x/evil": ("refused", "E951"), "user/evil": ("refused", "E706"), f"{root}/user": ("refused", "E953"),
        f"{root}/nobody/evil": ("failed", "E954"), f"{root}/user/nothing": ("failed", "E954"),
        f"{root}/user/evil/x": ("refused", "E953"), f"{root}/" + "x" * 300: ("failed", "E709"),
    }
    for path, end in tries.items():
        assert end_of(handler(asked("contain", path))) == end, path
    assert end_of(handler(action_for("contain", "file", {"name": "evil"}))) == ("refused", "E706")
    assert (outside / "file").read_bytes() == b"x" and evil.exists() and kept_in(handler) == []


def test_a_root_may_be_a_link_and_is_known_by_both_names(tmp_path, root, evil):
    (tmp_path / "named").symlink_to(root)
    handler = started(tmp_path, tmp_path / "named")
    assert end_of(handler(asked("contain", tmp_path / "named" / "user" / "evil"))) == ("completed", "")
    assert handler(asked("restore", evil)).result["was_contained"]


def test_what_is_no_regular_file_is_not_opened(root, handler):
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as there:
        here = os.getcwd()
        os.chdir(root)  # such an address is short
        there.bind("socket")
        os.chdir(here)
        for name in ("fifo", "socket"):
            assert end_of(handler(asked("contain", root / name))) == ("refused", "E953")


def test_the_fabric_s_own_files_are_never_touched(tmp_path, monkeypatch):
    monkeypatch.setenv("FABRIC_HOME", str(tmp_path / "state"))
    (tmp_path / "state" / "ids").mkdir(parents=True)
    (tmp_path / "state" / "ids" / "secret.json").write_bytes(b"x")
    place = place_in(tmp_path / "state" / "ids" / "fw-7" / "handlers")
    handler = make(Options("quarantine", {"root": [str(tmp_path)]}), place)
    handler.start()
    assert end_of(handler(asked("contain", tmp_path / "state" / "ids" / "secret.json"))) == ("refused", "E951")


def test_a_file_with_other_names_is_told_and_of_no_use_by_them(root, handler, evil):
    os.link(evil, root / "other")
    assert handler(asked("contain", evil)).result["other_names"] == 1
    assert stat.S_IMODE((root / "other").stat().st_mode) == 0o400
    handler(asked("restore", evil))
    assert stat.S_IMODE((root / "other").stat().st_mode) == 0o4755


def test_who_replaces_the_file_meanwhile_gets_the_other_one_back(tmp_path, root, store, evil, monkeypatch):
    handler = started(tmp_path, root, store)
    rename, swapped = os.rename, []

    def quick(src, dst, **folders):
        if not swapped:
            swapped.append(True)
            evil.rename(evil.with_name("moved"))
            evil.write_bytes(b"good")
        return rename(src, dst, **folders)

    monkeypatch.setattr(moving.os, "rename", quick)
    answer = handler(asked("contain", evil))
    assert end_of(answer) == ("failed", "E953") and "replaced" in answer.reason
    assert evil.read_bytes() == b"good" and kept_in(handler) == []
    assert sorted(os.listdir(evil.parent)) == ["evil", "moved"] and not handler._kept.entries


def test_it_can_be_cancelled_while_the_file_is_read(handler, evil):
    control = Control()
    control.cancel()
    action = action_for("contain", "file", {"path": str(evil)}, control=control)
    assert end_of(handler(action)) == ("failed", "E723") and evil.exists() and kept_in(handler) == []


def test_one_requester_leaves_room_to_others(root, handler):
    handler._kept._max = 5
    ends = []
    for n in range(5):
        (root / str(n)).write_bytes(b"x")
        ends.append(end_of(handler(asked("contain", root / str(n))))[0])
    assert ends == ["completed"] * 4 + ["failed"]
    assert end_of(handler(action_for("contain", "file", {"path": f"{root}/4"}, requester="soar-2")))[0] == "completed"


def test_a_disk_that_is_short_is_not_filled(tmp_path, root, evil, monkeypatch):
    disk = another_disk(tmp_path)
    try:
        handler = started(tmp_path, root, disk / "store")
        monkeypatch.setattr("relays.handlers.quarantine._LEFT_BYTES", 1 << 60)
        assert end_of(handler(asked("contain", evil))) == ("failed", "E709") and evil.exists()
        monkeypatch.undo()
        monkeypatch.setattr(moving, "keep_copy", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        answer = handler(asked("contain", evil))
        assert end_of(answer) == ("failed", "E709") and "no space left" in answer.reason
        assert os.listdir(evil.parent) == ["evil"] and not handler._kept.entries
    finally:
        shutil.rmtree(disk)


# -- killed anywhere --------------------------------------------------------------------------------------------------

STEPS = ("rename", "link", "unlink", "fchmod", "fchown", "replace")


def killed_at(number, do):
    """In a process of its own, which ends instead of its `number`th step. Whether it came to its end."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    try:
        left = [number]

        def dying(call):
            def instead(*args, **kwargs):
                if left[0] == 0:
                    os._exit(9)
                left[0] -= 1
                return call(*args, **kwargs)
            return instead

        for name in STEPS:
            setattr(os, name, dying(getattr(os, name)))
        do()
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.parametrize("verb", ["contain", "restore"])
def test_killed_at_any_step_the_file_is_at_one_place_and_known_there(tmp_path, root, store, evil, verb):
    number, done = 0, False
    while not done:
        handler = started(tmp_path, root, store)
        if verb == "restore":
            assert end_of(handler(asked("contain", evil)))[0] == "completed"
        done = killed_at(number, lambda: started(tmp_path, root, store)(asked(verb, evil)))
        handler = started(tmp_path, root, store)
        entries, kept = list(handler._kept.entries), kept_in(handler)
        assert len(entries) == len(kept) and entries == kept, number
        if verb == "restore" and evil.exists() and kept:  # it was to be taken out of the store, and is now
            assert handler.revert(asked("contain", evil)).result["was_contained"]
            kept = []
        assert evil.exists() != bool(kept), (number, kept)
        assert end_of(handler.revert(asked("contain", evil)))[0] == "completed"
        assert evil.read_bytes() == CONTENT and stat.S_IMODE(evil.stat().st_mode) == 0o4755
        assert os.listdir(evil.parent) == ["evil"] and kept_in(handler) == []
        number += 1
    assert number >= 5


@pytest.mark.parametrize("options", [{}, {"root": ["/nonesuch"]}, {"root": ["relative"]}])
def test_a_root_that_is_none(tmp_path, options):
    with pytest.raises(FabricError) as raised:
        make(Options("quarantine", options), place_in(tmp_path))
    assert raised.value.code in (Code.USAGE, Code.HANDLER_UNFIT)
    assert "root" in raised.value.next_step or "folder" in raised.value.next_step
    (need,) = KIND.needs(Options("quarantine", options))
    assert need.next_step and bool(need.problem) == bool(options)


def digest_of(content):
    return {"sha256": hashlib.sha256(content).hexdigest().upper()}


def test_what_another_action_put_away_stays_away_when_one_by_the_same_path_ends(tmp_path, handler, evil):
    by_path, for_good = asked("contain", evil), asked("contain", evil, hashes=digest_of(b"worse"))
    handler(by_path)
    evil.write_bytes(b"worse")  # it came again
    handler(for_good)
    assert started(tmp_path, evil.parent.parent).revert(by_path).result["was_contained"]
    assert evil.read_bytes() == CONTENT
    assert handler.revert(by_path).result == {"restored": str(evil), "was_contained": False}


def test_one_file_that_two_actions_put_away_comes_back_when_the_last_of_them_ends(handler, evil):
    by_path, by_hash = asked("contain", evil), asked("contain", evil, hashes=digest_of(CONTENT))
    for first, second in ((by_path, by_hash), (by_hash, by_path)):
        handler(first)
        assert handler(second).result["already"]
        assert handler.revert(first).result == {"was_contained": True, "still_contained": True} and not evil.exists()
        assert not handler.revert(first).result["was_contained"] and not evil.exists()
        assert handler.revert(second).result["was_contained"] and evil.exists()
    handler(by_path), handler(by_hash)
    assert handler(asked("restore", evil)).result["was_contained"] and evil.exists()  # who says so means it

