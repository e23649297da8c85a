"""Selectors: which nodes an action, a grant or a policy is about.

    selector   = [ any ]                                 empty: nobody
    any        = every *( "or" every )
    every      = term *( "and" term )
    term       = "not" term / "(" any ")" / "all" / comparison
    comparison = name "=" value / name "!=" value / name "in" "(" value *( "," value ) ")"
    name       = id / segment / role / organisation / any tag's name
    value      = 1*( letter / digit / "_.:+-*" ) / quoted

`*` in a bare value stands for any characters, also none; a quoted value ('..' or "..") is taken literally.

Guarantees: an empty selector selects nobody (in Salt, CVE-2022-22941, no valid targets came to mean any);
everyone is only ever meant by `all`, `not`, `!=` or a `*`, written out; a name that a node lacks equals
nothing. Refuses text that it cannot read to the end, nesting beyond 16, `*` as a whole selector. Neither
parsing nor matching can be made slow or deep by what a peer writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import NAME_BYTES_MAX, SELECTOR_BYTES_MAX

NESTING_MAX: Final = 16

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<word>[A-Za-z0-9_.:+*-]+)|(?P<quoted>'[^']*'|\"[^\"]*\")|(?P<mark>!=|=|\(|\)|,))"
)
_KEYWORDS: Final = ("and", "or", "not", "in", "all")
# Selectors come from topologies, grants and a few operators: the same ones again and again.
_CACHED_MAX: Final = 1_024


@dataclass(frozen=True, slots=True)
class _Value:
    """What lies between the stars; one piece only means equality."""

    pieces: tuple[str, ...]

    def matches(self, text: str) -> bool:
        first, last = self.pieces[0], self.pieces[-1]
        if len(self.pieces) == 1:
            return text == first
        if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
            return False
        # The leftmost place for each piece leaves the most room for the next: no backtracking.
        at, end = len(first), len(text) - len(last)
        for piece in self.pieces[1:-1]:
            found = text.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True


class _Term:
    __slots__ = ()

    def matches(self, node: Mapping[str, str]) -> bool:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Always(_Term):
    answer: bool

    def matches(self, node: Mapping[str, str]) -> bool:
        return self.answer


@dataclass(frozen=True, slots=True)
class _OneOf(_Term):
    name: str
    values: tuple[_Value, ...]

    def matches(self, node: Mapping[str, str]) -> bool:
        text = node.get(self.name)
        return text is not None and any(value.matches(text) for value in self.values)


@dataclass(frozen=True, slots=True)
class _Not(_Term):
    term: _Term

    def matches(self, node: Mapping[str, str]) -> bool:
        return not self.term.matches(node)


@dataclass(frozen=True, slots=True)
class _Every(_Term):
    terms: tuple[_Term, ...]

    def matches(self, node: Mapping[str, str]) -> bool:
        return all(term.matches(node) for term in self.terms)


@dataclass(frozen=True, slots=True)
class _Any(_Term):
    terms: tuple[_Term, ...]

    def matches(self, node: Mapping[str, str]) -> bool:
        return any(term.matches(node) for term in self.terms)


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector that was read. `text` is what was written."""

    text: str
    _root: _Term

    def matches(self, node: Mapping[str, str]) -> bool:
        """Whether it selects the node, given as "id", "segment", "role", "organisation" and its tags."""
        return self._root.matches(node)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it compares, in the order in which they were written, each once."""
        return tuple(dict.fromkeys(_names(self._root)))

    @property
    def selects_nobody(self) -> bool:
        """Whether it is empty, and can therefore never select anyone."""
        return self._root == _NOBODY


def _names(term: _Term) -> Iterator[str]:
    if isinstance(term, _OneOf):
        yield term.name
    elif isinstance(term, _Not):
        yield from _names(term.term)
    elif isinstance(term, _Every | _Any):
        for part in term.terms:
            yield from _names(part)


_NOBODY: Final = _Always(False)
_EVERYONE: Final = _Always(True)


class _UnreadableError(Exception):
    """Inside this module only: becomes a Reject."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # "word", "quoted", "mark" or "end"
    text: str
    at: int

    @property
    def keyword(self) -> str:
        lowered = self.text.lower()
        return lowered if self.kind == "word" and lowered in _KEYWORDS else ""


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at, end)
        if found is None:
            raise _UnreadableError(f"at character {at + 1}")
        kind = found.lastgroup or ""
        tokens.append(_Token(kind, found.group(kind), found.start(kind)))
        at = found.end()
    tokens.append(_Token("end", "", end))
    return tokens


