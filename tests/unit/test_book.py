"""What the book of an identity's actions keeps, for whom, and what goes first when it is full."""

import multiprocessing
import sqlite3
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.lifecycle import State
from fabric.spool import book as rooms
from fabric.spool.book import Book, Change, Entry, Word, read
from tests.support import T0, derive


def entry(name, key="", asked_ms=T0, until_ms=T0 + 1_000, envelope=b"envelope"):
    return Entry(0, derive(name), key, asked_ms, until_ms, envelope, b"credential")


def word(target="fw-1", state=State.COMPLETED, by="fw-1", at_ms=T0, **said):
    return Word(0, target, state, by, at_ms, at_ms, said)


def without_n(words):
    return [each._replace(n=0) for each in words]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "actions"


@pytest.fixture
def book(path):
    made = Book(path)
    yield made
    made.close()


@pytest.fixture
def other(book, path):
    """Of another process."""
    made = Book(path)
    yield made
    made.close()


def test_what_one_writes_another_reads_and_it_is_private(book, other, path):
    version = other.version()
    added = book.add(entry("a"), T0)
    book.record([Change(derive("a"), [word(result={"rule": 7}, label=2)], ("fw-1",), "hq", closed=True)], T0)
    assert other.version() != version
    found = other.by_id(derive("a"))
    assert found == added._replace(targets=("fw-1",), turned_at="hq", closed=True)
    assert without_n(other.words(found.n)) == [word(result={"rule": 7}, label=2)]
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}


def test_under_a_key_there_is_one_action(book, other):
    book.keep(b"s" * 16, is_kept=True)
    first = book.add(entry("a", "K"), T0)
    assert other.add(entry("b", "K"), T0) == first == other.by_key("K") and other.by_id(derive("b")) is None
    assert book.add(entry("c"), T0).id == derive("c") and book.add(entry("d"), T0).id == derive("d"), "without, many"


def test_an_action_with_a_key_is_added_only_while_its_results_are_kept(book, other):
    assert book.add(entry("a", "K"), T0) is None
    book.keep(b"s" * 16, is_kept=True)
    assert book.add(entry("a", "K"), T0) is not None
    assert not other.let_go(T0), "something is awaited"
    book.record([Change(derive("a"), closed=True)], T0)
    assert other.let_go(T0) and book.session() == (b"s" * 16, False)
    assert book.add(entry("b", "L"), T0) is None and book.add(entry("a", "K"), T0) is not None


def test_what_is_awaited_is_awaited_until_its_time_is_over(book):
    book.keep(b"s" * 16, is_kept=True)
    book.add(entry("a", "K", until_ms=T0 + 5), T0)
    book.add(entry("b", until_ms=T0 + 9), T0)
    assert book.awaited_until(T0) == T0 + 5 and book.awaited_until(T0 + 5) == 0
    assert [each.id for each in book.newest(9, awaited_at_ms=T0 + 5)] == [derive("b")]
    assert [each.id for each in book.newest(9)] == [derive("b"), derive("a")]
    assert [each.id for each in book.newest(1)] == [derive("b")]


def test_a_word_is_there_once_and_progress_in_place_of_earlier_progress(book):
    n = book.add(entry("a"), T0).n
    for at_ms in (T0, T0 + 1):
        running = word(state=State.RUNNING, at_ms=at_ms, progress=at_ms - T0)
        book.record([Change(derive("a"), [word(at_ms=at_ms, n=at_ms), running])], T0)
    completed, running = book.words(n)
    assert (completed.at_ms, completed.last_ms) == (T0, T0)
    assert (running.at_ms, running.last_ms, running.said) == (T0, T0 + 1, {"progress": 1})
    assert book.words(n, running.n, T0) == [running] and book.words(n, running.n, T0 + 1) == []
    assert book.words(n, completed.n, T0 + 1) == [running]


def test_what_was_learnt_first_of_an_action_stays(book):
    book.add(entry("a"), T0)
    book.record([Change(derive("a"), targets=("fw-1",), turned_at="hq", refused=403, why="x")], T0)
    book.record([Change(derive("a"), targets=(), turned_at="mid", refused=404, why="y", arrived=True)], T0)
    found = book.by_id(derive("a"))
    assert (found.targets, found.turned_at, found.arrived) == (("fw-1",), "hq", True)
    assert (found.refused, found.why) == (403, "x")


def test_what_is_of_no_action_is_left_out_and_the_rest_is_written(book):
    book.add(entry("a"), T0)
    assert book.record([Change(derive("x"), [word()]), Change(derive("a"), nobody=True)], T0) == 0
    assert book.by_id(derive("a")).nobody


