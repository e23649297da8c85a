"""What a declaration says to its kind: read whole, with every fault at once."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.options import Options, checked
from relays.gateways.secret import Secret

SAID = {
    "path": "/var/log/x", "text": "a", "format": "json", "on": True, "count": 3, "every": "10s", "most": "64MB",
    "topics": ["a.>", "b"], "one": "c", "more": {"a": 1}, "tlp": "TLP:AMBER", "token": {"env": "T"},
    "key": {"file": "/etc/k"},
}


def read(options):
    return (
        options.path("path"), options.text("text"), options.choice("format", ("json", "text"), "text"),
        options.flag("on", False), options.number("count", 1, 1, 9), options.seconds("every", "1s"),
        options.size("most", "1MB"), options.texts("topics"), options.texts("one"), options.table("more"),
        options.label("tlp", Label.RED), options.secret("token"), options.secret("key"),
    )


def test_what_was_declared_is_read_by_name_and_type():
    options = Options(SAID)
    assert checked(read, options, list(SAID)) == (
        Path("/var/log/x"), "a", "json", True, 3, 10.0, 64 * 2**20, ["a.>", "b"], ["c"], {"a": 1}, Label.AMBER,
        Secret("env", "T"), Secret("file", "/etc/k"),
    )
    assert options.faults == [] and options.names == list(SAID) and options.has("on") and options.value("count") == 3


def test_what_was_not_declared_has_its_default():
    options = Options({})
    assert read(options) == (None, "", "text", False, 1, 1.0, 2**20, [], [], {}, Label.RED, None, None)
    assert options.faults == []


def test_every_fault_is_named_at_once_with_its_key_and_what_to_write():
    options = Options({
        "path": "log", "text": "", "format": "xml", "on": "yes", "count": True, "every": "soon", "most": "0B",
        "topics": [], "one": [1], "more": 1, "tlp": "pink", "token": "hunter2", "key": {"file": "relative"}, "pathh": 1,
    })
    checked(read, options, list(SAID))
    faults = {fault.key: fault for fault in options.faults}
    assert faults.keys() == {*SAID, "pathh"}
    assert "did you mean 'path'?" in faults["pathh"].write
    assert faults["format"].write == 'write format = "json" or "text"'
    assert faults["token"].code is Code.SECRET_INLINE and 'env = "TOKEN"' in faults["token"].write


def test_what_has_to_be_there_is_missed_with_an_example():
    options = Options({})
    options.path("path", needed='"/var/log/x.log"')
    options.texts("topics", needed='["detections.>"]')
    options.secret("token", needed=True)
    assert [fault.cause for fault in options.faults] == [f"'{name}' is missing" for name in ("path", "topics", "token")]
    assert options.faults[0].write == 'write path = "/var/log/x.log"'


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(st.sampled_from(["file", "env", "x"]), inner, max_size=3),
))
def test_whatever_is_declared_is_read_or_a_fault_and_a_secret_is_never_said(value):
    options = Options(dict.fromkeys(SAID, value))
    checked(read, options, list(SAID))
    inline = Options({"token": f"Hunter2{value}"})
    inline.secret("token")
    assert "Hunter2" not in str(inline.faults)
