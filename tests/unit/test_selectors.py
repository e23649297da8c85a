import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.vocabulary.selectors import Selector, narrows, parse_selector

FIREWALL = {"id": "fw-7", "segment": "ot-1", "role": "firewall", "organisation": "acme", "vendor": "nft"}
SENSOR = {"id": "zeek-1", "segment": "dmz", "role": "sensor", "organisation": "Müller & Co"}


def chosen(text):
    selector = parse_selector(text)
    assert isinstance(selector, Selector), str(selector)
    return [node["id"] for node in (FIREWALL, SENSOR) if selector.matches(node)]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("all", ["fw-7", "zeek-1"]),
        ("role=firewall", ["fw-7"]),
        ("role = firewall", ["fw-7"]),
        ("role!=firewall", ["zeek-1"]),
        ("role=firewall and segment=ot-1", ["fw-7"]),
        ("role=firewall and segment=dmz", []),
        ("role=firewall or segment=dmz", ["fw-7", "zeek-1"]),
        ("role=firewall OR role=sensor AND segment=ot-1", ["fw-7"]),  # and binds closer
        ("(role=firewall or role=sensor) and segment=dmz", ["zeek-1"]),
        ("not role=firewall", ["zeek-1"]),
        ("not (role=firewall or id=zeek-1)", []),
        ("not not role=sensor", ["zeek-1"]),
        ("all and not role=sensor", ["fw-7"]),
        ("id in (fw-7, zeek-*)", ["fw-7", "zeek-1"]),
        ("segment in(dmz)", ["zeek-1"]),
        ("id=fw-*", ["fw-7"]),
        ("id=*-1", ["zeek-1"]),
        ("id=z*k*1", ["zeek-1"]),
        ("id=fw-7*7", []),
        ("id=FW-7", []),
        ("vendor=*", ["fw-7"]),
        ("organisation='Müller & Co'", ["zeek-1"]),
        ('organisation="Müller*"', []),  # quoted is literal
    ],
)
def test_selectors_select(text, ids):
    assert chosen(text) == ids


@pytest.mark.parametrize("text", ["", "   ", "\t\n"])
def test_an_empty_selector_selects_nobody(text):
    assert chosen(text) == []
    assert parse_selector(text).selects_nobody
    assert not parse_selector("all").selects_nobody


def test_a_missing_name_equals_nothing():
    assert chosen("rack=1 or rack=* or rack in (1, '')") == []
    assert chosen("rack!=1") == ["fw-7", "zeek-1"]


@pytest.mark.parametrize(
    "text",
    [
        "*", "firewall", "role=", "=firewall", "role==a", "role=a role=b", "role=a and", "and role=a", "or",
        "not", "(", "()", "(role=a", "role=a)", "role in", "role in ()", "role in (a", "role in (a,)",
        "role in (a b)", "ro*e=a", "all=x", "in=x", "role=a;id=b", "role='a", "role='a\nb'", "role<3",
        "role=a & id=b", "role=ä", "x" * 65 + "=1",
    ],
)  # fmt: skip
def test_what_cannot_be_read_to_the_end_is_refused(text):
    refused = parse_selector(text)
    assert isinstance(refused, Reject)
    assert refused.code is Code.BAD_SELECTOR


def test_length_and_nesting_are_bounded():
    assert isinstance(parse_selector("(" * 16 + "all" + ")" * 16), Selector)
    assert isinstance(parse_selector("(" * 17 + "all" + ")" * 17), Reject)
    assert isinstance(parse_selector("(" * 1_000), Reject)
    assert isinstance(parse_selector("not " * 200 + "all"), Reject)
    assert isinstance(parse_selector("a=1 or " * 150), Reject)
    assert isinstance(parse_selector("organisation='" + "ü" * 600 + "'"), Reject)
    assert isinstance(parse_selector("a='\ud800'"), Reject)
    # Long is not deep.
    assert isinstance(parse_selector(" or ".join(["a=1"] * 100)), Selector)


