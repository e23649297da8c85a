"""An OpenC2 command that somebody wrote down: a document, or a message with one in it, as an action of this fabric.

Guarantees: a command that was read has an action, a target, arguments and a selector that are valid; one that is not is
refused with the path of every fault. Nothing in it is passed over: a name that OpenC2 1.0 does not have is a fault.

Who executes it: a selector is made of its actuator and of who its message is for, and both narrow it. The actuator
`{"slpf": {"hostname": "fw-1", "asset_id": "30"}}` is `profile=slpf and hostname=fw-1 and asset_id=30`: the name of its
profile, and each specifier, are compared with the node's id, segment, role, organisation and tags.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import SELECTOR_BYTES_MAX
from fabric.protocol.vocabulary.arguments import read_args
from fabric.protocol.vocabulary.openc2 import ActionSpec, is_action
from fabric.protocol.vocabulary.plain_json import Bounds, Faults, below, check_plain
from fabric.protocol.vocabulary.selectors import parse_selector
from fabric.protocol.vocabulary.targets import Target, read_target
from fabric.protocol.vocabulary.text_types import command_id

# Arguments and a target at their largest, and a selector's worth of actuator.
COMMAND_BYTES_MAX: Final = 65_536
_BOUNDS: Final = Bounds(COMMAND_BYTES_MAX, 4_096, 16)
_FIELDS: Final = ("action", "target", "args", "actuator", "command_id")
_HEADERS: Final = ("request_id", "created", "from", "to")
# Of a message: a command is under these.
_REQUEST: Final = ("body", "openc2", "request")


@dataclass(frozen=True, slots=True)
class Command:
    """`selector`: who is to execute it, as far as the command says; "" where it does not. `id` and `request_id`: what
    who wrote it calls it, and its message; a response is for the latter."""

    action: str
    target: Target
    args: Mapping[str, Any]
    selector: str = ""
    id: str = ""
    request_id: str = ""

    @property
    def spec(self) -> ActionSpec:
        return ActionSpec(self.action, self.target)


def read_command(document: object) -> Command | Reject:
    """`{"action", "target", "args", "actuator", "command_id"}`, or a message of the HTTPS transfer with that in it.

    Never raises, whatever it is given.
    """
    faults = Faults()
    if not check_plain(document, "", _BOUNDS, faults):
        return Reject(Code.BAD_ACTION, faults.detail)
    path, request_id = "", ""
    terms: list[str] = []
    if isinstance(document, dict) and ("body" in document or "headers" in document):
        terms, request_id = _headers(document.get("headers", {}), faults)
        for name in _REQUEST:
            _fields(document, path, ("headers", name) if name == "body" else (name,), faults)
            document, path = document.get(name) if isinstance(document, dict) else None, below(path, name)
    read = _command(document, path, terms, request_id, faults)
    return Reject(Code.BAD_ACTION, faults.detail) if faults or read is None else read


def _command(document: object, path: str, terms: list[str], request_id: str, faults: Faults) -> Command | None:
    if not isinstance(document, dict):
        faults.add(path, f"a map of {', '.join(_FIELDS)}")
        return None
    _fields(document, path, _FIELDS, faults)
    action = document.get("action")
    if not isinstance(action, str) or not is_action(action):
        faults.add(below(path, "action"), "the action is not known")
    target = read_target(document.get("target"), below(path, "target"), faults)
    known = isinstance(action, str) and target is not None
    args = document.get("args", {})
    read_args(args, below(path, "args"), faults, ActionSpec(action, target) if known else None)  # type: ignore[arg-type]
    if "args" in document and args == {}:
        faults.add(below(path, "args"), "one argument at least, or no args")
    if "actuator" in document:
        terms = [*_actuator(document["actuator"], below(path, "actuator"), faults), *terms]
    id_ = request_id  # where it has none of its own (3.3.1)
    if "command_id" in document:
        id_ = _id(document["command_id"], below(path, "command_id"), faults)
    selector = " and ".join(terms)
    if not faults and selector:
        problem = parse_selector(selector)
        if isinstance(problem, Reject):
            faults.add(below(path, "actuator"), f"a selector made of it would be {problem.detail}")
    return None if faults else Command(action, target, args, selector, id_, request_id)  # type: ignore[arg-type]


def both(to: str, selector: str) -> str:
    """The selector of those whom both select. A `to` that cannot be read, or selects nobody, stays what it is: in
    brackets it could come to mean something else."""
    read = parse_selector(to)
    if isinstance(read, Reject) or read.selects_nobody or not selector:
        return to
    return f"({to}) and {selector}"


def _fields(document: object, path: str, known: tuple[str, ...], faults: Faults) -> None:
    if not isinstance(document, dict):
        return
    for name in document:
        if name not in known:
            faults.add(below(path, name), f"not one of {', '.join(known)}")


def _id(value: object, path: str, faults: Faults) -> str:
    read = command_id(value) if isinstance(value, str) else None
    if read is None:
        faults.add(path, "an id of 1 to 36 characters, without spaces")
    return read or ""


def _headers(headers: object, faults: Faults) -> tuple[list[str], str]:
    """What they say of who is to execute it; and the message's id."""
    if not isinstance(headers, dict):
        faults.add("headers", f"a map of {', '.join(_HEADERS)}")
        return [], ""
    _fields(headers, "headers", _HEADERS, faults)
    created = headers.get("created", 0)
    if not isinstance(created, int) or isinstance(created, bool) or created < 0:
        faults.add("headers.created", "milliseconds since 1970")
    # Who asks is who signs the action; the word of a document counts for nothing beside that.
    if not isinstance(headers.get("from", ""), str):
        faults.add("headers.from", "text")
    id_ = _id(headers["request_id"], "headers.request_id", faults) if "request_id" in headers else ""
    if "to" not in headers:
        return [], id_
    named = headers["to"]
    quoted = [_quoted(each) for each in named] if isinstance(named, list) else []
    if not quoted or not all(quoted):
        faults.add("headers.to", "a list of ids")
        return [], id_
    return [f"id in ({', '.join(filter(None, quoted))})"], id_


