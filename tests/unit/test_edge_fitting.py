"""What of a handler's result can be sent: whole fields, and the first that cannot be is named."""

import json
from collections import UserDict
from decimal import Decimal
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.edge.handling.fitting import BYTES_MAX, DEPTH_MAX, fit
from fabric.protocol.base.limits import BODY_ELEMENTS_MAX
from fabric.protocol.envelope.parts import FieldLabels, build_parts
from fabric.protocol.vocabulary.tlp import Label


def deep(levels, core=1):
    value = core
    for _ in range(levels):
        value = [value]
    return value


def itself():
    value = []
    value.append(value)
    return value


UNFIT = {
    "2^128": (2**128, "an integer beyond 64 bits"),
    "below 64 bits": (-(2**63) - 1, "an integer beyond 64 bits"),
    "half a character": ("\ud800", "text with half a character"),
    "60 levels": (deep(60), f"more than {DEPTH_MAX} levels"),
    "100,000 levels": (deep(100_000), f"more than {DEPTH_MAX} levels"),
    "contains itself": (itself(), f"more than {DEPTH_MAX} levels"),
    "NaN": (float("nan"), "a number that JSON does not have"),
    "infinity": (float("-inf"), "a number that JSON does not have"),
    "too large": ("x" * (BYTES_MAX + 1), "bytes there are more than"),
    "too many": ([0] * BODY_ELEMENTS_MAX, "values"),
    "a set": ({1}, "a value of type set"),
    "a decimal": (Decimal("1.5"), "a value of type Decimal"),
    "a map of another kind": (MappingProxyType({}), "a value of type mappingproxy"),
    "a key that is no text": ({None: 1}, "a field's name that is no text"),
    "a key that is a pair": ({(1, 2): 1}, "a field's name that is no text"),
    "a key that is a flag": ({True: 1}, "a field's name that is no text"),
    "a key with half a character": ({"\udfff": 1}, "a field's name with half a character"),
}


@pytest.mark.parametrize(("value", "why"), UNFIT.values(), ids=UNFIT)
@pytest.mark.parametrize("place", ["itself", "below"])
def test_what_cannot_be_sent_is_left_out_alone_and_named(value, why, place):
    fitted = fit({"rule": 7, "bad": value if place == "itself" else {"list": [0, value]}, "after": "x"})
    assert fitted.result == {"rule": 7, "after": "x"}
    assert fitted.problem.startswith("bad") and why in fitted.problem
    if place == "below" and not why.startswith(("more", "bytes", "values")) and "name" not in why:
        assert fitted.problem == f"bad.list[1]: {why}"


@pytest.mark.parametrize("name", [None, 1, b"x", ("a", "b")], ids=repr)
def test_a_field_whose_name_is_no_text(name):
    assert fit({name: 1, "x": 2}).result == {"x": 2}
    assert "a field's name that is no text" in fit({name: 1}).problem


def test_all_that_fits_stays_as_it_is():
    result = {"a": None, "b": [True, -(2**63), 2**64 - 1, 0.5], "c": {"d": "é", "": b"\xff", "n": {1: 2}}}
    assert fit(result) == (result, "")
    assert fit(UserDict(result)) == (result, "")


def test_how_many_more_there_are_is_said():
    assert fit({"a": 2**99, "b": 1, "c": {1}}).problem == "a: an integer beyond 64 bits, and 1 more of 3 fields"


def test_a_map_that_breaks_when_it_is_read():
    class Broken(UserDict):
        def __iter__(self):
            raise KeyError("secret")

    assert fit(Broken()) == ({}, "the result is no map (KeyError)")


def test_a_name_does_no_harm_and_is_short():
    problem = fit({"\x1b[31m" + "n" * 9_999: 2**99}).problem
    assert problem.isprintable() and len(problem) < 150


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text() | st.binary()
    | st.characters(categories=["Cs"]) | st.decimals(),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner)
    | st.dictionaries(st.text(max_size=8) | st.none() | st.integers(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8) | st.integers(), ANYTHING, max_size=6))
def test_whatever_passes_can_be_encoded_and_written_as_json(result):
    fitted = fit(result)
    build_parts([{"result": fitted.result}], FieldLabels({}, Label.AMBER), Label.CLEAR, bytes)
    json.dumps(fitted.result, allow_nan=False, default=lambda _: None).encode()
    assert bool(fitted.problem) == (len(fitted.result) != len(result))


def test_the_largest_that_passes_fits_into_a_message_whatever_its_label():
    incompressible = bytes(i * i % 251 for i in range(BYTES_MAX - 20))
    for label in (Label.CLEAR, Label.RED):
        fitted = fit({"x": incompressible})
        assert not fitted.problem
        build_parts([{"result": fitted.result}], FieldLabels({}, label), Label.CLEAR, bytes)
