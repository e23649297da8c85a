"""The authority's key at rest."""

import json

import pytest

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.signing import signing_public
from relays.authority.sealing import Cost, is_protected, open_seed, public_of, read_document, seal_seed
from tests.support import derive

SEED = derive("seed")
PHRASE = "correct horse battery"
CHEAP = Cost(1, 8_192)


def not_asked():
    raise AssertionError("nobody is to be asked")


def test_what_was_sealed_opens_with_its_passphrase_only():
    document = json.loads(json.dumps(seal_seed(SEED, PHRASE, CHEAP)))
    assert is_protected(document) and public_of(document) == signing_public(SEED)
    assert SEED.hex() not in json.dumps(document)
    assert open_seed(document, lambda: PHRASE) == SEED
    for wrong in ("", PHRASE + " ", PHRASE.upper()):
        with pytest.raises(FabricError) as caught:
            open_seed(document, lambda wrong=wrong: wrong)
        assert caught.value.code is Code.WRONG_PASSPHRASE
        assert not wrong.strip() or wrong not in str(caught.value)


def test_the_same_seed_is_never_sealed_the_same():
    one, other = seal_seed(SEED, PHRASE, CHEAP), seal_seed(SEED, PHRASE, CHEAP)
    assert one["salt"] != other["salt"] and one["sealed"] != other["sealed"]


def test_a_guess_costs_something_unless_said_otherwise():
    cost = Cost()
    assert cost.memory >= 2**26 and cost.ops >= 2


def test_a_short_passphrase_is_refused():
    with pytest.raises(FabricError) as caught:
        seal_seed(SEED, "short", CHEAP)
    assert caught.value.code is Code.NO_PASSPHRASE and "short" not in str(caught.value).replace("shorter", "")


def test_one_that_lies_open_asks_for_none():
    document = seal_seed(SEED, None)
    assert not is_protected(document) and open_seed(document, not_asked) == SEED


@pytest.mark.parametrize(
    "changed",
    [
        {"sealed": "00"}, {"sealed": "zz"}, {"salt": "00"}, {"ops": 0}, {"memory": 2**40}, {"ops": 10**6},
        {"public": "00" * 32},
    ],
)
def test_a_damaged_file_is_not_a_wrong_passphrase(changed):
    document = {**seal_seed(SEED, PHRASE, CHEAP), **changed}
    with pytest.raises((ValueError, FabricError)) as caught:
        open_seed(document, lambda: PHRASE)
    # A box that was cut or changed cannot be told from a wrong passphrase; everything else can.
    wrong = isinstance(caught.value, FabricError)
    assert not wrong or (changed.keys() & {"sealed"} and caught.value.code is Code.WRONG_PASSPHRASE)


@pytest.mark.parametrize("changed", [{"version": 2}, {"public": "00"}, {"public": 7}, {"protection": "rot13"}])
def test_what_is_no_key_file_is_refused(changed):
    with pytest.raises((ValueError, TypeError)):
        public_of({**seal_seed(SEED, PHRASE, CHEAP), **changed})


@pytest.mark.parametrize("raw", [b"", b"7", b"[]", b"\xff", b'"key"'])
def test_what_is_no_object_is_refused(raw):
    with pytest.raises(ValueError):
        read_document(raw)
