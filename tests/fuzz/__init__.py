"""Inputs from seeds, for everything that reads what somebody else wrote; `scripts/fuzz` runs them for as long as told.

    dice        randomness from a seed, with the values at which programs break
    engine      what a target is, how inputs are made, measured, made smaller, and named by a seed
    documents   frames, envelopes and signed documents: any bytes are read or refused
    files       what a node finds on its disk: topology, identities, drain, clock, state
    faces       what people type: selectors, topics, durations, labels, actions, tokens, JSON
    syslogs     what syslog senders send
    cast        an invented fabric with members of every kind, honest and not
    speech      frames that such a member could send: valid, nearly valid, and damaged
    stage       a core, what happens to it, and a tape of that
    stories     conversations of hostile peers with a core, one target for each role
    invariants  what must hold after every step
    bounds      how large each container of a core may become
    targets     the one list of targets
    run         the command

Another target, in ten lines. In `documents`, `files` or `faces`:

    def colour(dice: Dice) -> bytes:                       # an input, from nothing but the dice
        return dice.damaged(dice.choice([b"red", b"green"]))

    def read_colour(raw: bytes) -> None:                   # whatever this raises is a failure
        colour = parse_colour(raw)
        assert isinstance(colour, Reject | Colour)

    TARGETS = [..., Bytes("colour", colour, read_colour)]

Then `scripts/fuzz --target colour` runs it, and the test run does for a moment. An input that once failed goes into
`corpus/colour/` under a name that says what it is; the tests run each of them, too.
"""
