"""Every bound of protocol version 1, and why it is what it is. Units come last in the names.

Nothing is read from the wire before its size has been checked against a number on this page.
"""

from typing import Final

# One frame. Small enough that an urgent frame never waits long behind one (SPEC 7), large enough for a batch.
FRAME_BYTES_MAX: Final = 262_144
# HELLO comes from a key that nobody vouched for yet: a credential and some numbers, nothing more.
HELLO_BYTES_MAX: Final = 16_384
# An envelope travels in one frame, with room for the item around it.
ENVELOPE_BYTES_MAX: Final = 240_000
# Topic, selector, audience and a manifest of PARTS_MAX parts fit many times over.
HEADER_BYTES_MAX: Final = 8_192
# One part per label would be 5; a few more leave room for attachments to a message.
PARTS_MAX: Final = 16
PART_BYTES_MAX: Final = 200_000
# What the parts of a message may become together when they are decompressed: bounds the work of a reader, whatever the
# ratio.
BODY_BYTES_MAX: Final = 2_000_000
# 2**10 messages signed by one burst of a publisher.
PATH_MAX: Final = 10
RECORDS_MAX: Final = 1_024
SALT_BYTES: Final = 16
DIGEST_BYTES: Final = 32
ID_BYTES: Final = 16

# Elements and depth of a frame's own structure; envelopes inside are opaque byte strings to it.
FRAME_ELEMENTS_MAX: Final = 8_192
FRAME_DEPTH_MAX: Final = 8
HEADER_ELEMENTS_MAX: Final = 512
HEADER_DEPTH_MAX: Final = 6
# A message's content, of all its parts together: a reader's memory and time follow it, not the number of parts. Deep
# enough for any product's JSON, far from Python's recursion limit.
BODY_ELEMENTS_MAX: Final = 200_000
BODY_DEPTH_MAX: Final = 32
# The names of a message's fields as their reader gets them, each joined with those above it: one long name above many
# fields would be repeated for each. Some four times what any product's JSON of BODY_BYTES_MAX has.
FIELD_NAMES_CHARS_MAX: Final = 8_000_000

TOPIC_BYTES_MAX: Final = 256
TOPIC_TOKENS_MAX: Final = 16
NAME_BYTES_MAX: Final = 64
SELECTOR_BYTES_MAX: Final = 1_024
AUDIENCE_NAMES_MAX: Final = 16
CREDENTIAL_BYTES_MAX: Final = 8_192
KEY_BYTES: Final = 32
# What is asked of an issuer is a credential and a little more; what it answers two credentials.
ASK_BYTES_MAX: Final = 10_240
ANSWER_BYTES_MAX: Final = 20_480
# How long a question is repeated and its asker remembered, how many a relay passes on at a time, and how often.
ASK_MS: Final = 20_000
ASKED_MAX: Final = 1_024
JOINS_PER_S: Final = 2
# Selectors that a relay looks up for whoever wants to seal something: each takes a look at all who are below.
SELECTORS_PER_S: Final = 10
STRANGERS_PER_S: Final = 20
# Questions of a stranger on one connection: it repeats one every second until it is answered.
KNOCKS_MAX: Final = 30
# Issuers between the authority and whom it vouches for: a company's, its plant's, and one more.
CHAIN_MAX: Final = 3
GRANTS_MAX: Final = 64
TAGS_MAX: Final = 32
TARGETS_MAX: Final = 4_096
ITEMS_MAX: Final = 256
# Credentials in one INTRO, and attachments and withdrawals in one ROUTES: what a node puts into one frame itself. Each
# may cost its reader as many signatures as its chain is long.
INTRO_MAX: Final = 16
ROUTES_ENTRIES_MAX: Final = 64
# What is known of who is where: each session, and each token of what it subscribes to, takes up to half a kilobyte.
ROUTES_WEIGHT_MAX: Final = 262_144
# Changes of routes that wait to be told to one peer, and withdrawals among them; also those that are remembered for the
# next parent. Each source has at most what is left: half of it alone, enough for a child that begins anew.
ROUTES_WAITING_MAX: Final = 262_144
WITHDRAWALS_MAX: Final = 8_192
# Forged signatures or parts in one frame at which its reader stops and ends the link: an honest peer sends none, and
# each costs a check.
FORGED_MAX: Final = 3
# Deeper than any enterprise tree; also what ends a loop.
HOPS_MAX: Final = 16
# How often a message may have to be sent after somebody: a node that moves so often in one message's life is lost.
MOVED_MAX: Final = 64
SUBSCRIPTIONS_MAX: Final = 64
# An action's arguments are read by those who approve it, and handed to a program: times, names, a short list.
ARGS_BYTES_MAX: Final = 16_384
ARGS_ELEMENTS_MAX: Final = 1_024
ARGS_DEPTH_MAX: Final = 8
REVOCATIONS_MAX: Final = 4_096
# Control points that execute, as a relay remembers them: half of it is left for what issuers add, and an action is for
# a quarter of the other half at most. One that was not seen for so long is taken for gone; until then it is away.
MEMBERS_MAX: Final = 32_768
MEMBER_KEEP_MS: Final = 30 * 86_400_000
# Of audit logs: a signed head, the digests of entries that a parent is told at once, and how often it listens to one
# node.
HEAD_BYTES_MAX: Final = 512
GROWN_MAX: Final = 2_048
HEAD_MS_MIN: Final = 5_000
# A directory travels in one frame: some 2,000 relays with a network each. In it, what a topology file may say of each.
DIRECTORY_BYTES_MAX: Final = 262_000
DIRECTORY_ELEMENTS_MAX: Final = 131_072
DIRECTORY_RELAYS_MAX: Final = 4_096
DIRECTORY_ADDRESSES_MAX: Final = 4
DIRECTORY_NETWORKS_MAX: Final = 256
ADDRESS_BYTES_MAX: Final = 300
# Policies travel in one frame, and are asked of every action and each of its targets: a rule for each plant of a large
# enterprise. More approvers than that are not found within any hold.
POLICIES_BYTES_MAX: Final = 131_072
POLICY_ELEMENTS_MAX: Final = 16_384
POLICY_RULES_MAX: Final = 256
POLICY_ROLES_MAX: Final = 16
POLICY_CLASSES_MAX: Final = 256
APPROVERS_MAX: Final = 8
# Approvals that are looked at for one action. An approver may have changed its mind, and others may not count.
APPROVALS_MAX: Final = 64
# Of one approval: an action takes a quorum of them along, in one envelope and one frame with its targets' names.
APPROVAL_BYTES_MAX: Final = 8_192
# What an approver says of why: read by the requester and in audits.
WHY_CHARS_MAX: Final = 512

