"""An issuer at work: the tokens that it gave out, who joined with them, and what it answers."""

from relays.issuing.issuer import Issuer
from relays.issuing.register import KnownToken, Member, Register, TokenTerms, register_path

__all__ = ["Issuer", "KnownToken", "Member", "Register", "TokenTerms", "register_path"]
