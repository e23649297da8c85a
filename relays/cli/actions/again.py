"""An action that was asked for before under the same key: what is over is told from the book, without a relay."""

from __future__ import annotations

from typing import Any

from fabric.edge.face import as_identity
from fabric.edge.publishing.options import action_stamp
from fabric.edge.requesting.account import Account
from fabric.edge.requesting.accounts import account_under
from fabric.edge.requesting.request import request_arguments, to_key
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.lifecycle import State
from relays.cli.actions.asked import Asked


def told_before(
    identity: str, key: str | None, asked: Asked, **options: Any
) -> Account | None:
    """What is known of it. Raises what its relay, or the selection, said of it then; KEY_TAKEN where the key is another
    action's, and BOOK_FAILED."""
    if key is None:
        return None
    me = as_identity(identity)
    spec, record = request_arguments(asked.action, asked.target, asked.to, asked.args, asked.command_id)
    account = account_under(me.folder, to_key(key), action_stamp(spec, asked.to, me.defaults, **options), record)
    if account is None:
        return None
    if account.nobody:
        raise FabricError(Code.NOBODY, asked.to)
    if account.refused is not None:
        raise FabricError(account.refused, "when it was asked for first", "ask under another key")
    return account


def is_over(account: Account) -> bool:
    """Whether nothing more is awaited. What nobody knows, somebody may say by now."""
    return not account.is_open and State.UNKNOWN not in account.states.values()


def ends_s(account: Account) -> float:
    """Until when it may be executed, or is held: seconds since 1970, by this machine's clock."""
    if account.approval is not None:
        return account.approval.until_ms / 1000
    return (account.asked_ms + account.ttl_ms) / 1000
