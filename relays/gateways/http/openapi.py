"""What the gateway answers at `/openapi.json`: all its paths, as OpenAPI 3.1. It says nothing of tokens or topics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fabric import __version__
from fabric.protocol.base.limits import SUBSCRIPTIONS_MAX
from relays.gateways.http.events import MEDIA_TYPE

_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_OPENC2: Final = "application/openc2+json;version=1.0"
_OPENC2_OLD: Final = {"command": "application/openc2-cmd+json;version=1.0",
                      "response": "application/openc2-rsp+json;version=1.0"}
_TEXT: Final = {"type": "string"}
_OBJECT: Final = {"type": "object"}
_RETRY: Final = {"headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}}
# As HTTP_... in the protocol's table of errors says them.
_PROBLEMS: Final = {
    "400": "It cannot be read as what it says it is, or nothing of it could be taken.",
    "401": "It has no token, or one that is not known.",
    "403": "The token may not do this.",
    "408": "The body was not here in time.",
    "413": "It is larger than this gateway takes.",
    "415": "Its Content-Type is none that is taken here.",
    "422": "The Idempotency-Key was used for another body, or is at work.",
    "429": "The token sends more than its rate.",
    "500": "The gateway failed.",
    "503": "No more is taken at the moment; what `ids` has an id for was.",
}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _problems(*statuses: str) -> dict[str, Any]:
    return {
        status: {"description": _PROBLEMS[status], "content": {_PROBLEM: {"schema": _ref("Problem")}},
                 **(_RETRY if status in ("429", "503") else {})}
        for status in statuses
    }


def _answer(words: str, schema: str) -> dict[str, Any]:
    return {"description": words, "content": {_JSON: {"schema": _ref(schema)}}}


_EVENTS: Final[Mapping[str, Any]] = {
    "operationId": "postEvents",
    "summary": "Publish records. 202 says that each is durable.",
    "security": [{"token": []}],
    "parameters": [
        {"name": "topic", "in": "query", "schema": _TEXT, "description": "Instead of the one that is declared."},
        {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "minLength": 1, "maxLength": 255},
         "description": "The same request again, under the same key, gets the same answer for a day."},
        {"name": "Content-Encoding", "in": "header", "schema": {"enum": ["identity", "gzip", "x-gzip", "deflate"]}},
    ],
    "requestBody": {"required": True, "content": {
        _JSON: {"schema": {"oneOf": [_OBJECT, {"type": "array", "items": _OBJECT}]}},
        "application/x-ndjson": {"schema": {"type": "string", "description": "A JSON object a line."}},
        "application/cloudevents+json": {"schema": _ref("CloudEvent")},
        "application/cloudevents-batch+json": {"schema": {"type": "array", "items": _ref("CloudEvent")}},
        "*/*": {"schema": {}},  # the data of a CloudEvent in binary mode, with its ce- headers
    }},
    "responses": {
        "202": _answer("Every record is durable.", "Accepted"),
        "207": _answer("Some were not accepted: `rejected` says which, and why.", "Accepted"),
        **_problems(*_PROBLEMS),
    },
}


_STREAM: Final[Mapping[str, Any]] = {
    "operationId": "readStream",
    "summary": "Read what comes from now on, as server-sent events. What is missing is said.",
    "security": [{"token": []}],
    "parameters": [
        {"name": "topic", "in": "query", "schema": {"type": "array", "items": _TEXT, "maxItems": SUBSCRIPTIONS_MAX},
         "explode": True, "description": "Patterns, of what the token may read; all of that where there is none."},
        {"name": "last_event_id", "in": "query", "schema": _TEXT, "description": "For who cannot send the header."},
        {"name": "Last-Event-ID", "in": "header", "schema": _TEXT,
         "description": "The id of the last event that was read: what came after it is first."},
    ],
    "responses": {
        "200": {
            "description": "Events without a name are messages. `gap`: some are missing, so many at most, null where "
                           "nobody knows. `away` and `back`: the gateway's relay. `end`: the gateway ends.",
            "content": {MEDIA_TYPE: {"schema": {
                "type": "string", "contentMediaType": _JSON,
                "contentSchema": {"oneOf": [_ref("Message"), _ref("Gap"), _ref("Away")]},
            }}},
        },
        **_problems("400", "401", "403", "429", "500", "503"),
    },
}


def _openc2(operation: str) -> dict[str, Any]:
    message = {_OPENC2: {"schema": _ref("Response")}, _OPENC2_OLD["response"]: {"schema": _ref("Response")}}

    def answered(words: str, status: str = "") -> dict[str, Any]:
        problem = {_PROBLEM: {"schema": _ref("Problem")}} if status in _PROBLEMS else {}
        return {"description": words, "content": {**message, **problem}, **(_RETRY if status == "503" else {})}

    return {
        "operationId": operation,
        "summary": "Ask for an action (OpenC2 HTTPS transfer 1.1). The same request_id again is the same action.",
        "security": [{"token": []}],
        "parameters": [{
            "name": "X-Request-ID", "in": "header", "schema": {"type": "string", "minLength": 1, "maxLength": 36},
            "description": "Where the message has no request_id; both are the same where it has one.",
        }],
        "requestBody": {"required": True, "content": {
            _OPENC2: {"schema": _ref("Command")}, _OPENC2_OLD["command"]: {"schema": _ref("Command")},
        }},
        "responses": {
            "200": answered("Every target ended; without a body where no response was requested."),
            "202": answered("It is on its way, and has not ended yet: send it again to hear more."),
            "400": answered("The command or the request is wrong.", "400"),
            "401": answered("It has no token that is known, or whom it asks does not trust who asks.", "401"),
            "403": answered("The token, or the gateway, may not do this.", "403"),
            "404": answered("Nobody is selected."),
            "500": answered("The gateway failed.", "500"),
            "501": answered("Nobody has a handler for it."),
            "503": answered("It may not have been asked for yet: send it again.", "503"),
            **_problems("408", "413", "415", "429"),
        },
    }


_SCHEMAS: Final[Mapping[str, Any]] = {
    "Accepted": {
        "type": "object", "required": ["accepted", "ids"],
        "properties": {
            "accepted": {"type": "integer", "minimum": 0},
            "ids": {"type": "array", "items": {"type": ["string", "null"]},
                    "description": "Of each record, in order; null of one that was not accepted."},
            "rejected": {"type": "array", "items": _ref("Rejected")},
            "rejected_count": {"type": "integer", "minimum": 1},
        },
    },
    "Rejected": {
        "type": "object", "required": ["record", "code", "cause", "detail", "next"],
        "properties": {"record": {"type": "integer", "minimum": 1}, "code": _TEXT, "cause": _TEXT, "detail": _TEXT,
                       "next": _TEXT},
    },
    "Problem": {
        "type": "object", "required": ["type", "title", "status", "code", "cause", "detail", "next"],
        "properties": {
            "type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT, "cause": _TEXT,
            "code": {"type": "string", "pattern": "^E[0-9]{3}$"},
            "next": {"type": "string", "description": "What to do."},
            "accepted": {"type": "integer"}, "ids": {"type": "array"}, "rejected": {"type": "array"},
            "rejected_count": {"type": "integer"},
        },
    },
    "CloudEvent": {
        "type": "object", "required": ["specversion", "id", "source", "type"],
        "properties": {"specversion": {"const": "1.0"}, "id": _TEXT, "source": _TEXT, "type": _TEXT},
    },
    "Command": {
        "description": "A message with a command, or a command alone.",
        "oneOf": [
            {"type": "object", "required": ["body"], "properties": {
                "headers": _OBJECT,
                "body": {"type": "object", "required": ["openc2"], "properties": {
                    "openc2": {"type": "object", "required": ["request"], "properties": {"request": _OBJECT}},
                }},
            }},
            {"type": "object", "required": ["action", "target"], "properties": {
                "action": _TEXT, "target": _OBJECT, "args": _OBJECT, "actuator": _OBJECT, "command_id": _TEXT,
            }},
        ],
    },
    "Response": {
        "type": "object", "required": ["headers", "body"],
        "properties": {
            "headers": {"type": "object", "required": ["created", "from", "to"], "properties": {
                "request_id": _TEXT, "created": {"type": "integer"}, "from": _TEXT,
                "to": {"type": "array", "items": _TEXT},
            }},
            "body": {"type": "object", "required": ["openc2"], "properties": {
                "openc2": {"type": "object", "required": ["response"], "properties": {
                    "response": {"type": "object", "required": ["status"], "properties": {
                        "status": {"enum": [102, 200, 400, 401, 403, 404, 500, 501, 503]}, "status_text": _TEXT,
                        "results": _OBJECT,
                    }},
                }},
            }},
        },
    },
    "Message": {
        "type": "object",
        "required": ["id", "topic", "kind", "origin", "severity", "phase", "label", "highest_label", "issued_at",
                     "ttl_ms", "age_ms", "path", "content", "labels", "withheld"],
        "properties": {
            "id": _TEXT, "topic": _TEXT, "kind": _TEXT, "origin": _TEXT, "severity": _TEXT, "phase": _TEXT,
            "label": {"type": "string", "description": "TLP, of the envelope."},
            "highest_label": {"type": "string", "description": "TLP, of all that is in it here."},
            "issued_at": {"type": "integer", "description": "ms since 1970"}, "ttl_ms": {"type": "integer"},
            "age_ms": {"type": "integer"}, "path": {"type": "array", "items": _TEXT}, "content": _OBJECT,
            "labels": {"type": "object", "description": "TLP, of each field."},
            "withheld": {"type": "object", "description": "How many parts of which label are not in it."},
        },
    },
    "Gap": {
        "type": "object", "required": ["missed", "why"],
        "properties": {"missed": {"type": ["integer", "null"], "minimum": 1}, "why": _TEXT},
    },
    "Away": {
        "type": "object", "required": ["code", "cause", "detail", "next"],
        "properties": {"code": _TEXT, "cause": _TEXT, "detail": _TEXT, "next": _TEXT},
    },
    "Health": {"type": "object", "required": ["status"], "properties": {
        "status": {"const": "ok"}, "readers": {"type": "integer", "description": "Who reads at /v1/stream now."},
        "stream": {"enum": ["ok", "away"], "description": "Whether the gateway's relay has the subscription for them."},
    }},
}


def document() -> dict[str, Any]:
    """All of it."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "A gateway of a message fabric", "version": __version__},
        "paths": {
            "/v1/events": {"post": dict(_EVENTS)},
            "/v1/stream": {"get": dict(_STREAM)},
            "/.well-known/openc2": {"post": _openc2("postCommand")},
            "/openc2": {"post": _openc2("postCommandShort")},
            "/v1/health": {"get": {
                "operationId": "health", "summary": "Whether it serves.",
                "responses": {"200": _answer("It does.", "Health")},
            }},
            "/openapi.json": {"get": {
                "operationId": "openapi", "summary": "This document.",
                "responses": {"200": {"description": "It.", "content": {_JSON: {"schema": _OBJECT}}}},
            }},
        },
        "components": {
            "schemas": dict(_SCHEMAS), "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
