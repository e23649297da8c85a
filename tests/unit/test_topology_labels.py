"""Each place of a topology file where a label stands: one that is none is an error there, with its number."""

from pathlib import Path

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.vocabulary.tlp import Label
from relays.topology.lint import lint

CUSTOM = "marking-definition--0a5f9c0e-4f6f-4a55-8f0b-0d0c6f3b7a99"
TREE = f"""
fabric = "labels"
organisation = "acme"
defaults = {{ label = "@1@" }}
[relays]
hq = {{ clearance = "@2@", listen = "127.0.0.1:7999" }}
[roles]
all = {{ publish = [">"], subscribe = [">"], execute = ["deny *"] }}
[points.point-1]
relay = "hq"
role = "all"
clearance = "@3@"
[points.point-1.sources.one]
kind = "file"
path = "/var/log/one.log"
topic = "detections.one"
label = {{ field = "tlp", default = "@4@", table = {{ a = "@5@" }} }}
labels = {{ src = "@6@" }}
[points.point-1.sources.two]
kind = "file"
path = "/var/log/two.log"
topic = "detections.two"
label = "@7@"
[points.point-1.sources.bundles]
kind = "stix"
path = "/var/lib/in/"
topic = "intel.x"
unmarked = "@8@"
markings = {{ "{CUSTOM}" = "@9@" }}
[points.point-1.sources.api]
kind = "http"
listen = "127.0.0.1:8080"
[[points.point-1.sources.api.tokens]]
name = "desk"
secret = {{ file = "/etc/desk.token" }}
may = ["stream"]
topics = ["intel.>"]
clearance = "@10@"
[points.point-1.sinks.out]
kind = "jsonlines"
path = "/var/log/out.jsonl"
topics = ["intel.>"]
max_label = "@11@"
[[approval]]
when = {{ action = "deny *", label = "@12@" }}
require = 0
[[assert]]
must = "@13@ from point-1 reaches hq"
"""
LABELS = 13
# Keys, in the order of the numbers.
KEYS = [
    "defaults.label", "relays.hq.clearance", "points.point-1.clearance", "points.point-1.sources.one.label.default",
    "points.point-1.sources.one.label.table.a", "points.point-1.sources.one.labels.src",
    "points.point-1.sources.two.label", "points.point-1.sources.bundles.unmarked",
    f"points.point-1.sources.bundles.markings.{CUSTOM}",
    "points.point-1.sources.api.tokens.0.clearance", "points.point-1.sinks.out.max_label", "approval.0.when.label",
    "assert.0.must",
]


def problems(tmp_path: Path, wrong: int, word: str) -> list[tuple[Code, str, str]]:
    """Of the tree in which one label is another word."""
    text = TREE
    for number in range(1, LABELS + 1):
        text = text.replace(f"@{number}@", word if number == wrong else "clear" if number == LABELS else "red")
    file = tmp_path / "labels.toml"
    file.write_text(text)
    return [(each.code, each.key, f"{each.cause} {each.write}") for each in lint(file) if each.severity == "error"]


@pytest.mark.parametrize(("number", "key"), list(enumerate(KEYS, 1)))
@pytest.mark.parametrize("word", ["purple", "tlp:", "ed"])
def test_what_is_no_label_is_an_error_where_it_stands(tmp_path, number, key, word):
    (found,) = problems(tmp_path, number, word)
    code, at, said = found
    assert code is Code.BAD_LABEL and at == key
    assert all(label.short in said for label in Label), said


def test_where_each_is_one_there_is_no_error(tmp_path):
    assert problems(tmp_path, 0, "") == []
