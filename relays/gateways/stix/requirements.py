"""What an object of STIX cannot be without: STIX 2.1, parts 3 to 7, and STIX 2.0 for objects that do not say 2.1.

Guarantees: what is left of an object when fields were taken out of it is one that the standard allows, or it is not
whole. Whether a value has the form that the standard gives it is not looked at: that is as it came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

# Of each group one has to be there.
_Groups = tuple[tuple[str, ...], ...]


def _all(names: str) -> _Groups:
    return tuple((name,) for name in names.split())


_COMMON: Final = _all("created modified")
_REQUIRED: Final[Mapping[str, _Groups]] = {
    **dict.fromkeys((
        "attack-pattern", "campaign", "course-of-action", "identity", "incident", "infrastructure", "intrusion-set",
        "threat-actor", "tool", "vulnerability",
    ), (*_COMMON, ("name",))),
    "grouping": (*_COMMON, *_all("context object_refs")),
    "indicator": (*_COMMON, *_all("pattern pattern_type valid_from")),
    "location": (*_COMMON, ("region", "country", "latitude")),
    "malware": (*_COMMON, ("is_family",)),
    "malware-analysis": (*_COMMON, ("product",), ("result", "analysis_sco_refs")),
    "note": (*_COMMON, *_all("content object_refs")),
    "observed-data": (*_COMMON, *_all("first_observed last_observed number_observed"), ("object_refs", "objects")),
    "opinion": (*_COMMON, *_all("opinion object_refs")),
    "report": (*_COMMON, *_all("name published object_refs")),
    "relationship": (*_COMMON, *_all("relationship_type source_ref target_ref")),
    "sighting": (*_COMMON, ("sighting_of_ref",)),
    "language-content": (*_COMMON, *_all("object_ref contents")),
    "extension-definition": (*_COMMON, *_all("created_by_ref name schema version extension_types")),
    "marking-definition": (("created",), ("definition", "extensions")),
    "artifact": (("payload_bin", "url"),),
    "autonomous-system": _all("number"),
    "directory": _all("path"),
    **dict.fromkeys(("domain-name", "email-addr", "ipv4-addr", "ipv6-addr", "mac-addr", "url"), _all("value")),
    "email-message": _all("is_multipart"),
    "file": (("hashes", "name"),),
    **dict.fromkeys(("mutex", "software"), _all("name")),
    "network-traffic": (("protocols",), ("src_ref", "dst_ref")),
    "process": ((
        "is_hidden", "pid", "created_time", "cwd", "command_line", "environment_variables", "opened_connection_refs",
        "creator_user_ref", "image_ref", "parent_ref", "child_refs", "extensions",
    ),),
    "user-account": ((
        "user_id", "credential", "account_login", "account_type", "display_name", "is_service_account", "is_privileged",
        "can_escalate_privs", "is_disabled", "account_created", "account_expires", "credential_last_changed",
        "account_first_login", "account_last_login", "extensions",
    ),),
    "windows-registry-key": (("key", "values", "modified_time", "creator_user_ref", "number_of_subkeys"),),
    "x509-certificate": ((
        "is_self_signed", "hashes", "version", "serial_number", "signature_algorithm", "issuer", "validity_not_before",
        "validity_not_after", "subject", "subject_public_key_algorithm", "subject_public_key_modulus",
        "subject_public_key_exponent", "x509_v3_extensions",
    ),),
}
_REQUIRED_2_0: Final[Mapping[str, _Groups]] = {
    **_REQUIRED,
    **dict.fromkeys(("malware", "threat-actor", "tool"), (*_COMMON, *_all("name labels"))),
    "identity": (*_COMMON, *_all("name identity_class")),
    "indicator": (*_COMMON, *_all("labels pattern valid_from")),
    "observed-data": (*_COMMON, *_all("first_observed last_observed number_observed objects")),
    "report": (*_COMMON, *_all("labels name published object_refs")),
}
# What is nothing without others.
_WITH: Final[Mapping[str, Mapping[str, str]]] = {
    "location": {"longitude": "latitude", "latitude": "longitude", "precision": "latitude"},
    "artifact": {"url": "hashes", "decryption_key": "encryption_algorithm"},
    "marking-definition": {"definition": "definition_type", "definition_type": "definition"},
}
# Of the elements of lists, and of extensions by their name.
_ELEMENTS: Final[Mapping[str, _Groups]] = {
    "external_references": (("source_name",), ("description", "url", "external_id")),
    "kill_chain_phases": _all("kill_chain_name phase_name"),
    "body_multipart": (("body", "body_raw_ref"),),
    "sections": _all("name"),
    "alternate_data_streams": _all("name"),
}
_EXTENSIONS: Final[Mapping[str, _Groups]] = {
    "archive-ext": _all("contains_refs"), "windows-pebinary-ext": _all("pe_type"), "socket-ext": _all("address_family"),
    "http-request-ext": _all("request_method request_value"), "icmp-ext": _all("icmp_type_hex icmp_code_hex"),
}
_OWN_EXTENSION: Final = "extension-definition--"


def is_whole(each: Mapping[str, Any]) -> bool:
    """Whether an object has what its type has to have; of a type that is not the standard's, its type and id."""
    table = _REQUIRED if "spec_version" in each or "created" not in each else _REQUIRED_2_0
    if each.get("type") == "malware" and each.get("is_family") is True and "name" not in each:
        return False  # a family has a name
    return _has(each, (("type",), ("id",), *table.get(str(each.get("type")), ())))


