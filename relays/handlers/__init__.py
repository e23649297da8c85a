"""Handlers that come with the command: `fabric edge run --handler NAME`.

A handler is an object that is called with an action and returns an answer, and may have `revert(action)`, which ends
the effect. `kinds` says what one is, `registry` which there are; each is in a module of its own, which is imported when
its name is used.
"""
