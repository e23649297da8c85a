"""An issuer's register: its tokens, and the members that it vouched for. One SQLite file in its folder.

    tokens    id, secret, terms (JSON), uses, until_ms, issued_ms
    members   id, serial, CURVE key, signing key, credential, token, joined_ms, renewed_ms

Guarantees: a token is counted as used in the same commit that enters who used it, so two machines at once cannot both
have its last use; an id that was ever entered keeps its keys, also when its member is gone. Other processes may read
and add tokens while the issuer runs. Raises SPOOL_FAILED where the file cannot be used.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from fabric.files import open_database
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.trust.credentials import Credential, NodeKind
from fabric.protocol.vocabulary.tlp import Label

_BUSY_S = 5.0
_WITHDRAWN = -1  # in the place of the uses that are left
_SCHEMA = """
CREATE TABLE IF NOT EXISTS tokens (
    id BLOB PRIMARY KEY, secret BLOB NOT NULL, terms TEXT NOT NULL, uses INTEGER NOT NULL, until_ms INTEGER NOT NULL,
    issued_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS members (
    id TEXT PRIMARY KEY, serial INTEGER NOT NULL, curve_key BLOB NOT NULL UNIQUE, sign_key BLOB NOT NULL UNIQUE,
    credential BLOB NOT NULL, token BLOB NOT NULL, joined_ms INTEGER NOT NULL, renewed_ms INTEGER NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """What a newcomer becomes. `id` is empty where it may choose one, or the issuer does."""

    role: str
    segment: str
    organisation: str
    clearance: Label
    kind: NodeKind = NodeKind.POINT
    id: str = ""
    principal: str = ""  # empty: the id
    tags: tuple[tuple[str, str], ...] = ()
    life_ms: int = 30 * 86_400_000
    communities: tuple[str, ...] = ()
    client_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KnownToken:
    """A token that was given out; its `until_ms` is in ms since 1970."""

    id: bytes
    secret: bytes
    terms: TokenTerms
    uses_left: int
    until_ms: int
    withdrawn: bool


@dataclass(frozen=True, slots=True)
class Member:
    """Whom this issuer vouched for, with its newest credential; times are in ms since 1970."""

    id: str
    serial: int
    curve_key: bytes
    sign_key: bytes
    credential: bytes
    token: bytes
    joined_ms: int
    renewed_ms: int


def register_path(folder: Path) -> Path:
    """Where the register of the issuer in this identity's folder is."""
    return folder / "register.db"


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", _BUSY_S, isolation_level=None, check_same_thread=False, uri=True
    )


class Register:
    """Made on one thread and used on one other, never on two at a time."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        try:
            self._db = _read_only(path) if read_only else open_database(path, _BUSY_S, any_thread=True)
            if not read_only:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise FabricError(Code.SPOOL_FAILED, f"{path}: {error}") from error

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Register:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Cursor]:
        """One commit, or nothing. What waits for another process waits here."""
        with self._usable(), closing(self._db.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise FabricError(Code.SPOOL_FAILED, f"{self._path}: {error}") from error

    # -- tokens -------------------------------------------------------------------------------------------

    def add_token(self, id_: bytes, secret: bytes, terms: TokenTerms, uses: int, until_ms: int, now_ms: int) -> None:
        with self._writing() as cursor:
            cursor.execute(
                "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?)", (id_, secret, _terms_out(terms), uses, until_ms, now_ms)
            )

    def token(self, id_: bytes) -> KnownToken | None:
        return next(iter(self._tokens("WHERE id = ?", (id_,))), None)

    def tokens(self) -> list[KnownToken]:
        """The newest first; those that are over or used up too."""
        return self._tokens("ORDER BY issued_ms DESC, id", ())

    def _tokens(self, where: str, values: tuple[object, ...]) -> list[KnownToken]:
        with self._usable():
            rows = self._db.execute(f"SELECT id, secret, terms, uses, until_ms FROM tokens {where}", values)  # noqa: S608
            return [_token_in(row) for row in rows]

    def withdraw(self, id_: bytes) -> bool:
        """Nobody joins with it any more. False when there is no such token."""
        with self._writing() as cursor:
            return cursor.execute("UPDATE tokens SET uses = ? WHERE id = ?", (_WITHDRAWN, id_)).rowcount == 1

    # -- members ------------------------------------------------------------------------------------------

    def member(self, id_: str) -> Member | None:
        return next(iter(self._members("WHERE id = ?", (id_,))), None)

    def with_keys(self, curve_key: bytes, sign_key: bytes) -> list[Member]:
        """Whoever has one of these."""
        return self._members("WHERE curve_key = ? OR sign_key = ?", (curve_key, sign_key))

    def members(self) -> list[Member]:
        return self._members("ORDER BY id", ())

    def _members(self, where: str, values: tuple[object, ...]) -> list[Member]:
        with self._usable():
            return [Member(*row) for row in self._db.execute(f"SELECT * FROM members {where}", values)]  # noqa: S608

    def enter(self, credential: Credential, token: bytes, now_ms: int) -> Reject | None:
        """Enter a newcomer and take one use of the token; refused when another process had the last one meanwhile."""
        with self._writing() as cursor:
            taken = cursor.execute("UPDATE tokens SET uses = uses - 1 WHERE id = ? AND uses > 0", (token,)).rowcount
            if taken != 1:
                return Reject(Code.TOKEN_USED)
            cursor.execute(
                "INSERT INTO members VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (credential.id, credential.serial, credential.curve_key, credential.sign_key, credential.raw, token,
                 now_ms, now_ms),
            )
        return None

    def renewed(self, credential: Credential, now_ms: int) -> None:
        """Its newest credential; of a member that is not from here it is entered with no token."""
        with self._writing() as cursor:
            cursor.execute(
                "INSERT INTO members VALUES (?1, ?2, ?3, ?4, ?5, x'', ?6, ?6) ON CONFLICT (id) DO UPDATE "
                "SET serial = ?2, credential = ?5, renewed_ms = ?6 WHERE curve_key = ?3 AND sign_key = ?4",
                (credential.id, credential.serial, credential.curve_key, credential.sign_key, credential.raw, now_ms),
            )


def _terms_out(terms: TokenTerms) -> str:
    return json.dumps(asdict(terms) | {"clearance": int(terms.clearance), "kind": int(terms.kind)})


def _token_in(row: tuple[bytes, bytes, str, int, int]) -> KnownToken:
    id_, secret, text, uses, until_ms = row
    said = json.loads(text)
    said["clearance"], said["kind"] = Label(said["clearance"]), NodeKind(said["kind"])
    said["tags"] = tuple((name, value) for name, value in said["tags"])
    # A token of before says nothing of these.
    said["communities"], said["client_of"] = (tuple(said.get(name, ())) for name in ("communities", "client_of"))
    return KnownToken(id_, secret, TokenTerms(**said), max(0, uses), until_ms, uses == _WITHDRAWN)