# -- actuators ---------------------------------------------------------------------------------------------------

_NAME: Final = re.compile(r"[A-Za-z0-9_.:+-]{1,64}")
_KEYWORDS: Final = ("and", "or", "not", "in", "all")


def _actuator(actuator: object, path: str, faults: Faults) -> list[str]:
    """One term for the profile, and one for each specifier."""
    if not isinstance(actuator, dict) or len(actuator) != 1:
        faults.add(path, 'one profile and its specifiers, e.g. {"slpf": {"hostname": "fw-1"}}')
        return []
    ((profile, specifiers),) = actuator.items()
    path = below(path, profile)
    if not 1 <= len(profile) <= 16 or _NAME.fullmatch(profile) is None:
        faults.add(path, "a profile's name has 1 to 16 letters, digits, - and _")
        return []
    if not isinstance(specifiers, dict):
        faults.add(path, "a map of specifiers")
        return []
    terms = [f"profile={_quoted(profile)}"]
    for name, value in specifiers.items():
        value = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        quoted = _quoted(value)
        if _NAME.fullmatch(name) is None or name.lower() in _KEYWORDS:
            faults.add(below(path, name), "a selector cannot compare what has this name")
        elif quoted is None:
            faults.add(below(path, name), f"text of up to {SELECTOR_BYTES_MAX} bytes, without one kind of quotes")
        else:
            terms.append(f"{name}={quoted}")
    return terms


def _quoted(value: object) -> str | None:
    """As a selector's value that is taken literally; None for what cannot be one."""
    if not isinstance(value, str) or not value or not value.isprintable() or len(value) > SELECTOR_BYTES_MAX:
        return None
    if _NAME.fullmatch(value) is not None and value.lower() not in _KEYWORDS:
        return value
    return next((f"{mark}{value}{mark}" for mark in "'\"" if mark not in value), None)