def test_an_id_is_found_by_its_beginning(book):
    ids = [book.add(entry(str(n)), T0).id for n in range(20)]
    assert [each.id for each in book.beginning(ids[3].hex()[:40], 2)] == [ids[3]]
    assert len(book.beginning("", 2)) == 2 and book.beginning("%", 2) == [] == book.beginning("zz", 2)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(rooms, "ACTIONS_MAX", 4)
    monkeypatch.setattr(rooms, "BYTES_MAX", 10_000)


def ids(book):
    return {each.id for each in book.newest(99)}


def test_what_is_over_goes_first_and_of_that_what_has_no_key(book, small):
    book.keep(b"s" * 16, is_kept=True)
    book.add(entry("key", "K"), T0)
    for name in ("open", "done", "later"):
        book.add(entry(name), T0)
    book.record([Change(derive(name), closed=True) for name in ("key", "done", "later")], T0)
    for number, gone in enumerate(("done", "later", "key")):
        book.add(entry(f"new-{number}"), T0)
        assert derive(gone) not in ids(book) and len(ids(book)) == 4
    with pytest.raises(FabricError) as raised:
        book.add(entry("more"), T0)
    assert raised.value.code is Code.BUSY and derive("open") in ids(book)
    book.add(entry("more"), T0 + 1_000)  # by then all are over


def test_what_is_old_goes_with_its_words(book):
    n = book.add(entry("old", until_ms=T0), T0).n
    book.record([Change(derive("old"), [word()])], T0)
    book.add(entry("open", until_ms=T0 + 2 * rooms.KEEP_MS), T0)
    book.add(entry("new"), T0 + rooms.KEEP_MS + 1)
    assert ids(book) == {derive("open"), derive("new")} and book.words(n) == []


def test_what_handlers_returned_is_left_out_where_there_is_no_room_then_words(book, small):
    n = book.add(entry("a"), T0).n
    for number in range(200):
        book.record([Change(derive("a"), [word(f"fw-{number}", by=f"fw-{number}", result={"x": "y" * 500})])], T0)
    words = book.words(n)
    assert words[0].said == {"result": {"x": "y" * 500}} and words[-1].said == {"result": {}, "cut": True}
    assert book._bytes() < 2 * rooms.BYTES_MAX + 1_000 and len(words) < 200
    assert book.record([Change(derive("a"), [word("fw-x", by="fw-x")])], T0) == 1, "it says how many"


def test_room_for_words_is_made_by_what_is_over(book, small):
    book.add(entry("over", envelope=bytes(7_000)), T0)
    book.record([Change(derive("over"), closed=True)], T0)
    n = book.add(entry("a"), T0).n
    book.record([Change(derive("a"), [word(result={"x": "y" * 5_000})])], T0)
    assert ids(book) == {derive("a")} and book.words(n)[0].said["result"]


def test_a_target_that_returns_much_makes_no_key_forgotten(book, small):
    book.keep(b"s" * 16, is_kept=True)
    book.add(entry("first", "K"), T0)
    book.record([Change(derive("first"), [word(result={"x": "y" * 4_000}, code="E1")], closed=True)], T0)
    book.add(entry("second", "L"), T0)
    book.record([Change(derive("second"), [word(result={"x": "y" * 9_900})], closed=True)], T0)
    book.add(entry("third", envelope=bytes(3_000)), T0)
    n = book.by_key("K").n
    assert book.words(n)[0].said == {"result": {}, "code": "E1", "cut": True}
    assert book.by_key("L") is not None and book._bytes() <= rooms.BYTES_MAX
    sizes = book._db.execute("SELECT sum(length(said) + 192) FROM words").fetchone()[0]
    assert book._bytes() - sizes == sum(256 + len(each.envelope) + 10 + len(each.key) for each in book.newest(9))


def fails(call):
    with pytest.raises(FabricError) as raised:
        call()
    return raised.value.code is Code.BOOK_FAILED


def test_a_file_of_somebody_else_or_a_damaged_one_is_left_as_it_is(path, tmp_path):
    foreign = tmp_path / "foreign"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE t (x)")
    (tmp_path / "text").write_bytes(b"not a database, however long it is" * 100)
    (tmp_path / "folder").mkdir()
    for name in ("foreign", "text"):
        before = (tmp_path / name).read_bytes()
        assert fails(lambda name=name: Book(tmp_path / name)) and (tmp_path / name).read_bytes() == before
    assert fails(lambda: Book(tmp_path / "folder")) and fails(lambda: Book(tmp_path / "nowhere" / "actions"))
    assert read(path) is None and not path.exists()