# How far apart two clocks may be before times are no longer believed (SPEC 5).
SKEW_MS: Final = 30_000
# For so long a parent tells a time that jumped before it is believed, and for so long a dispute is remembered (SPEC 5).
CLOCK_JUMP_MS: Final = 10_000
# The longest life of each kind: an action is for now, an event may wait for an analyst's week.
TTL_MAX_MS: Final = {
    "event": 7 * 86_400_000,
    "intel": 30 * 86_400_000,
    "action": 3_600_000,
    "approval": 86_400_000,
    "result": 7 * 86_400_000,
    "control": 365 * 86_400_000,
}

# Bytes of one lane that may be unacknowledged on a link. It is what an urgent frame can find in its way.
LANE_WINDOW_BYTES: Final = 524_288
# What one lane may hold on disk at a relay before intake is refused with BUSY.
LANE_QUOTA_BYTES: Final = 67_108_864
# What may wait for one control point whose credential says nothing else: a slow reader loses its own oldest before it
# can fill a lane for everybody.
POINT_QUOTA_BYTES: Final = 16_777_216
# What a credential may say instead: room for some of the largest messages at least, and no more than a disk has.
KEEP_BYTES_MIN: Final = 1_048_576
KEEP_BYTES_MAX: Final = 2**44
# What a relay has for its readers together beyond that, unless its own settings say more.
READERS_BYTES: Final = 2**30
# Actions are remembered until nobody would take them any more, an hour and a little at most, and never forgotten
# before: these many, of which one requester alone may have four fifths. At its rate that is what it can ask for in that
# time.
ACTIONS_SEEN_MAX: Final = 100_000
ACTIONS_PER_S: Final = 20
# Re-issues at a lower label that a relay takes from one origin: each is an entry in the audit logs of all relays that
# it passes, and somebody decides each.
RELABELS_PER_S: Final = 20
# A control point's ledger: actions that are not answered yet, with their answers until these are told, shared among
# requesters; and answers that were told, for as long as they may be asked for again.
LEDGER_BYTES_MAX: Final = 67_108_864
LEDGER_TOLD_BYTES_MAX: Final = 33_554_432
# Effects that end by themselves, with what is needed to end them, shared among requesters: some 25,000. No longer than
# a year: what is to last longer is a rule of somebody's configuration, and not an answer to an incident.
LEASE_BYTES_MAX: Final = 67_108_864
LEASE_MS_MAX: Final = 366 * 86_400_000
# What actions leave at a control point to be fetched, unless it says otherwise, shared among their requesters; each
# counts so much more than its bytes, for a row and its name, and is kept for so long.
ARTIFACTS_BYTES_MAX: Final = 4 * 2**30
ARTIFACT_BYTES: Final = 65_536
ARTIFACT_KEEP_MS: Final = 7 * 86_400_000
# Of one action: their names, sizes and digests travel in its result, beside the rest of it.
ARTIFACTS_MAX: Final = 64
# A piece of an artifact, of which four go in what a lane may have under way; and of how much a requester may have asked
# for at a time. That waits for it at relays, if it is slow, and is half of what they keep for one control point.
CHUNK_BYTES: Final = 122_880
WINDOW_BYTES_MAX: Final = 8_388_608
WINDOW_BYTES_MIN: Final = 245_760
# How long after its ttl, from when it was taken, an action may still pass for being in time, whatever others say of its
# age: its origin's clock may be ahead by the skew, the signed bound allows the skew more, and what a parent tells may
# go from the skew ahead of this machine's clock to the skew behind it.
ACTION_SPARE_MS: Final = 4 * SKEW_MS
# A result may come long after the action's delivery ended: an hour and the action's own ttl cover a slow handler.
SLOW_HANDLER_MS: Final = 3_600_000
# Actions that wait for approvals where they turned.
HELD_ACTIONS_MAX: Final = 4_096
HELD_BYTES_MAX: Final = 67_108_864
# Who was handed which action, until its result may have come: some hundred actions to as many targets as one may have.
DISPATCHES_MAX: Final = 400_000
# The same where an action turned, for as long as its effect lasts beyond that: what was asked for longest ago is
# forgotten first, its requester hears no more of it, and can release it no more.
LASTING_MAX: Final = 200_000
# An unacknowledged row is sent again after this, doubling up to the maximum.
RETRY_MS: Final = 2_000
RETRY_MS_MAX: Final = 30_000
# HELLO is repeated like any frame that may be lost.
HELLO_RETRY_MS: Final = 1_000
PING_MS: Final = 4_000
# Two pings without a word, and the link is dead.
LINK_SILENCE_MS: Final = 8_500
# Who has another parent does not wait that long: it asks more often, and one that misses a ping is asked again at once,
# and three times.
BACKED_PING_MS: Final = 2_000
UNEASY_MS: Final = 2_500
UNEASY_PING_MS: Final = 500
PARENT_SILENCE_MS: Final = 4_000
# What a relay answers of the PINGs of control points. Where more are connected, each is told to ask less often.
PINGS_PER_S: Final = 160
SPARED_MS_MAX: Final = 26_000
# A peer that was admitted by key but does not say HELLO is cut.
HELLO_WAIT_MS: Final = 5_000
# How many HELLOs are answered a second when many come at once: each costs a handshake, a full table of routes, and
# what was in flight again. The first few wait for nobody; who would wait for more than four seconds is told to go.
ADMISSIONS_PER_S: Final = 250
ADMISSIONS_BURST: Final = 32
ADMISSIONS_QUEUED_MAX: Final = 1_024
# Of one node: what its sessions cost all others it takes so often at most, after ten seconds of it at once (`Rates`).
# That is more than it may have open: after a restart of its relay all of them are back at once.
ADMISSIONS_PER_ID_PER_S: Final = 8
ADMISSIONS_QUEUED_PER_ID_MAX: Final = 32
# A parent that answers pings and for this long no message is as good as dead.
STALL_MS: Final = 10_000
# After a move, what the old parent still holds for us comes within this.
LEAVING_MS: Final = 10_000
# A living link that was replaced by another of the same node so often within so long has a twin at its end.
TWIN_REPLACED_MAX: Final = 3
TWIN_WINDOW_MS: Final = 30_000
# After a start nobody is known to be gone before this: routes come when links open.
SETTLE_MS: Final = 10_000
# A full table of routes is told within this, whatever its size: what is not in it then is not below any more.
CONFIRM_MS: Final = 30_000
# A subscriber that lost its link finds its rows again within this; then they are dropped and counted.
SESSION_GRACE_MS: Final = 60_000
# A durable one may stay away for as long as the longest event lives, and asks for no more.
SESSION_KEEP_MS_MAX: Final = 7 * 86_400_000
# Each may fill its quota while it is away.
DURABLE_SESSIONS_MAX: Final = 8
# Sessions of one identity at a time: a daemon and a shell script's calls, not a leak; of those that are away without
# having taken leave, some that may come back; and of all of them, wherever in the tree they are. Each that subscribes
# costs its relay a copy of every message.
SESSIONS_OPEN_MAX: Final = 64
SESSIONS_READING_MAX: Final = 16
SESSIONS_AWAY_MAX: Final = 16
SESSIONS_PER_ID_MAX: Final = SESSIONS_OPEN_MAX + SESSIONS_AWAY_MAX + DURABLE_SESSIONS_MAX
# Past the end of the revocation list, actions from a node's own segment go on for so long: a plant that is cut off
# from the authority still contains its own incidents.
LIST_GRACE_MS: Final = 7 * 86_400_000
# Credentials known besides those that queued messages need.
CREDENTIALS_CACHED_MAX: Final = 20_000
