"""SPEC.md says what the code does: its tables are held against the code's."""

import re
from pathlib import Path

import pytest

from fabric.protocol.access.permissions import DIRECTIONS
from fabric.protocol.base import limits, signing
from fabric.protocol.base.errors import Code
from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.codec import _TABLE
from fabric.protocol.wire.frames import Direction, Role

ROOT = Path(__file__).parents[2]
SPEC = (ROOT / "fabric" / "protocol" / "SPEC.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the tables in one section, without heads."""
    section = SPEC.split(f"\n{heading}", 1)[1].split("\n#", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("code", list(Code), ids=lambda code: code.label)
def test_every_code_is_listed_with_its_reason_its_cause_and_the_next_step(code):
    assert [code.label, code.reason, code.cause, code.next_step] in rows("## 11.")


def test_and_no_other():
    assert len([row for row in rows("## 11.") if row[0].startswith("E")]) == len(Code)


def test_frames_have_their_numbers():
    listed = {row[1].lower(): int(row[0]) for row in rows("### 7.1") if row[0].isdigit()}
    names = {"refused": "reject"}
    for number, class_, _ in _TABLE:
        name = class_.__name__.lower()
        assert listed[names.get(name, name)] == number
    assert len(listed) == len(_TABLE)


def test_kinds_and_lanes_have_their_numbers():
    kinds = {row[0]: int(row[1]) for row in rows("## 1.") if row[1].isdigit()}
    assert kinds == {kind.word: int(kind) for kind in Kind}
    lanes = {row[0]: int(row[1]) for row in rows("### 7.4") if row[1].isdigit()}
    assert lanes == {lane.name.lower(): int(lane) for lane in Lane}


def test_the_table_of_directions_is_the_code_s():
    said = set()
    for row in rows("### 8.1")[1:]:
        for role, cell in zip((Role.POINT, Role.CHILD, Role.PARENT), row[1:], strict=True):
            if cell:
                said.add((Kind[row[0].upper()], role, Direction[cell.upper()]))
    assert said == DIRECTIONS


def test_signature_types_are_listed():
    said = set(re.findall(r"`(fabric/[a-z]+/1)`", SPEC.split("## 3.")[0]))
    assert said == {getattr(signing, name).decode() for name in dir(signing) if name.startswith("TYPE_")}


@pytest.mark.parametrize(
    "name",
    ["ENVELOPE_BYTES_MAX", "HEADER_BYTES_MAX", "PARTS_MAX", "PART_BYTES_MAX", "BODY_BYTES_MAX", "FRAME_BYTES_MAX",
     "LANE_WINDOW_BYTES"],
)
def test_limits_are_the_code_s(name):
    value = format(getattr(limits, name), ",")
    assert re.search(rf"`{name}`\s+{value}\b|{value} \w+ of|of\s+`{name}`\s+{value}", SPEC), value


def test_sections_that_the_code_refers_to_exist():
    headings = {found[1] for found in re.finditer(r"^#{2,3} (\d+(?:\.\d+)?)", SPEC, re.MULTILINE)}
    for path in [*(ROOT / "fabric").rglob("*.py"), *(ROOT / "relays").rglob("*.py")]:
        for section in re.findall(r"SPEC (\d+(?:\.\d+)?)", path.read_text()):
            assert section in headings, f"{path.name} refers to section {section}"


HEADINGS = re.findall(r"^#{2,3} (\d.*)$", SPEC, re.MULTILINE)
CONTENTS = rows("## Contents")[1:]


def test_the_contents_list_every_section_in_order_and_lead_to_it():
    # An anchor is the heading in small letters, without punctuation, hyphens for blanks.
    anchors = [re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in HEADINGS]
    expected = [f"[{heading}](#{anchor})" for heading, anchor in zip(HEADINGS, anchors, strict=True)]
    assert [row[0] for row in CONTENTS] == expected


def modules(cell: str) -> list[str]:
    """As they are imported."""
    names = re.findall(r"`([\w.]+)`", cell)
    return [name if name.startswith(("fabric.", "relays.")) else f"fabric.protocol.{name}" for name in names]


@pytest.mark.parametrize("section, cell", CONTENTS, ids=[row[0].split("]")[0].strip("[") for row in CONTENTS])
def test_the_modules_of_a_section_exist(section, cell):
    for module in modules(cell):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), f"{section}: no module {module}"


def test_every_room_of_the_protocol_is_named_by_a_section():
    rooms = {path.parent.name for path in (ROOT / "fabric" / "protocol").glob("*/__init__.py")}
    named = {module.split(".")[2] for _, cell in CONTENTS for module in modules(cell) if ".protocol." in module}
    assert named == rooms


THREATS = (ROOT / "fabric" / "protocol" / "THREATS.md").read_text()


def test_every_test_that_the_threats_name_is_there():
    named = set(re.findall(r"`((?:unit|integration|properties|simulation)/[a-z_]+\.py)`", THREATS))
    assert len(named) > 8
    for path in named:
        assert (ROOT / "tests" / path).is_file(), path