def mended(each: Mapping[str, Any]) -> dict[str, Any]:
    """An object out of which fields were taken, without what cannot be without these: elements of lists, extensions,
    one half of a pair, and what has nothing in it."""
    kept = {name: value for name, item in each.items() if (value := _mended(name, item)) is not None}
    while True:  # what goes may take more along
        gone = [
            name for name, other in _WITH.get(str(each.get("type")), {}).items() if name in kept and other not in kept
        ]
        if not gone:
            return kept
        for name in gone:
            del kept[name]


def without(each: dict[str, Any], is_gone: Callable[[str], bool]) -> dict[str, Any]:
    """The object without references to what is gone: each `..._ref`, and each of `..._refs`, wherever they are. Itself
    where there are none."""
    return each if not _refers(each, is_gone) else {
        name: value for name, item in each.items() if (value := _without(name, item, is_gone)) is not None
    }


def _has(each: Any, groups: _Groups) -> bool:
    return isinstance(each, Mapping) and all(any(name in each for name in group) for group in groups)


def _mended(name: str, value: Any) -> Any:
    """None for what goes."""
    if isinstance(value, dict):
        inner = {key: item for key, old in value.items() if (item := _mended(key, old)) is not None}
        if name == "extensions":
            inner = {key: item for key, item in inner.items() if _has(item, _of_extension(key))}
        return inner or None
    if isinstance(value, list):
        items = [item for old in value if (item := _mended("", old)) is not None]
        return [item for item in items if _has(item, _ELEMENTS[name])] or None if name in _ELEMENTS else items or None
    return value


def _of_extension(name: str) -> _Groups:
    return _all("extension_type") if name.startswith(_OWN_EXTENSION) else _EXTENSIONS.get(name, ())


def _refers(value: Any, is_gone: Callable[[str], bool], is_ref: bool = False) -> bool:
    if isinstance(value, dict):
        return any(_refers(item, is_gone, name.endswith(("_ref", "_refs"))) for name, item in value.items())
    if isinstance(value, list):
        return any(_refers(item, is_gone, is_ref) for item in value)
    return is_ref and isinstance(value, str) and is_gone(value)


def _without(name: str, value: Any, is_gone: Callable[[str], bool]) -> Any:
    """None for what goes."""
    if name.endswith("_ref") and isinstance(value, str):
        return None if is_gone(value) else value
    if isinstance(value, list):
        if name.endswith("_refs"):
            return [item for item in value if not (isinstance(item, str) and is_gone(item))] or None
        return [item for old in value if (item := _without("", old, is_gone)) is not None] or None
    if isinstance(value, dict):
        inner = {key: item for key, old in value.items() if (item := _without(key, old, is_gone)) is not None}
        return inner or None
    return value
