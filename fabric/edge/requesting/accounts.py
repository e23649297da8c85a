"""The book of an identity as programs read it: what was asked for, and what became of it. Nobody is asked for it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from fabric.edge.publishing.drafts import Stamp
from fabric.edge.requesting.account import Account, account_of, lasts_ms
from fabric.edge.requesting.recorder import check_same
from fabric.protocol.base.errors import Code, FabricError
from fabric.spool.book import ACTIONS_MAX, NAME, read

_DIGITS = re.compile(r"[0-9a-fA-F]{1,64}")


def read_accounts(folder: Path, *, open_only: bool = False, count: int = ACTIONS_MAX) -> list[Account]:
    """Of the identity in this folder, the newest first. Raises BOOK_FAILED."""
    book = read(folder / NAME)
    if book is None:
        return []
    now_ms = _now_ms()
    with closing(book):
        entries = book.newest(count, awaited_at_ms=now_ms if open_only else None)
        found = [account_of(entry, book.words(entry.n), now_ms) for entry in entries]
    return [account for account in found if account.is_open or not open_only]


def read_lasting(folder: Path) -> list[Account]:
    """Those whose effects end by themselves, the newest first. Raises BOOK_FAILED."""
    book = read(folder / NAME)
    if book is None:
        return []
    now_ms = _now_ms()
    with closing(book):
        entries = [entry for entry in book.newest(ACTIONS_MAX) if lasts_ms(entry.envelope)]
        return [account_of(entry, book.words(entry.n), now_ms) for entry in entries]


def find_account(folder: Path, id_: str) -> Account:
    """The one whose id begins so. Raises NO_ACTION, BOOK_FAILED."""
    next_step = f"see which there are: fabric actions --as {folder.name}"
    book = read(folder / NAME) if _DIGITS.fullmatch(id_) else None
    if book is None:
        raise FabricError(Code.NO_ACTION, id_, next_step)
    with closing(book):
        found = book.beginning(id_, 2)
        if len(found) != 1:
            raise FabricError(Code.NO_ACTION, f"{id_} is the beginning of several" if found else id_, next_step)
        return account_of(found[0], book.words(found[0].n), _now_ms())


def account_under(folder: Path, key: str, stamp: Stamp, record: Mapping[str, Any]) -> Account | None:
    """What was asked for under this key. Raises KEY_TAKEN where that is something else, BOOK_FAILED."""
    book = read(folder / NAME)
    if book is None:
        return None
    with closing(book):
        entry = book.by_key(key)
        if entry is None:
            return None
        check_same(entry.envelope, stamp, record)
        return account_of(entry, book.words(entry.n), _now_ms())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
