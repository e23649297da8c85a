"""An authority on its machine, in its backup, and on another machine."""

import json
import stat
from types import SimpleNamespace

import pytest

from fabric.edge.identity.home import revocations_path
from fabric.protocol.base.errors import Code, FabricError
from relays.authority import back_up, init_authority, new_authority, open_authority, restore_authority, revoke
from relays.authority.keeping import authority_folder, fingerprint
from relays.authority.sealing import Cost
from relays.cli.shared.passphrase import passphrase_from

CHEAP = Cost(1, 8_192)
PHRASE = "correct horse battery"


def phrase():
    return PHRASE


def not_asked():
    raise AssertionError("nobody is to be asked")


@pytest.fixture
def sealed(tmp_path):
    init_authority("acme", tmp_path / "here", phrase, CHEAP)
    return open_authority("acme", tmp_path / "here", phrase)


def refused(function, *arguments):
    with pytest.raises(FabricError) as caught:
        function(*arguments)
    return caught.value


def test_it_is_made_once(tmp_path, sealed):
    again = init_authority("acme", tmp_path / "here", not_asked, CHEAP)
    assert again.public == sealed.public and sealed.protected
    key = authority_folder("acme", tmp_path / "here") / "key.json"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and stat.S_IMODE(key.parent.stat().st_mode) == 0o700


def test_the_passphrase_is_asked_for_when_something_is_signed(tmp_path, sealed):
    silent = open_authority("acme", tmp_path / "here", not_asked)
    assert silent.fingerprint == fingerprint(sealed.public) and len(silent.fingerprint.split()) == 16
    assert sealed.signer.public == silent.public
    nobody = open_authority("acme", tmp_path / "here")
    assert refused(lambda: nobody.signer).code is Code.NO_PASSPHRASE


def test_a_wrong_passphrase_signs_nothing(tmp_path, sealed):
    wrong = open_authority("acme", tmp_path / "here", lambda: "not the passphrase")
    error = refused(revoke, wrong, ["zeek-1"], tmp_path / "here")
    assert error.code is Code.WRONG_PASSPHRASE and "not the passphrase" not in str(error)
    assert not revocations_path("acme", tmp_path / "here").exists()


@pytest.mark.parametrize("content", ["nonsense", "{}", "[]", '{"version": 1, "public": "00", "protection": "none"}'])
def test_a_damaged_key_is_said_without_its_content(tmp_path, sealed, content):
    (sealed.folder / "key.json").write_text(content)
    error = refused(open_authority, "acme", tmp_path / "here")
    assert error.code is Code.NO_AUTHORITY and "nonsense" not in str(error)


def test_none_is_there(tmp_path):
    error = refused(open_authority, "acme", tmp_path)
    assert error.code is Code.NO_AUTHORITY and "fabric authority init acme" in error.next_step


# -- backup and restore ---------------------------------------------------------------------------------------


@pytest.fixture
def backup(tmp_path, sealed):
    revoke(sealed, ["zeek-1"], tmp_path / "here")
    back_up(sealed, tmp_path / "backup.json")
    return tmp_path / "backup.json"


def test_a_backup_becomes_the_same_authority_elsewhere(tmp_path, sealed, backup):
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert sealed.signer.public.hex() in backup.read_text() and PHRASE not in backup.read_text()
    there = restore_authority(backup, phrase, tmp_path / "there")
    assert there.public == sealed.public and there.protected
    assert open_authority("acme", tmp_path / "there", phrase).signer.public == sealed.public
    before = revocations_path("acme", tmp_path / "here").read_bytes()
    assert revocations_path("acme", tmp_path / "there").read_bytes() == before


def test_a_list_after_an_old_backup_is_newer_than_all_before(tmp_path, sealed, backup):
    newest = revoke(sealed, ["zeek-2"], tmp_path / "here")
    there = restore_authority(backup, phrase, tmp_path / "there")
    listed = revoke(there, ["zeek-3"], tmp_path / "there")
    assert listed.version >= newest.version and listed.ids == {"zeek-1", "zeek-3"}


def test_the_passphrase_is_tried_before_anything_is_written(tmp_path, backup):
    assert refused(restore_authority, backup, lambda: "wrong one", tmp_path / "there").code is Code.WRONG_PASSPHRASE
    assert not (tmp_path / "there").exists()


def test_restoring_what_is_there_changes_nothing(tmp_path, sealed, backup):
    assert restore_authority(backup, not_asked, tmp_path / "here").public == sealed.public


def test_another_authority_is_not_replaced(tmp_path, backup):
    other = init_authority("acme", tmp_path / "there", phrase, CHEAP)
    assert refused(restore_authority, backup, phrase, tmp_path / "there").code is Code.USAGE
    assert open_authority("acme", tmp_path / "there").public == other.public


def test_one_that_lies_open_is_not_backed_up(tmp_path):
    throwaway = init_authority("dev", tmp_path)
    assert refused(back_up, throwaway, tmp_path / "backup.json").code is Code.USAGE
    assert not (tmp_path / "backup.json").exists()


def test_a_backup_is_not_written_over(tmp_path, sealed, backup):
    assert refused(back_up, sealed, backup).code is Code.USAGE


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"version": 2, "fabric": "acme"}'])
def test_what_is_no_backup(tmp_path, content):
    (tmp_path / "backup.json").write_bytes(content)
    assert refused(restore_authority, tmp_path / "backup.json", phrase, tmp_path / "there").code is Code.BAD_INPUT


def test_a_backup_with_another_s_list(tmp_path, sealed, backup):
    other = init_authority("other", tmp_path / "other")
    document = json.loads(backup.read_text())
    revoke(other, ["hq"], tmp_path / "other")
    document["revocations"] = revocations_path("other", tmp_path / "other").read_bytes().hex()
    backup.write_text(json.dumps(document))
    assert refused(restore_authority, backup, phrase, tmp_path / "there").code is Code.BAD_INPUT
    assert not (authority_folder("acme", tmp_path / "there") / "key.json").exists()


def test_a_second_one_is_refused_before_anything_is_asked_and_named_for_what_it_is(tmp_path, sealed):
    error = refused(new_authority, "acme", tmp_path / "here", not_asked)
    assert error.code is Code.AUTHORITY_EXISTS and "authority show acme" in error.next_step
    assert open_authority("acme", tmp_path / "here").public == sealed.public
    init_authority("trial", tmp_path)
    error = refused(new_authority, "trial", tmp_path, not_asked)
    assert "for trying things only" in error.detail and f"move {tmp_path / 'trial'} away" in error.next_step


def test_a_new_passphrase_is_judged_as_one_when_it_is_typed(monkeypatch):
    typed = []
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("getpass.getpass", lambda _words: typed.pop(0))
    typed += ["short"]
    error = refused(passphrase_from(None, new=True))
    assert error.code is Code.NO_PASSPHRASE and "less than 12" in error.detail and not typed
    typed += [PHRASE, PHRASE + "!"]
    error = refused(passphrase_from(None, new=True))
    assert error.code is Code.NO_PASSPHRASE and "differ" in error.detail and "lost" not in error.next_step