class _Parser:
    """Recursive descent. The recursion is bounded by NESTING_MAX, four calls a level."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def parse(self) -> _Term:
        term = self._any()
        self._expect(self._peek().kind == "end", "'and', 'or' or the end")
        return term

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        if token.kind != "end":
            self._next += 1
        return token

    def _expect(self, met: bool, what: str) -> None:
        if not met:
            raise _UnreadableError(f"expected {what} at character {self._peek().at + 1}")

    def _mark(self, mark: str) -> None:
        token = self._peek()
        self._expect(token.kind == "mark" and token.text == mark, f"'{mark}'")
        self._next += 1

    def _any(self) -> _Term:
        terms = [self._every()]
        while self._peek().keyword == "or":
            self._take()
            terms.append(self._every())
        return terms[0] if len(terms) == 1 else _Any(tuple(terms))

    def _every(self) -> _Term:
        terms = [self._term()]
        while self._peek().keyword == "and":
            self._take()
            terms.append(self._term())
        return terms[0] if len(terms) == 1 else _Every(tuple(terms))

    def _term(self) -> _Term:
        token = self._peek()
        if token.keyword == "all":
            self._take()
            return _EVERYONE
        nests = token.keyword == "not" or (token.kind == "mark" and token.text == "(")
        if not nests:
            return self._comparison()
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise _UnreadableError(f"nested more than {NESTING_MAX} levels")
        self._take()
        if token.keyword == "not":
            term: _Term = _Not(self._term())
        else:
            term = self._any()
            self._mark(")")
        self._depth -= 1
        return term

    def _comparison(self) -> _Term:
        name = self._peek()
        self._expect(name.kind == "word" and not name.keyword and "*" not in name.text, "a name")
        self._expect(len(name.text) <= NAME_BYTES_MAX, f"a name of at most {NAME_BYTES_MAX} bytes")
        self._take()
        operator = self._peek()
        if operator.keyword == "in":
            self._take()
            self._mark("(")
            values = [self._value()]
            while self._peek().text == "," and self._peek().kind == "mark":
                self._take()
                values.append(self._value())
            self._mark(")")
            return _OneOf(name.text, tuple(values))
        self._expect(operator.kind == "mark" and operator.text in ("=", "!="), "'=', '!=' or 'in'")
        self._take()
        same = _OneOf(name.text, (self._value(),))
        return same if operator.text == "=" else _Not(same)

    def _value(self) -> _Value:
        token = self._peek()
        self._expect(token.kind in ("word", "quoted"), "a value")
        if token.kind == "word":
            self._take()
            return _Value(tuple(token.text.split("*")))
        inner = token.text[1:-1]
        # Selectors are shown in consoles and logs, where a line break or an escape could forge a line.
        self._expect(inner.isprintable(), "printable text")
        self._take()
        return _Value((inner,))


@lru_cache(maxsize=_CACHED_MAX)
def parse_selector(text: str) -> Selector | Reject:
    """Read a selector. Empty text is a selector too: it selects nobody."""
    # Characters first, so that nothing large is even encoded.
    if len(text) > SELECTOR_BYTES_MAX or len(text.encode(errors="surrogatepass")) > SELECTOR_BYTES_MAX:
        return Reject(Code.BAD_SELECTOR, f"more than {SELECTOR_BYTES_MAX} bytes")
    if not text.strip():
        return Selector(text, _NOBODY)
    if text.strip() == "*":
        return Reject(Code.BAD_SELECTOR, "write 'all' to select everyone")
    try:
        return Selector(text, _Parser(_tokens(text)).parse())
    except _UnreadableError as error:
        return Reject(Code.BAD_SELECTOR, str(error))


def narrows(selector: str, wide: str) -> bool:
    """Whether whoever `selector` selects is selected by `wide` too, as far as it can be read off the two.

    `role=firewall and segment=ot-1` narrows `segment=ot-*`. It never says a wrong yes; it says no to what would take
    a proof. Nobody (empty) narrows everything.
    """
    one, other = parse_selector(selector), parse_selector(wide)
    if isinstance(one, Reject) or isinstance(other, Reject):
        return False
    return _Narrowing().holds(one._root, other._root)


class _Narrowing:
    """Each pair of terms is looked at once, however they are nested."""

    def __init__(self) -> None:
        self._known: dict[tuple[_Term, _Term], bool] = {}

    def holds(self, term: _Term, wide: _Term) -> bool:
        known = self._known.get((term, wide))
        if known is None:
            known = self._known[term, wide] = self._judge(term, wide)
        return known

    def _judge(self, term: _Term, wide: _Term) -> bool:
        if term in (wide, _NOBODY) or wide == _EVERYONE:
            return True
        # Taken apart in this order nothing is lost: `a or b` is within a wide one if both are, and what is within
        # `x and y` is within both. After that one part is enough.
        if isinstance(term, _Any):
            return all(self.holds(part, wide) for part in term.terms)
        if isinstance(wide, _Every):
            return all(self.holds(term, part) for part in wide.terms)
        if isinstance(wide, _Any) and any(self.holds(term, part) for part in wide.terms):
            return True
        if isinstance(term, _Every):
            return any(self.holds(part, wide) for part in term.terms)
        if isinstance(term, _OneOf) and isinstance(wide, _OneOf):
            return term.name == wide.name and all(
                any(_value_narrows(value, other) for other in wide.values) for value in term.values
            )
        return isinstance(term, _Not) and isinstance(wide, _Not) and self.holds(wide.term, term.term)


def _value_narrows(value: _Value, wide: _Value) -> bool:
    """A literal is in what matches it; of two with stars only the same, and `x*` with what begins like it."""
    if value == wide:
        return True
    if len(value.pieces) == 1:
        return wide.matches(value.pieces[0])
    return len(wide.pieces) == 2 and not wide.pieces[1] and value.pieces[0].startswith(wide.pieces[0])
