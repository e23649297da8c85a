"""Approvals (SPEC 6.7): what of an action a policy asks."""

from __future__ import annotations

from fabric.protocol.access.permissions import split_topic
from fabric.protocol.envelope.layout import Header
from fabric.protocol.trust.policies import Asked


def asked_of(action: Header) -> Asked:
    """What an action's header says of it, as far as policies ask."""
    verb, target_type = split_topic(action.topic)
    return Asked(verb, target_type, action.label, action.severity)