def test_no_glob_makes_matching_slow():
    selector = parse_selector("id=" + "a*" * 500 + "b")
    node = {"id": "a" * 10_000}
    assert not selector.matches(node)
    assert min(timeit.repeat(lambda: selector.matches(node), number=1, repeat=3)) < 0.05


def test_the_text_is_kept():
    assert parse_selector("role=firewall  and  id=x").text == "role=firewall  and  id=x"


@pytest.mark.parametrize(
    ("selector", "wide"),
    [
        ("role=firewall", "role=firewall"),
        ("role=firewall and segment=ot-1", "role=firewall"),
        ("segment=ot-1 and role=firewall", "role=firewall and segment=ot-*"),
        ("segment=ot-1", "segment in (ot-1, ot-2)"),
        ("segment in (ot-1, ot-2)", "segment=ot-*"),
        ("segment=ot-1a*", "segment=ot-1*"),
        ("segment=ot-1 or segment=ot-2", "segment=ot-*"),
        ("segment=ot-1", "segment=ot-1 or role=firewall"),
        ("(a=b or a=c) and d=e", "a in (b, c)"),
        ("not segment=ot-*", "not segment=ot-1"),
        ("segment!=hq and role=fw", "segment!=hq"),
        ("", "role=firewall"),
        ("role=firewall", "all"),
        ("all", "all"),
        ("a=b and (c=d or e=f)", "a=b and c=d or a=b and (c=d or e=f)"),
    ],
)
def test_what_is_seen_to_narrow(selector, wide):
    assert narrows(selector, wide)


@pytest.mark.parametrize(
    ("selector", "wide"),
    [
        ("all", "role=firewall"),
        ("role=firewall", "role=firewall and segment=ot-1"),
        ("role=firewall", ""),
        ("segment=ot-*", "segment=ot-1"),
        ("segment=ot-1*", "segment=ot-1a*"),
        ("segment=*-1", "segment=ot-*"),
        ("segment=ot-1 or role=firewall", "segment=ot-1"),
        ("not segment=ot-1", "not segment=ot-*"),
        ("role=firewall", "segment=firewall"),
        ("role='ot-*'", "role=ot-1"),
        ("role=", "role=firewall"),
        ("role=firewall", "role="),
    ],
)
def test_what_is_not(selector, wide):
    assert not narrows(selector, wide)


def selectors_of(depth):
    value = st.sampled_from(["x", "y", "x*", "*y", "'x*'"])
    leaf = st.one_of(
        st.builds("{}={}".format, st.sampled_from("ab"), value),
        st.builds("{}!={}".format, st.sampled_from("ab"), value),
        st.builds("{} in ({}, {})".format, st.sampled_from("ab"), value, value), st.just("all"),
    )
    if not depth:
        return leaf
    inner = selectors_of(depth - 1)
    return st.one_of(
        leaf, st.builds("({} and {})".format, inner, inner), st.builds("({} or {})".format, inner, inner),
        st.builds("not ({})".format, inner),
    )


NODES = [
    {name: text for name, text in (("a", a), ("b", b)) if text is not None}
    for a in ("x", "y", "xy", "x*", "z", None) for b in ("x", "y", "xy", "x*", "z", None)
]


@given(selectors_of(3), selectors_of(3))
def test_a_narrower_one_selects_nobody_that_the_wider_does_not(selector, wide):
    if narrows(selector, wide):
        for node in NODES:
            assert parse_selector(wide).matches(node) or not parse_selector(selector).matches(node)


def test_it_is_quick_however_they_are_nested():
    one, other = "a=x", "a=y"
    for _ in range(7):
        one, other = f"(b=x or a=x and ({one}))", f"(b=y and (a=y or {other}))"
    assert not narrows(one, other)
    assert narrows(one, one)


@pytest.mark.parametrize(
    ("text", "names"),
    [("", ()), ("all", ()),
     ("role=a and not (site in (x, y) or role!=b)", ("role", "site")), ("rolle='a'", ("rolle",))],
)
def test_the_names_that_it_compares(text, names):
    assert parse_selector(text).names == names
