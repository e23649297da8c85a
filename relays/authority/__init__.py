"""The key that a fabric believes, and what it makes: identities, issuers, revocation lists, the directory of relays."""

from relays.authority.delegating import Delegation, delegate
from relays.authority.directories import directory_path
from relays.authority.identities import make_identities
from relays.authority.keeping import Authority, back_up, init_authority, open_authority, restore_authority
from relays.authority.lists import keep_list, reasons, revoke

__all__ = [
    "Authority", "Delegation", "back_up", "delegate", "directory_path", "init_authority", "keep_list",
    "make_identities", "open_authority", "reasons", "restore_authority", "revoke",
]