def test_a_disk_that_is_full_changes_nothing(book):
    book.add(entry("a"), T0)
    book._db.execute(f"PRAGMA max_page_count = {book._db.execute('PRAGMA page_count').fetchone()[0]}")
    assert fails(lambda: book.add(entry("b", envelope=bytes(1 << 20)), T0)) and ids(book) == {derive("a")}
    book._db.execute("PRAGMA max_page_count = 100000")
    book.add(entry("b", envelope=bytes(1 << 20)), T0)


def test_one_that_is_locked_is_waited_for_and_then_given_up(book, path, monkeypatch):
    monkeypatch.setattr(rooms, "_BUSY_S", 0.05)
    impatient = Book(path)
    book._db.execute("BEGIN IMMEDIATE")
    assert fails(lambda: impatient.add(entry("a"), T0))
    book._db.execute("ROLLBACK")
    impatient.add(entry("a"), T0)
    impatient.close()


def _adds(path, number):
    made = Book(path)
    for n in range(20):
        made.add(entry(f"{number}-{n}"), T0)
        made.add(entry(f"{number}-key-{n}", f"K{n}"), T0)
    made.close()


def test_processes_that_write_at_once_lose_nothing(path):
    context = multiprocessing.get_context("fork")
    starter = Book(path)
    starter.keep(b"s" * 16, is_kept=True)
    starter.close()
    every = [context.Process(target=_adds, args=(path, number)) for number in range(3)]
    for process in every:
        process.start()
    for process in every:
        process.join(60)
    assert [process.exitcode for process in every] == [0, 0, 0]
    found = Book(path)
    entries = found.newest(999)
    assert len(entries) == 3 * 20 + 20 and len({each.key for each in entries if each.key}) == 20
    found.close()


class AgainstAModel(RuleBasedStateMachine):
    """Two connections write what they like; a dictionary says what must be there."""

    names = Bundle("names")

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.books = [Book(Path(self.folder.name) / "actions") for _ in range(2)]
        self.books[0].keep(b"s" * 16, is_kept=True)
        self.actions, self.keys, self.words = {}, {}, {}

    @rule(
        target=names, name=st.text("abc", min_size=1, max_size=2), key=st.sampled_from(["", "K", "L"]), by=st.booleans()
    )
    def add(self, name, key, by):
        if derive(name) in self.actions:
            return name
        found = self.books[by].add(entry(name, key), T0)
        if key in self.keys:
            assert found.id == self.keys[key]
        else:
            assert found.id == derive(name)
            self.actions[derive(name)] = (None, False)
            if key:
                self.keys[key] = found.id
        return name

    @rule(name=names, target_=st.sampled_from(["fw-1", "fw-2"]), state=st.sampled_from(list(State)[1:]),
          at=st.integers(0, 9), by=st.booleans())
    def say(self, name, target_, state, at, by):
        self.books[by].record([Change(derive(name), [word(target_, state, target_, T0 + at, at=at)])], T0)
        if derive(name) in self.actions:
            key = derive(name), target_, state
            first, _, _ = self.words.get(key, (T0 + at, 0, 0))
            if key not in self.words or state is State.RUNNING:
                self.words[key] = first, T0 + at, at

    @rule(
        name=names, selected=st.lists(st.sampled_from(["fw-1", "fw-2"]), unique=True), closed=st.booleans(),
        by=st.booleans(),
    )
    def learn(self, name, selected, closed, by):
        self.books[by].record([Change(derive(name), targets=tuple(selected), closed=closed)], T0)
        if derive(name) in self.actions:
            known, was_closed = self.actions[derive(name)]
            self.actions[derive(name)] = (tuple(selected) if known is None else known, was_closed or closed)

    @rule(number=st.sampled_from([0, 1]))
    def open_anew(self, number):
        self.books[number].close()
        self.books[number] = Book(self.books[number]._path)

    @invariant()
    def is_as_the_model_says(self):
        if not hasattr(self, "books"):
            return
        for book in self.books:
            entries = book.newest(99)
            assert {each.id: (each.targets, each.closed) for each in entries} == self.actions
            assert {each.key: each.id for each in entries if each.key} == self.keys
            said = {
                (each.id, said.target, said.state): (said.at_ms, said.last_ms, said.said["at"])
                for each in entries for said in book.words(each.n)
            }
            assert said == self.words

    def teardown(self):
        if hasattr(self, "books"):
            for book in self.books:
                book.close()
            self.folder.cleanup()


TestAgainstAModel = AgainstAModel.TestCase
TestAgainstAModel.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
