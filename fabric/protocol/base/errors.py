"""Every error that the fabric can name: its number, its reason, its cause and what to do next.

Numbers are API: they never change their meaning and are never used again. Wording may change. A peer's fault
is a value (`Reject`), a caller's fault an exception (`FabricError`), our own an assertion. No text in here or
made from here ever holds labelled content: a `detail` names fields, topics, ids and numbers, never values.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Code(Enum):
    """(number, reason, cause, next step). `reason` is the counter's label and stays as it is, like the number."""

    # 1xx: bytes that are not what the protocol says
    MALFORMED = (101, "malformed", "the bytes are not a valid frame or envelope", "upgrade or remove the sender")
    TOO_LARGE = (102, "too_large", "a size is above the protocol's limit", "send less in one message")
    TOO_DEEP = (103, "too_deep", "the structure is nested or split beyond the limit", "flatten the content")
    UNKNOWN_FRAME = (104, "unknown_frame", "the frame kind is not one that this version knows", "upgrade the older side")
    UNKNOWN_VERSION = (105, "unknown_version", "no protocol version is common to both sides", "upgrade the older side")
    UNKNOWN_KIND = (106, "unknown_kind", "the message kind is not one that this version knows", "upgrade this relay")
    BAD_TOPIC = (107, "bad_topic", "the topic is not well formed", "use tokens of letters, digits, _ and - joined by dots")
    NOT_READY = (108, "not_ready", "a frame came before the handshake was done", "say HELLO first")
    # 2xx: who the peer is
    UNKNOWN_KEY = (201, "unknown_key", "the peer's CURVE key is not admitted here", "check that the identity belongs to this fabric")
    WRONG_KEY = (202, "wrong_key", "the credential names another CURVE key than the connection", "use the identity folder as it was issued")
    BAD_CREDENTIAL = (203, "bad_credential", "the credential is not signed by this fabric's authority", "get a credential from the fabric's authority")
    CREDENTIAL_EXPIRED = (204, "credential_expired", "the credential is not valid at this time", "renew the credential, or check the clock")
    REVOKED = (205, "revoked", "the credential has been revoked", "ask the authority for an identity with another id: a revoked id is never used again")
    WRONG_ROLE = (206, "wrong_role", "the credential's kind does not fit the role on this link", "check who is parent and who is child in the topology")
    UNKNOWN_SIGNER = (207, "unknown_signer", "the signer's credential has not been introduced", "introduce the credential, then send again")
    WRONG_FABRIC = (208, "wrong_fabric", "the peer belongs to another fabric", "connect to a relay of the same fabric")
    WRONG_PEER = (209, "wrong_peer", "the peer is not the relay that was dialled, or not a child of this relay", "run `fabric topology lint` and compare both sides")
    STALE_LIST = (210, "stale_list", "the revocation list is older than the one held, or not the authority's", "publish a newer list from the authority")
    LOOP = (211, "loop", "a relay would be its own ancestor", "correct `parent` and `backups` in the topology")
    TWIN = (212, "twin", "two relays run with one identity, or two processes with one session", "stop one of them, and give it an identity of its own")
    DRAINING = (213, "draining", "the relay is about to stop", "connect to another relay, or wait for it to come back")
    BROKEN_CHAIN = (214, "broken_chain", "the credential's issuers do not lead to this fabric's authority", "get a credential from an issuer that the authority delegated to")
    WIDER_THAN_ISSUER = (215, "wider_than_issuer", "the credential grants more than its issuer may", "ask for less, or ask the authority to delegate more")
    REUSED_ID = (216, "reused_id", "the id belongs to other keys", "choose another id: ids are never reused")
    REUSED_KEY = (217, "reused_key", "the key belongs to another id", "make new keys: each identity has a pair of its own")
    BAD_TOKEN = (218, "bad_token", "the join token is damaged, or not one of this issuer's", "copy the whole token, or have a new one issued")
    TOKEN_USED = (
        219, "token_used", "the join token is used up, or was withdrawn", "have a new one issued: fabric token issue"
    )
    TOKEN_EXPIRED = (220, "token_expired", "the join token has expired", "have a new one issued: fabric token issue")
    NO_ISSUER = (221, "no_issuer", "the issuer is not online at this relay or above", "start it with `fabric issuer run`, then ask again")
    LIST_EXPIRED = (222, "list_expired", "the revocation list has expired: actions stop, events pass", "sign it again where the authority is: fabric revoke --renew")
    STALE_DIRECTORY = (223, "stale_directory", "the directory of relays is older than the one held, or not the authority's", "issue a newer one from the authority: fabric up FILE")
    TOO_MANY_SESSIONS = (224, "too_many_sessions", "the identity has as many sessions as one may have", "end some of them, or give each process an identity of its own")
    STALE_POLICIES = (225, "stale_policies", "the approval policies are older than the ones in force, or not the authority's", "issue newer ones from the authority: fabric authority policies FILE")
    FORKED_LOG = (226, "forked_log", "the audit log is not the one that its heads said before", "compare it with what its parent has: fabric audit verify --as ID --against FOLDER")
    UNPROVEN_LOG = (227, "unproven_log", "the audit log is not shown to have grown from its last head", "compare it with what its parent has: fabric audit verify --as ID --against FOLDER")
    # 3xx: what was signed
    BAD_SIGNATURE = (301, "bad_signature", "the signature does not match the message", "discard it: it was forged or altered")
    BAD_DIGEST = (302, "bad_digest", "a part does not match its signed digest", "discard it: the part was altered")
    BAD_MANIFEST = (303, "bad_manifest", "the parts do not match the signed manifest", "discard it: a part entry is missing or added")
    BAD_BODY = (304, "bad_body", "a part's body cannot be decoded as the header says", "fix the publisher")
    NOT_OPENED = (305, "not_opened", "a sealed part does not open with this node's key", "ask its publisher to send it again; discard it if that changes nothing")
    # 4xx: what the origin may do
    PUBLISH_DENIED = (401, "publish_denied", "no publish grant covers this topic", "ask for a publish grant on the topic; `fabric explain publish` shows what is granted")
    SUBSCRIBE_DENIED = (402, "subscribe_denied", "no subscribe grant covers this pattern", "subscribe within the granted patterns: `fabric explain subscribe` shows them")
    REQUEST_DENIED = (403, "request_denied", "no request grant covers this action", "ask for a request grant on the action; `fabric explain act` shows what is granted")
    EXECUTE_DENIED = (404, "execute_denied", "no execute grant covers this action", "ask for an execute grant on the action")
    SEVERITY_DENIED = (405, "severity_denied", "the severity is above what the grant allows", "lower the severity, or ask for a higher severity_max")
    RATE_EXCEEDED = (406, "rate_exceeded", "the rate is above what is granted", "slow down, or ask for a higher rate")
    WRONG_DIRECTION = (407, "wrong_direction", "this kind may not travel in this direction on this link", "check the peer: events climb, actions descend")
    NOT_A_TARGET = (408, "not_a_target", "the result answers no action that was dispatched to its origin", "answer only actions that were received")
    CLEARANCE_DENIED = (409, "clearance_denied", "the label is above the clearance of its origin", "lower the label, or raise the origin's clearance")
    APPROVE_DENIED = (410, "approve_denied", "no approve grant covers this action and its targets", "ask for an approve grant on the class; `fabric explain act` shows who is to approve")
    APPROVAL_DUE = (411, "approval_due", "the action needs approvals that are not there", "have it approved by those whom `fabric explain act` shows")
    BAD_APPROVAL = (412, "bad_approval", "it is no approval of this action", "approve the action as it is held now")
    OWN_REQUEST = (413, "own_request", "nobody approves what they asked for themselves", "have it approved by another person")
    SAME_PRINCIPAL = (414, "same_principal", "one person or one key approved more than once", "have it approved by another person, under an identity of their own")
    NOT_AN_APPROVER = (415, "not_an_approver", "the policy does not ask this role, or not yet", "have it approved by those whom `fabric explain act` shows")
    APPROVAL_LATE = (416, "approval_late", "the approval was not given while the action was held", "request the action again")
    OTHER_TARGETS = (417, "other_targets", "the targets are others than those that were approved", "request the action again, and have it approved for these targets")
    OTHER_POLICIES = (418, "other_policies", "the approval was given under other policies than those in force", "have it approved again")
    ACTION_DENIED = (419, "action_denied", "an approver denied the action", "ask the approver, then request it again")
    AUDIENCE_DENIED = (420, "audience_denied", "no grant lets its origin address whom the audience names", "name fewer, or ask for a publish grant with these `organisations` and `communities`; `fabric explain publish` shows what is granted")
    DECLASSIFY_DENIED = (421, "declassify_denied", "no declassify grant covers this topic and these labels", "ask for a declassify grant on the topic; `fabric explain relabel` shows what is granted")
    # 5xx: when
    EXPIRED = (501, "expired", "the message has outlived its ttl", "send it again with a longer ttl if it still matters")
    FROM_FUTURE = (502, "from_future", "issued_at lies in the future", "correct the sender's clock")
    TTL_TOO_LONG = (503, "ttl_too_long", "the ttl is above the maximum of its kind", "use a shorter ttl")
    CLOCK_SUSPECT = (504, "clock_suspect", "the clock differs from the parent's by more than the skew", "correct this machine's clock")
    # 6xx: labels
    WITHHELD = (601, "withheld", "a relay on the way may not hold the message, or a part that it cannot do without", "choose a way around that relay, or lower the label")
    BAD_LABEL = (602, "bad_label", "the label is not a Traffic Light Protocol label", "use clear, green, amber, amber+strict or red")
    LABEL_TOO_LOW = (603, "label_too_low", "the result's label is below its action's", "give the result at least its action's label")
    UNMATCHED_LABEL = (604, "unmatched_label", "a field label names no field of the record", "correct the name; where the field is not always there, allow it: --allow-unmatched, in Python labels_required=False")
    RECIPIENT_UNKNOWN = (605, "recipient_unknown", "nobody of this name is known", "correct the name; or, where it is right, connect it once: until then nobody has its key. `fabric topology graph` and `fabric status` have the names")
    RECIPIENT_REVOKED = (606, "recipient_revoked", "a recipient has been revoked", "leave it out, or name the identity that took its place")
    COMMUNITY_EMPTY = (607, "community_empty", "nobody is in the community", "correct the name, or write who is in it: `communities` in [organisations]")
    BAD_AUDIENCE = (608, "bad_audience", "it is no audience that a message can have", "name at most 15 organisations, communities and recipients, each as the topology has it")
    NO_RECIPIENTS = (609, "no_recipients", "red is for named recipients, and none is named", "name who is to read it (--recipient ID or role=NAME), or label it amber+strict for all of your organisation")
    NOT_LOWERED = (610, "not_lowered", "relabelling lowers a label, and this one is not lower", "name a label below the message's own; to raise one, publish it under the higher label")
    NOT_WHOLE = (611, "not_whole", "parts of the message were withheld from this reader, who cannot re-issue them", "name the fields to re-issue, of those that are there; or have it done by somebody who sees all of it")
    # 7xx: where to
    UNROUTABLE = (701, "unroutable", "the recipient is not below this relay any more", "check `fabric status`, then ask again")
    NO_INTEREST = (702, "no_interest", "nobody here or above subscribes to it", "subscribe, or stop publishing it")
    NOBODY = (703, "nobody", "the selector selects no target that may execute the action", "correct the selector; `fabric explain act` says whom it selects")
    BUSY = (704, "busy", "the relay's queue for this lane is full", "wait: it is sent again automatically")
    BAD_SELECTOR = (705, "bad_selector", "the selector cannot be read", "write e.g. 'role=firewall and segment=ot-1'")
    BAD_ACTION = (706, "bad_action", "not a valid OpenC2 command", "write e.g. deny ipv4_net=203.0.113.9")
    SUBSCRIBER_GONE = (707, "subscriber_gone", "the subscriber left and did not come back in time", "reconnect the subscriber")
    NO_HANDLER = (708, "no_handler", "no handler is registered for the action", "register one with on_action")
    HANDLER_FAILED = (709, "handler_failed", "the handler failed", "look at the control point's own log")
    SUBSCRIBER_SLOW = (710, "subscriber_slow", "the subscriber does not keep up", "make its handler faster, or subscribe to less")
    NOT_KNOWN_HERE = (713, "not_known_here", "the action is older than what this control point remembers of actions", "request it again")
    RESULT_UNFIT = (715, "result_unfit", "some of what the handler returned cannot be sent", "return text, 64-bit numbers, and lists and maps of these, no more than fits into a message")
    STOPPING = (716, "stopping", "the control point is stopping and begins no further action", "request it again when it runs again")
    CANNOT_RUN = (717, "cannot_run", "the handler's command cannot be run", "name an executable file: a program, or a script whose first line names its interpreter")
    NOT_HELD = (718, "not_held", "not all published records are known to be held", "publish it again, close with a longer timeout_s, or keep it with an outbox")
    HANDLERS_BUSY = (719, "handlers_busy", "all handlers of the control point were busy", "request it again later, or give it more handlers")
    NOT_ALL_HERE = (720, "not_all_here", "another target is away, and all were required", "start it, or ask without --require-all")
    TOO_MANY_TARGETS = (721, "too_many_targets", "the selector selects more targets than one action is for", "ask for some at a time, e.g. with `and segment=ot-1`; `fabric revoke` those that will not be back")
    INTERRUPTED = (722, "interrupted", "the control point ended while this was executed", "look at the target what was done there, then request it again if it is to be done")
    CANCELLED = (723, "cancelled", "the action was cancelled", "request it again if it is to be done")
    NOT_OPEN = (724, "not_open", "no such action is open", "see which are: fabric actions --open")
    NOT_NOW = (725, "not_now", "the action's start_time or stop_time does not let it begin now", "request it when its start_time has come, and before its stop_time: nothing waits for one")
    NOT_REVERTED = (726, "not_reverted", "the action has a duration, and nothing here would end its effect", "give the handler its inverse, `on_action(revert=)` or `--reverts`, or ask without a duration")
    LEASES_FULL = (727, "leases_full", "too many effects that are to end are in force at the control point", "release some that are not needed: fabric release")
    LEASE_TOO_LONG = (728, "lease_too_long", "the effect would last longer than a year", "ask for a shorter duration")
    REVERT_FAILED = (729, "revert_failed", "the effect could not be ended", "look at the control point's own log: it is tried again")
    KEY_TAKEN = (730, "key_taken", "the key belongs to another action", "give this action a key of its own; `fabric actions --as ID` shows those that are taken")
    ARTIFACT_NOT_KEPT = (731, "artifact_not_kept", "not all that the handler attached to its result was kept", "fetch what is there sooner, or give the target more room: --artifacts")
    ARTIFACT_GONE = (732, "artifact_gone", "the target does not keep this artifact, or not any more", "request the action again, and fetch it within 7 days")
    NO_ARTIFACT = (733, "no_artifact", "the action left no such artifact", "see what there is: fabric artifacts ID")
    ARTIFACT_CHANGED = (734, "artifact_changed", "the artifact is not what the result named", "look at the disk of its target, then request the action again")
    FETCH_STOPPED = (735, "fetch_stopped", "the artifact has not come whole", "run the same command again: it goes on where it stopped")
    FILE_THERE = (736, "file_there", "a file of that name is there already", "move it away, or name another folder")
    SOURCE_UNFIT = (740, "source_unfit", "a source or sink cannot work on this machine", "see what it needs and what is missing: fabric edge kinds --check")
    SECRET_INLINE = (741, "secret_inline", "a secret is written where everybody can read it", 'name where it is: { file = "PATH" } or { env = "NAME" }; and change the secret')
    NO_SECRET = (742, "no_secret", "a secret that a source or sink needs is not there", "write it where the topology says, readable by this user")
    SOURCE_AWAY = (743, "source_away", "what a source reads is not there, or cannot be read", "put it there, readable by this user: it is waited for")
    SINK_AWAY = (744, "sink_away", "a sink cannot write where it is to", "look at the place that is named: it is tried again, and nothing is lost meanwhile")
    SOURCE_FAILED = (745, "source_failed", "a source or sink failed in a way that it does not know", "report it with the place that is named: it is tried again")
    SINK_REFUSED = (746, "sink_refused", "a receiver refuses what a sink hands over to it", "see why in the receiver's own log; what it refused for good: fabric deadletter list --as ID")
    SOURCE_REFUSED = (747, "source_refused", "a server refuses a source that asks it", "look whether the secret that the source names is the right one, still valid, and may read this")
    UNMAPPED = (750, "unmapped", "the record does not fit what is declared of its source", "see what would become of it: fabric source test NAME SAMPLE --as ID")
    NO_LETTER = (751, "no_letter", "there is no such dead letter", "see which there are: fabric deadletter list --as ID")
    LETTER_CUT = (752, "letter_cut", "only the beginning of what was rejected is kept", "send it again where it comes from, then drop the dead letter")
    SYSLOG_LISTEN = (760, "syslog_listen", "a syslog source cannot listen at an address", "free it, or name another: `ss -lntup` shows who has it; below port 1024 it takes CAP_NET_BIND_SERVICE")
    SYSLOG_TLS = (761, "syslog_tls", "the certificate, key or client CA of a syslog source cannot be used", "look at the file that is named: PEM, the key without a password, readable by this user")
    SYSLOG_REFUSED = (762, "syslog_refused", "a syslog sender was refused", "add its network to `allow` if it may send; else find out who that is")
    SYSLOG_LOST = (763, "syslog_lost", "syslog messages are lost", "let them be sent over TCP; for UDP raise `udp_buffer` and the system's net.core.rmem_max")
    SYSLOG_STOPPED = (764, "syslog_stopped", "it was read, and the control point stopped before it took it", "take it again when it runs: fabric deadletter replay")
    HTTP_LISTEN = (767, "http_listen", "an HTTP source cannot listen as it is declared", "free the address, or name another; a certificate and its key are PEM, the key without a password, readable by this user")
    HTTP_TOKEN = (768, "http_token", "a token of an HTTP source cannot be used as it is declared", "give it a secret of its own, e.g. of `openssl rand -hex 32`, and topics within what the gateway is granted")
    HTTP_UNKNOWN = (769, "http_unknown", "the request has no token, or one that is not known here", "send it with the header Authorization: Bearer TOKEN")
    HTTP_DENIED = (770, "http_denied", "the token may not do this", "use a token that may, or have this one widened in the topology")
    HTTP_RATE = (771, "http_rate", "the token sends more than its rate", "wait as long as Retry-After says, and send it again")
    HTTP_BODY = (772, "http_body", "the body of the request cannot be read", "send JSON, NDJSON or CloudEvents in UTF-8, whole, as its Content-Type says")
    HTTP_SIZE = (773, "http_size", "the request is larger than this gateway takes", "send it in several requests, or raise body_max or records_max in the topology")
    HTTP_KEY = (774, "http_key", "the Idempotency-Key was used before for another body, or is at work at this moment", "give each body a key of its own, and repeat a request when the one before it ended")
    HTTP_BUSY = (775, "http_busy", "the gateway takes no more at the moment", "wait as long as Retry-After says, and send again what was not accepted")
    # 8xx: topology files
    TOPOLOGY_UNREADABLE = (801, "topology_unreadable", "the topology file is not readable TOML", "fix the line that is named")
    TOPOLOGY_INVALID = (802, "topology_invalid", "the topology breaks a rule", "write what the line says")
    # 9xx: this machine
    UNREACHABLE = (901, "unreachable", "nothing answers at the relay's address", "start the relay with `fabric up`, or check the address")
    DOOR_OPEN = (902, "door_open", "the relay's own door test failed", "do not run this relay: report the versions of pyzmq and libzmq")
    PORT_IN_USE = (903, "port_in_use", "another program listens on the address", "stop it with `fabric down`, or choose another port")
    NO_IDENTITY = (904, "no_identity", "there is no such identity on this machine", "run `fabric up FILE`, or copy the identity folder here")
    BAD_IDENTITY = (905, "bad_identity", "the identity folder is damaged", "issue it again with `fabric up FILE`")
    SPOOL_FAILED = (906, "spool_failed", "the spool cannot be read or written", "check the path and the disk, then start again")
    BAD_INPUT = (907, "bad_input", "the input cannot be read", "send one JSON object a line")
    USAGE = (908, "usage", "the command cannot be run like this", "run it with --help")
    TIMED_OUT = (909, "timed_out", "the given time ran out", "give a longer --timeout, or check `fabric status`")
    CLOSED = (910, "closed", "the connection was closed", "connect again")
    HANDSHAKE_FAILED = (911, "handshake_failed", "the CURVE handshake was refused", "compare the relay's key with the identity's: the relay may have been issued anew")
    NO_AUTHORITY = (912, "no_authority", "the fabric's authority key is not on this machine", "run where the authority is, or use `--dev` for a throwaway one")
    ALREADY_RUNNING = (913, "already_running", "it already runs on this machine", "stop it with `fabric down`")
    NOT_RUNNING = (914, "not_running", "the fabric does not run on this machine", "start it with `fabric up FILE`")
    WRONG_PACKAGE = (915, "wrong_package", "the import name `fabric` is that of another package here", "install message-fabric in a virtual environment of its own")

    MACHINE_REFUSED = (916, "machine_refused", "the operating system refused something", "check the path and its permissions")
    INTERNAL = (917, "internal", "an internal error of this program", "report it with the place that is named")
    WRONG_PASSPHRASE = (918, "wrong_passphrase", "the passphrase does not open the authority's key", "try again; without the passphrase the key is lost: begin anew with `fabric authority init` elsewhere")
    NOT_PRIVATE = (921, "not_private", "a file or folder that must be private to this user is not", "run as its owner, or find out who made it and move it away")
    LINES_LOST = (923, "lines_lost", "lines of a file could not be found again", "keep rotated files beside the log, and readable, until they are read")
    LINE_TOO_LONG = (924, "line_too_long", "a line is longer than any message can be", "write one JSON object a line")
    AWAY = (927, "away", "it would be a target, and is connected nowhere in the fabric", "start it, or see with `fabric status` where it should be; then ask again")
    OUTPUT_FAILED = (930, "output_failed", "the output cannot be written", "make room where it goes, or send it elsewhere")
    NOT_AN_OUTBOX = (931, "not_an_outbox", "the file is no outbox, and was left as it is", "name another file with --outbox, or one that is not there yet")
    OUTBOX_IN_USE = (932, "outbox_in_use", "another process has the outbox open", "wait for that process, stop it, or name another outbox")
    DISK_SHORT = (933, "disk_short", "the disk of the outbox, or of the ledger, is short of room", "make room on it: it goes on by itself")
    CLOCK_UNSET = (934, "clock_unset", "this machine's clock says a time before 1970", "set the clock, then run it again")
    READER_FULL = (936, "reader_full", "a reader of this topic is full and loses nothing, so that others wait for it", "start that reader, or take it out of the fabric with `fabric revoke`: then it goes on by itself")
    BOOK_FAILED = (938, "book_failed", "the book of this identity's actions cannot be read or written", "check its folder and the disk, then ask again")
    NO_ACTION = (939, "no_action", "the book has no such action", "see which there are: fabric actions --as ID")

    AUTHORITY_EXISTS = (940, "authority_exists", "the fabric has an authority on this machine already: nothing was changed", "see it with `fabric authority show`")
    NO_PASSPHRASE = (941, "no_passphrase", "there is no passphrase that can be used", "type one, or give --passphrase-file FILE, or - for standard input")
    NO_AUDIT = (946, "no_audit", "there is no audit log", "it begins when the node does something: name one with --as ID, or its folder with --folder")
    AUDIT_UNREADABLE = (947, "audit_unreadable", "the audit log cannot be read, which says nothing of what is in it", "check the disk and who may read there, then ask again")
    AUDIT_BROKEN = (948, "audit_broken", "the audit log is not as it was written", "keep its folder as it is, and compare it with what its parent has: --against")

    HANDLER_UNFIT = (950, "handler_unfit", "a handler cannot work on this machine", "see what it needs and what is missing: fabric edge handlers --check")
    PROTECTED = (951, "protected", "the handler may not touch this target", "name another target, or change the handler's options where it runs")
    ENDPOINT_FAILED = (952, "endpoint_failed", "the endpoint of the webhook did not take the action", "look at the endpoint, and at the control point's own log")
    TARGET_DIFFERS = (953, "target_differs", "what the handler found is not what the action is about", "look at the target, then request it again as it is now")
    NOT_THERE = (954, "not_there", "the target is not there", "look where it is now, then request it again")
    ARGUMENT_UNKNOWN = (955, "argument_unknown", "the handler does not know an argument of the action", "ask without it, or have the target use a handler that knows it")

    def __init__(self, number: int, reason: str, cause: str, next_step: str) -> None:
        self.number = number
        self.reason = reason
        self.cause = cause
        self.next_step = next_step

    @property
    def label(self) -> str:
        return f"E{self.number}"


_BY_NUMBER = {code.number: code for code in Code}


def code_of(number: int) -> Code:
    """The code with this number; a number from a newer version reads as MALFORMED."""
    return _BY_NUMBER.get(number, Code.MALFORMED)


@dataclass(frozen=True, slots=True)
class Reject:
    """A peer's fault, as a value. `detail` says where, never what was in it."""

    code: Code
    detail: str = ""

    def __str__(self) -> str:
        return describe(self.code, self.detail)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of this program that a peer's frame triggered. `kind`: the exception's type; `where`: module and line."""

    kind: str
    where: str


class FabricError(Exception):
    """A caller's fault, or something that this machine cannot do. Shown to people as code, cause, next step."""

    def __init__(self, code: Code, detail: str = "", next_step: str = "") -> None:
        self.code = code
        self.detail = detail
        self.next_step = next_step or code.next_step
        super().__init__(describe(code, detail))


def describe(code: Code, detail: str = "") -> str:
    """One line: number, cause, and the detail where there is one."""
    return f"{code.label} {code.cause}: {detail}" if detail else f"{code.label} {code.cause}"
