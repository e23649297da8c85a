"""The key that a fabric trusts, and what it signs: identities, issuers, revocation lists, policies, the directory."""

from relays.authority.delegating import Delegation, delegate
from relays.authority.directories import directory_path
from relays.authority.identities import make_identities, make_only
from relays.authority.keeping import (
    Authority,
    authorities,
    back_up,
    init_authority,
    new_authority,
    open_authority,
    restore_authority,
)
from relays.authority.lists import allow_from, keep_list, reasons, revoke
from relays.authority.policies import are_in_step, keep_policies, read_policies
from relays.authority.strays import barred, barred_words, check_strays, keep_ids, kept_ids, stray_words, strays

__all__ = [
    "Authority", "Delegation", "allow_from", "are_in_step", "authorities", "back_up", "barred", "barred_words",
    "check_strays", "delegate", "directory_path", "init_authority", "keep_ids", "keep_list", "keep_policies",
    "kept_ids", "make_identities", "make_only", "new_authority", "open_authority", "read_policies", "reasons",
    "restore_authority", "revoke", "stray_words", "strays",
]
