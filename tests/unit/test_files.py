"""Who can write to a folder of ours plants what he likes in it: nothing of that is followed, read or waited for."""

import ast
import errno
import fcntl
import json
import os
import re
import stat
from pathlib import Path

import pytest

from fabric.edge.identity.joining import Newcomer
from fabric.edge.identity.watched import Watched
from fabric.files import (
    append_private,
    check_database,
    copy_private,
    empty_private,
    make_private,
    open_database,
    open_private,
    read_private,
    take_name,
    write_private,
)
from fabric.protocol.base.errors import Code, FabricError
from fabric.spool.spool import Spool
from fabric.transport.clock import Clock
from relays.authority import init_authority, revoke
from relays.issuing.register import Register
from relays.process.status import StatusFile
from relays.supervisor import Supervisor

SOMEBODY = 12_345
ROOT = Path(__file__).parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture(autouse=True)
def _umask():
    """The most generous that somebody can have set: what is private is so by itself."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def folder(tmp_path):
    """A folder that the attacker's group may write to, as the attacker's links in it are there for."""
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o770)
    return shared


@pytest.fixture
def victim(tmp_path):
    """A file of ours elsewhere, that the attacker wants overwritten."""
    path = tmp_path / "authorized_keys"
    path.write_bytes(b"mine")
    path.chmod(0o644)
    return path


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def refused(function, *args):
    with pytest.raises((FabricError, IsADirectoryError)) as caught:
        function(*args)
    if isinstance(caught.value, IsADirectoryError):
        return str(caught.value)
    assert caught.value.code is Code.NOT_PRIVATE
    return caught.value.detail


def plant(path, what, victim):
    match what:
        case "a symbolic link":
            path.symlink_to(victim)
        case "a dangling link":
            path.symlink_to(victim.with_name("nowhere"))
        case "a hard link":
            path.hardlink_to(victim)
        case "a FIFO":
            os.mkfifo(path)
        case "a folder":
            path.mkdir()
        case "somebody else's file":
            path.write_bytes(b"his")
            os.chown(path, SOMEBODY, SOMEBODY)


PLANTED = ["a symbolic link", "a dangling link", "a hard link", "a FIFO", "a folder",
           pytest.param("somebody else's file", marks=as_root)]


# -- one function family ----------------------------------------------------------------------------------------


def test_what_is_made_is_private_whatever_the_umask(folder):
    for umask in (0, 0o277):
        os.umask(umask)
        write_private(folder / f"whole-{umask}", b"x")
        os.close(open_private(folder / f"opened-{umask}"))
        append_private(folder / f"log-{umask}").close()
    assert {mode(path) for path in folder.iterdir()} == {0o600}
    os.umask(0)
    assert mode(make_private(folder / "a" / "b")) == mode(folder / "a") == 0o700


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_opened_in_place_is_a_file_of_ours_or_refused(folder, victim, what):
    path = folder / "lock"
    plant(path, what, victim)
    for function in (open_private, append_private, empty_private, lambda path: read_private(path, 100)):
        assert str(path) in refused(function, path)
    assert victim.read_bytes() == b"mine" and mode(victim) == 0o644 and not victim.with_name("nowhere").exists()


@pytest.mark.parametrize("what", [kind for kind in PLANTED if kind != "a folder"])
def test_a_whole_file_takes_the_place_of_what_was_planted(folder, victim, what):
    path = folder / "status.json"
    plant(path, what, victim)
    write_private(path, b"ours")
    assert path.read_bytes() == b"ours" and mode(path) == 0o600 and path.lstat().st_uid == os.geteuid()
    assert victim.read_bytes() == b"mine" and list(folder.iterdir()) == [path]


def test_the_name_of_a_file_that_is_not_whole_yet_cannot_be_guessed(folder, victim, monkeypatch):
    names = []
    opened = os.open

    def watched(path, flags, *args, **options):
        if flags & os.O_CREAT:
            names.append(path.name)
            assert flags & os.O_EXCL and flags & os.O_NOFOLLOW
        return opened(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", watched)
    for _ in range(50):
        write_private(folder / "clock", b"")
    assert len(set(names)) == 50
    monkeypatch.setattr("secrets.token_hex", lambda _: "guessed")
    (folder / ".clock.guessed.new").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_private(folder / "clock", b"his")
    assert victim.read_bytes() == b"mine"


def test_what_cannot_be_written_whole_leaves_the_old_and_no_litter(folder):
    write_private(folder / "kept", b"old")
    (folder / "busy").mkdir()
    with pytest.raises(OSError, match="busy"):
        write_private(folder / "busy", b"x")
    with pytest.raises(TypeError):
        write_private(folder / "kept", "no bytes")
    assert sorted(path.name for path in folder.iterdir()) == ["busy", "kept"]
    assert (folder / "kept").read_bytes() == b"old"


def test_a_file_that_others_could_read_becomes_private(folder):
    (folder / "clock").write_bytes(b"{}")
    (folder / "clock").chmod(0o664)
    assert read_private(folder / "clock", 1) == b"{" and mode(folder / "clock") == 0o600


def test_a_copy_is_private_and_follows_nothing(folder, victim):
    write_private(folder / "log", b"lines")
    (folder / "log.1").symlink_to(victim)
    copy_private(folder / "log", folder / "log.1")
    assert (folder / "log.1").read_bytes() == b"lines" and mode(folder / "log.1") == 0o600
    assert victim.read_bytes() == b"mine"


def test_a_folder_that_the_group_could_write_to_becomes_private(folder):
    assert mode(make_private(folder)) == 0o700


@as_root
def test_a_folder_of_somebody_else_is_refused_and_so_is_his_link(tmp_path, folder):
    own = tmp_path / "own"
    own.mkdir(mode=0o755)
    (folder / "run").symlink_to(own)
    os.chown(folder / "run", SOMEBODY, SOMEBODY, follow_symlinks=False)
    assert "symbolic link of user" in refused(make_private, folder / "run") and mode(own) == 0o755
    os.chown(own, SOMEBODY, SOMEBODY)
    assert "belongs to user" in refused(make_private, own)


def test_an_operator_s_own_link_to_another_disk_counts(tmp_path, folder):
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o755)
    (folder / "spool").symlink_to(disk)
    make_private(folder / "spool")
    assert mode(disk) == 0o700


# -- databases ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["box.db", "box.db-wal", "box.db-shm", "box.db-journal"])
@pytest.mark.parametrize("what", PLANTED)
def test_a_database_is_of_our_own_files_only(folder, victim, name, what):
    plant(folder / name, what, victim)
    refused(open_database, folder / "box.db")
    assert victim.read_bytes() == b"mine"


def test_what_sqlite_keeps_beside_a_database_is_private_too(folder):
    with Register(folder / "register.db"):
        Spool(folder / "box.db", free_bytes_min=0)
        assert {path.name for path in folder.iterdir()} >= {"box.db-wal", "box.db-shm", "box.db.lock", "box.db.ballast"}
        assert {path.name: oct(mode(path)) for path in folder.iterdir() if mode(path) != 0o600} == {}


def test_a_database_that_others_could_read_becomes_private(folder):
    (folder / "box.db").touch(mode=0o644)
    open_database(folder / "box.db").close()
    assert mode(folder / "box.db") == 0o600
    check_database(folder / "box.db")


# -- everybody who writes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [kind for kind in PLANTED if kind not in ("a folder", "a dangling link")])
@pytest.mark.parametrize("beside", ["", ".lock", ".ballast"])
def test_somebody_plants_a_file_beside_an_outbox(folder, victim, what, beside):
    plant(folder / f"out.db{beside}", what, victim)
    refused(Spool, folder / "out.db", 0)
    assert victim.read_bytes() == b"mine"


def test_a_ballast_that_was_open_to_all_is_closed(folder):
    Spool(folder / "out.db", free_bytes_min=0).close()
    (folder / "out.db.ballast").chmod(0o644)
    Spool(folder / "out.db", free_bytes_min=0).close()
    assert mode(folder / "out.db.ballast") == 0o600


@pytest.mark.parametrize("what", [kind for kind in PLANTED if kind != "a folder"])
def test_somebody_plants_a_clock_that_goes_wrong_by_ten_years(folder, victim, what):
    kept = folder / "hq.clock"
    victim.write_text('{"boot": "now", "base_ms": 1, "wall_ahead_ms": 0}')
    plant(kept, what, victim)
    if what == "somebody else's file":
        kept.write_bytes(victim.read_bytes())
    clock = Clock(kept, lambda: 10**18, lambda: 0, "now")
    assert clock.now_ms() == 10**12
    assert "1000000000000" in kept.read_text() and mode(kept) == 0o600 and not kept.is_symlink()
    assert '"base_ms": 1,' in victim.read_text()


def test_a_link_where_a_clock_was_once_written_first_is_let_be(folder, victim):
    (folder / "hq.clock.new").symlink_to(victim)
    Clock(folder / "hq.clock", lambda: 10**18, lambda: 0, "now")
    assert victim.read_bytes() == b"mine" and mode(folder / "hq.clock") == 0o600


def test_a_link_where_a_state_was_once_written_first_is_let_be(folder, victim):
    (folder / "hq.new").symlink_to(victim)
    StatusFile(folder / "hq.json").write({"relay": "hq"})
    assert victim.read_bytes() == b"mine" and mode(folder / "hq.json") == 0o600


def test_somebody_plants_keys_for_whoever_joins(folder, victim):
    victim.write_text(json.dumps({"curve": "00" * 32, "sign": "11" * 32}))
    (folder / "joining.json").symlink_to(victim)
    refused(Newcomer.of, folder / "joining.json")
    (folder / "joining.json").unlink()
    assert Newcomer.of(folder / "joining.json") == Newcomer.of(folder / "joining.json")
    assert mode(folder) == 0o700


@pytest.mark.parametrize("what", ["a symbolic link", "a hard link", "a FIFO"])
def test_somebody_plants_a_lock_where_revocations_are_signed(tmp_path, victim, what):
    authority = init_authority("small", tmp_path / "home")
    plant(authority.folder / "lock", what, victim)
    refused(revoke, authority, ["zeek-1"], tmp_path / "home")
    assert victim.read_bytes() == b"mine"


def test_what_a_supervisor_writes_is_private(tmp_path, victim):
    supervisor = Supervisor("small", [], tmp_path)
    run = tmp_path / "small" / "run"
    (run / "supervisor.new").symlink_to(victim)
    supervisor._take_lock()
    supervisor._write_state()
    supervisor._begin_log("hq")
    supervisor._release_lock()
    assert mode(run) == 0o700 and {mode(path) for path in run.iterdir() if not path.is_symlink()} == {0o600}
    assert victim.read_bytes() == b"mine"


def test_a_fifo_in_place_of_a_watched_file_holds_nobody_up(folder):
    os.mkfifo(folder / "pins")
    watched = Watched(folder / "pins", 100)
    assert watched.changed() is None and watched.problem == "not a regular file"


# -- nobody writes otherwise ----------------------------------------------------------------------------------

WRITES = {"write_text", "write_bytes", "mkdir", "makedirs", "touch", "copyfile", "copy", "copy2", "copytree", "chmod",
          "rename", "symlink_to", "hardlink_to", "fdopen", "mkstemp", "truncate"}
# What a file has that calls any of them.
CALLS = re.compile(rf"\b({'|'.join([*sorted(WRITES), 'open', 'connect'])})\b")
# They only read, and make nothing; the last moves files that are somebody else's, and what it makes is not this node's.
ALLOWED = {("relays/issuing/register.py", "sqlite3.connect"), ("relays/reading/streams.py", "os.open"),
           ("relays/handlers/moving.py", "os.open"), ("relays/handlers/moving.py", "os.rename")}


def calls_that_write(tree):
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        owner = getattr(getattr(function, "value", None), "id", "")
        first = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        opens_to_write = name == "open" and (owner == "os" or any(set(text) & set("wax+") for text in first[:1]))
        if owner == "self":  # a method of its own
            continue
        if name in WRITES or opens_to_write or (owner, name) == ("sqlite3", "connect"):
            yield node.lineno, f"{owner}.{name}".strip(".")


@pytest.mark.parametrize(
    "path", sorted(p for top in ("fabric", "relays") for p in (ROOT / top).rglob("*.py")),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_everybody_writes_by_the_private_functions(path):
    name = str(path.relative_to(ROOT))
    if name == "fabric/files.py":
        return
    text = path.read_text()
    if not CALLS.search(text):  # most: a text is searched in no time
        return
    found = [(line, call) for line, call in calls_that_write(ast.parse(text)) if (name, call) not in ALLOWED]
    assert not found, f"{name}: {found}: use fabric.files"


def test_the_guard_finds_what_it_is_there_for():
    planted = 'p.write_text(x)\np.open("ab")\nos.open(p, 1)\nsqlite3.connect(p)\np.open("rb")\nopen(p, "w")\n'
    assert [line for line, _ in calls_that_write(ast.parse(planted))] == [1, 2, 3, 4, 6]
    assert all(CALLS.search(line) for line in planted.splitlines())


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_takes_its_name_where_there_are_no_second_names(folder, monkeypatch, number):
    def refuses(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuses)
    part, name = folder / "a.part", folder / "a"
    part.write_bytes(b"whole")
    take_name(part, name)
    assert name.read_bytes() == b"whole" and not part.exists()
    part.write_bytes(b"another")
    with pytest.raises(FileExistsError):
        take_name(part, name)
    assert name.read_bytes() == b"whole" and part.read_bytes() == b"another"


def test_a_lock_is_a_lock(folder):
    first, second = open_private(folder / "lock"), open_private(folder / "lock")
    fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(OSError, match="unavailable"):
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(first)
    os.close(second)
