"""Traffic Light Protocol 2.0: labels, their spellings, and the one function that decides who may hold what.

Guarantees: whatever is not understood counts as RED; nobody holds anything above their clearance; what
is above CLEAR is held only by those whom its signed audience reaches, so an empty audience means nobody.
Refuses to judge by the hop a message came from: only the signed label and audience and the holder's own
credential count.

"Label" always means TLP here. What selectors match are tags.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final, Protocol


class Label(IntEnum):
    """FIRST TLP 2.0. The numbers are the wire's, and their order is the order of restriction."""

    CLEAR = 0
    GREEN = 1
    AMBER = 2
    AMBER_STRICT = 3
    RED = 4

    @property
    def spelling(self) -> str:
        """As TLP 2.0 writes it: `TLP:AMBER+STRICT`."""
        return f"TLP:{self.short.upper()}"

    @property
    def short(self) -> str:
        """As topology files and STIX's `tlp_2_0` write it: `amber+strict`."""
        return _SHORT[self]


_SHORT: Final = {
    Label.CLEAR: "clear",
    Label.GREEN: "green",
    Label.AMBER: "amber",
    Label.AMBER_STRICT: "amber+strict",
    Label.RED: "red",
}

# The words of a label in lower case, without what joins them and without `tlp` before them.
_SPELLINGS: Final[Mapping[tuple[str, ...], Label]] = {
    ("clear",): Label.CLEAR,
    ("white",): Label.CLEAR,  # TLP 1
    ("green",): Label.GREEN,
    ("amber",): Label.AMBER,
    ("amber", "strict"): Label.AMBER_STRICT,
    ("amber", "and", "strict"): Label.AMBER_STRICT,  # CycloneDX
    ("red",): Label.RED,
}
# People and products join them by any of these, with spaces or without: `TLP: AMBER + STRICT`, `tlp_amber-strict`.
_JOINS: Final = re.compile(r"[\s:+_-]+")
# What a label is put into: `[TLP:AMBER]`, `"amber"`.
_AROUND: Final = "[](){}\"' \t"

# STIX 2.1 marking definitions: TLP 2.0, then TLP 1.
_MARKINGS: Final[Mapping[str, Label]] = {
    "94868c89-83c2-464b-929b-a1a8aa3c8487": Label.CLEAR,
    "bab4a63c-aed9-4cf5-a766-dfca5abac2bb": Label.GREEN,
    "55d920b0-5e8b-4f79-9ee9-91f868d9b421": Label.AMBER,
    "939a9414-2ddd-4d32-a0cd-375ea402b003": Label.AMBER_STRICT,
    "e828b379-4e03-4974-9ac4-e53a884c97c1": Label.RED,
    "613f2e26-407d-48c7-9eca-b8e91df99dc9": Label.CLEAR,
    "34098fce-860f-48ae-8e50-ebd3cc5e41da": Label.GREEN,
    "f88d31f6-486f-44da-b317-01333bde0b82": Label.AMBER,
    "5e57c739-391a-4eb3-b6be-7d15ca92d5ed": Label.RED,
}
_MARKING_PREFIX: Final = "marking-definition--"
# The longest spelling is a marking id of 56 characters; more cannot be a label and is not even lowered.
_TEXT_MAX: Final = 64


def parse_label(text: str) -> Label | None:
    """Read any known spelling, in any case: `TLP:AMBER+STRICT`, `TLP: Amber + Strict`, `white`, a STIX marking id.

    None when it is no label at all. The caller decides what that means: a topology's default for input
    without a label, RED for something that says it is a label and is not one of these.
    """
    return _label_of(text) if len(text) <= _TEXT_MAX else None


@lru_cache(maxsize=256)  # a program names the same few with each record
def _label_of(text: str) -> Label | None:
    word = text.strip().strip(_AROUND).lower()
    words = tuple(_JOINS.split(word))
    label = _SPELLINGS.get(words[1:] if words[0] == "tlp" else words)
    return _MARKINGS.get(word.removeprefix(_MARKING_PREFIX)) if label is None else label


def label_from_wire(n: object) -> Label:
    """The label with this number. A number from the future, or no number at all, counts as RED."""
    if isinstance(n, int) and not isinstance(n, bool):
        return _LABELS.get(n, Label.RED)
    return Label.RED


_LABELS: Final = {int(label): label for label in Label}


def most_restrictive(*labels: Label) -> Label:
    """The highest of them. Of none it is RED: what nobody labelled must not become public by arithmetic."""
    return max(labels, default=Label.RED)


@dataclass(frozen=True, slots=True)
class Audience:
    """Who the origin signed the message for. Names of organisations and communities, ids of recipients.

    Recipients narrow RED and nothing else.
    """

    organisations: tuple[str, ...] = ()
    communities: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()

    def signed_by(self, organisation: str, id_: str) -> Audience:
        """What an origin signs: it names its own organisation, and itself among recipients where there are any.

        So what relays have to tell it of its own message (SPEC 7.9) may come back to it.
        """
        return Audience(
            tuple(dict.fromkeys((organisation, *self.organisations))), self.communities,
            tuple(dict.fromkeys((id_, *self.recipients))) if self.recipients else (),
        )


class Holder(Protocol):
    """What is judged of a node: a verified credential fits. A relay is a holder like any other."""

    @property
    def id(self) -> str: ...

    @property
    def organisation(self) -> str: ...

    @property
    def communities(self) -> tuple[str, ...]: ...

    @property
    def client_of(self) -> tuple[str, ...]: ...

    @property
    def clearance(self) -> Label: ...

    @property
    def is_relay(self) -> bool: ...

    @property
    def carries_sealed(self) -> bool: ...


def may_hold(holder: Holder, label: Label, audience: Audience) -> bool:
    """Whether this node may have content with this label and audience in its hands at all (SPEC 4.2).

    The same answer guards every place where content could leak: sends, spool, logs, metrics, console, errors.

    | label | who, up to its clearance |
    |---|---|
    | CLEAR | anyone |
    | GREEN | as AMBER, and who is in a community that the audience names |
    | AMBER | the organisations that the audience names, and their direct clients |
    | AMBER+STRICT | the organisations that the audience names |
    | RED | the same, and where the audience names recipients, only those |

    Who may hold something may hold everything with a lower label and the same audience. A client's clients are not
    clients: only what the holder's own credential says counts. A relay is a holder like any other, so it has RED for
    recipients only where it is one of them; what is sealed it may carry as well (`may_carry`).
    """
    if label > holder.clearance:
        return False
    if label == Label.CLEAR:
        return True
    # An empty name is a missing one, and must not meet another missing one.
    if holder.organisation and holder.organisation in audience.organisations:
        return label < Label.RED or not audience.recipients or holder.id in audience.recipients
    if label <= Label.AMBER and _share_a_name(holder.client_of, audience.organisations):
        return True
    return label <= Label.GREEN and _share_a_name(holder.communities, audience.communities)


def may_carry(holder: Holder, audience: Audience) -> bool:
    """Whether this node may pass on what is sealed to the recipients of this audience, and cannot be read on the way.

    Relays do: those of an organisation that the audience names, where they are cleared for RED, and those of which
    their credential says that they carry what is sealed, whoever it is for.
    """
    if not holder.is_relay or not audience.recipients:
        return False
    return holder.carries_sealed or (
        holder.clearance == Label.RED and bool(holder.organisation) and holder.organisation in audience.organisations
    )


def _share_a_name(names: tuple[str, ...], others: tuple[str, ...]) -> bool:
    return any(name and name in others for name in names)
