"""Every name that a topology file uses, against what it declares: roles, points, approvals, asserts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fabric.protocol.base.errors import FabricError
from fabric.protocol.base.limits import CREDENTIAL_BYTES_MAX
from fabric.protocol.envelope.lifetime import format_duration, parse_duration
from fabric.protocol.vocabulary.openc2 import ACTIONS, is_extension
from fabric.protocol.vocabulary.tlp import parse_label
from relays.topology.claims import BadClaim, parse_claim
from relays.topology.problems import Problem
from relays.topology.rulebook import Raw, Rulebook, as_list, strings
from relays.topology.toml_lines import dotted
from relays.wording import shown

# What is left of a credential for the texts of its grants and tags, with room for keys, names and signature.
CREDENTIAL_TEXT_BYTES_MAX: Final = CREDENTIAL_BYTES_MAX - 1_536
# What an `[[assert]]` says of its flow.
CLAIM_WORDS: Final = ("never", "must")


def default_name(index: int) -> str:
    """Of an `[[approval]]` that names itself not."""
    return f"approval-{index + 1}"


class UseRules(Rulebook):
    """The rules of names that are used: roles, relays, backups, approvers, asserts."""

    def run(self) -> list[Problem]:
        self._clients()
        self._roles_use()
        self._points_use()
        self._approvals()
        self._asserts()
        return self.problems

    def _clients(self) -> None:
        """Nobody is a client of its own organisation: that would be everybody of it."""
        own = self.raw.get("organisation") or self.raw.get("fabric")
        named: list[tuple[str, object, Raw]] = [
            (f"organisations.{name}", name, table) for name, table in self.organisations.items()
        ]
        for section, tables in (("relays", self.relays), ("points", self.points)):
            named += [(f"{section}.{name}", table.get("organisation") or own, table) for name, table in tables.items()]
        for key, organisation, table in named:
            if organisation in strings(table.get("client_of")):
                self._add(
                    f"{key}.client_of", f"'{organisation}' is no client of its own",
                    "name those whose client it is, and leave it out",
                )

    def _roles_use(self) -> None:
        for role, table in self.roles.items():
            for index, grant in enumerate(as_list(table.get("request"))):
                scope = grant.get("scope") if isinstance(grant, Mapping) else None
                if isinstance(scope, str) and scope and scope not in self.relays:
                    key = f"roles.{role}.request.{index}.scope"
                    self._add(key, f"there is no relay {shown(scope)}", self._known(scope, self.relays))
            for index, grant in enumerate(as_list(table.get("declassify"))):
                if isinstance(grant, Mapping):
                    self._lowers(f"roles.{role}.declassify.{index}", grant)

    def _lowers(self, key: str, grant: Raw) -> None:
        """A declassify grant lowers something, or it is none."""
        highest, lowest = (
            parse_label(text) if isinstance(text, str) else None for text in (grant.get("from"), grant.get("to"))
        )
        if highest is not None and lowest is not None and lowest >= highest:
            self._add(
                f"{key}.to", f"{lowest.short} is not below {highest.short}",
                "write `from`, the highest label that may be lowered, above `to`, the lowest that it may become",
            )

    def _points_use(self) -> None:
        for point, table in self.points.items():
            role, relay = table.get("role"), table.get("relay")
            if isinstance(role, str) and role not in self.roles:
                self._add(
                    f"points.{point}.role", f"there is no role {shown(role)}", self._known(role, self.roles)
                )
            if isinstance(relay, str) and relay not in self.relays:
                self._add(
                    f"points.{point}.relay",
                    f"there is no relay {shown(relay)}",
                    self._known(relay, self.relays),
                )
            if table.get("backups") and relay is None:
                self._add(
                    f"points.{point}.backups",
                    f"'{point}' names no relay that they could back up",
                    "name the relay it prefers first",
                )
            self._backups_of("points", point, "relay")
            grants = self.roles.get(role, {}) if isinstance(role, str) else {}
            if _text_bytes(grants) + _text_bytes(table.get("tags")) > CREDENTIAL_TEXT_BYTES_MAX:
                self._add(
                    f"points.{point}",
                    f"the grants of role '{role}' and the tags do not fit into one credential",
                    "write fewer or wider grants, or split the role",
                )

    def _approvals(self) -> None:
        names: dict[str, str] = {}
        for index, table in enumerate(as_list(self.raw.get("approval"))):
            if isinstance(table, Mapping):
                self._approval(index, table, names)
        classes = self.raw.get("classes")
        for verb in classes if isinstance(classes, Mapping) else ():
            if not is_extension(verb):
                self._add(
                    dotted(("classes", verb)),
                    f"{shown(verb)} has a class of its own" if verb in ACTIONS else f"{shown(verb)} is no x- verb",
                    'write verbs of your own only, e.g. x-isolate = "contain"',
                )

    def _approval(self, index: int, table: Raw, names: dict[str, str]) -> None:
        key = f"approval.{index}"
        when, require, later = table.get("when"), table.get("require"), table.get("escalate")
        name = table.get("name") or default_name(index)
        if isinstance(name, str) and name in names:
            self._add(f"{key}.name", f"'{name}' is the name of {names[name]} too", "give each a name of its own")
        elif isinstance(name, str):
            names[name] = key
        if isinstance(when, Mapping) and not (when.get("class") or when.get("action")):
            self._add(f"{key}.when", "it names no class and no action", 'write when = { class = "contain" }')
        self._roles_named(f"{key}.from", table.get("from"))
        if isinstance(later, Mapping):
            self._roles_named(f"{key}.escalate.from", later.get("from"))
            self._after(key, table, later)
        if not isinstance(require, int) or isinstance(require, bool) or require < 0:
            return
        if require == 0 and (table.get("from") or later is not None):
            self._add(
                f"{key}.require", "0 asks nobody, and the table names who is to be asked",
                "write require = 1, or remove `from` and `escalate` where the grant alone is to decide",
            )
        elif require > 0 and not table.get("from"):
            self._add(key, "nobody is named who could approve", 'write from = ["ot-lead"], with roles of [roles]')

    def _roles_named(self, key: str, roles: object) -> None:
        seen: set[str] = set()
        for place, role in enumerate(strings(roles)):
            if role not in self.roles:
                self._add(f"{key}.{place}", f"there is no role {shown(role)}", self._known(role, self.roles))
            elif role in seen:
                self._add(f"{key}.{place}", f"'{role}' is named twice", "name each role once")
            seen.add(role)

    def _after(self, key: str, table: Raw, later: Raw) -> None:
        """An escalation when the hold is over would come too late."""
        try:
            after_ms = parse_duration(str(later.get("after")))
            within_ms = parse_duration(str(table.get("within", "10m")))
        except FabricError:
            return
        if after_ms >= within_ms:
            self._add(
                f"{key}.escalate.after", f"the action is held for {format_duration(within_ms)} only",
                "write less than `within`, or make that longer",
            )

    def _asserts(self) -> None:
        known = [*self.relays, *self.points]
        for index, table in enumerate(as_list(self.raw.get("assert"))):
            if not isinstance(table, Mapping):
                continue
            words = [word for word in CLAIM_WORDS if word in table]
            if len(words) != 1:
                self._add(
                    f"assert.{index}",
                    "it claims two things" if words else "it claims nothing",
                    "write a table [[assert]] for each" if words
                    else 'write never = "amber from ot-1 reaches dmz", or must = "green from ot-1 reaches hq"',
                )
            for word in words:
                self._claim(f"assert.{index}.{word}", word, table[word], known)

    def _claim(self, key: str, word: str, text: object, known: list[str]) -> None:
        if not isinstance(text, str):
            return
        claim = parse_claim(text, word)
        if isinstance(claim, BadClaim):
            self._add(key, claim.cause, claim.write, code=claim.code)
            return
        for name in (claim.source, claim.target):
            if name not in known:
                self._add(key, f"there is no relay or point {shown(name)}", self._known(name, known))


def publish_patterns(role: Raw) -> list[str] | None:
    """Of its publish grants. None where one cannot be read: then it is reported itself, and nothing follows from it."""
    grants = role.get("publish", [])
    patterns = [g.get("topic") if isinstance(g, Mapping) else g for g in as_list(grants)]
    texts = [pattern for pattern in patterns if isinstance(pattern, str)]
    return texts if isinstance(grants, list) and len(texts) == len(patterns) else None


def _text_bytes(value: object) -> int:
    """What the texts of a table take at most in a credential, with a few bytes around each."""
    if isinstance(value, Mapping):
        return sum(_text_bytes(v) + (len(k) if isinstance(v, str) else 0) for k, v in value.items())
    if isinstance(value, list):
        return sum(_text_bytes(item) for item in value)
    return len(value.encode()) + 8 if isinstance(value, str) else 8
