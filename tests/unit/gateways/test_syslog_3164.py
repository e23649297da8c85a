"""RFC 3164 as senders write it: each line here was sent by a product, or stands in the RFC."""

from datetime import UTC, datetime

import pytest

from relays.gateways.syslog.reading import How, read_message

HOW = How(datetime(2026, 11, 29, 12, tzinfo=UTC))
MNEMONIC = "%SEC_LOGIN-5-LOGIN_SUCCESS"
CASES = [
    ("<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
     {"priority": 34, "facility": "auth", "severity": "critical", "time": "2026-10-11T22:14:15+00:00",
      "host": "mymachine", "app": "su", "message": "'su root' failed for lonvick on /dev/pts/8"}),
    ("<30>Dec  1 22:14:15 h postfix/smtpd[12]: connect", {"app": "postfix/smtpd", "proc_id": "12", "message": "connect",
     "time": "2026-12-01T22:14:15+00:00"}),
    ("<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!", {"host": "10.0.0.99", "message": "Use the BFG!"}),
    ("Use the BFG!", {"format": "plain", "message": "Use the BFG!", "flags": ["no-priority"]}),
    ("<13>app[12]: hi", {"format": "rfc3164", "app": "app", "proc_id": "12", "message": "hi"}),
    ("<13>Oct 11 22:14:15 su: hi", {"app": "su", "message": "hi", "host": None}),
    ("<14>2026-10-11T22:14:15.003+02:00 h Hostd: info", {"time": "2026-10-11T22:14:15.003+02:00", "host": "h"}),
    ("<14>2026-10-11 22:14:15,003 h a: info", {"time": "2026-10-11T22:14:15.003000+00:00", "app": "a"}),
    ("<13>May  5 10:11:12 2019 host tag: x", {"time": "2019-05-05T10:11:12+00:00", "host": "host", "app": "tag"}),
    ("<134>1 1563249630.774247 mx84 security_event ids", {"time": "2019-07-16T04:00:30.774247+00:00", "host": "mx84",
     "message": "security_event ids"}),
    # Fortinet without a time, and behind one; Palo Alto
    ('<189>date=2019-05-10 time=11:37:47 devname="F"', {"message": 'date=2019-05-10 time=11:37:47 devname="F"'}),
    ("Jul 19 11:08:59 _gateway date=2024-07-19 time=11:05:36", {"host": "_gateway",
     "message": "date=2024-07-19 time=11:05:36"}),
    ("<12>Mar 31 22:50:49 pa.example.net 1,2020/03/31 22:50:49,unknown,SYSTEM", {"host": "pa.example.net",
     "message": "1,2020/03/31 22:50:49,unknown,SYSTEM", "app": None}),
    # Cisco: counters, an origin, uptime, zones, clocks that are not set, NX-OS, ASA with its host and without
    ("<189>237: *Jan  8 19:46:03.295: %SYS-5-CONFIG_I: Set", {"sequence": ["237"], "app": "%SYS-5-CONFIG_I",
     "message": "Set", "timestamp": "Jan  8 19:46:03.295", "flags": ["clock-not-set"], "time": None}),
    ("<180>782431: m1: .Nov 18 21:03:22.631 GMT: %CDP-4-NATIVE_VLAN: x", {"host": "m1", "app": "%CDP-4-NATIVE_VLAN",
     "flags": ["clock-not-synced"], "time": "2026-11-18T21:03:22.631000+00:00", "zone": None}),
    (f"<165>7433: ASR920: 007439: 2y10w: {MNEMONIC}: ok [user: x]", {"sequence": ["7433", "007439"], "app": MNEMONIC,
     "host": "ASR920", "timestamp": "2y10w", "message": "ok [user: x]"}),
    (f"<189>7662: Nov 23 22:23:27.921 NewYork: {MNEMONIC}: ok", {"zone": "NewYork", "host": None, "app": MNEMONIC}),
    (f"<190>421370: 421366: Nov 23 22:23:27: {MNEMONIC}: ok", {"sequence": ["421370", "421366"], "message": "ok"}),
    ("Sep 14 2016 09:33:47 ASA-RE : %ASA-4-106023: Deny", {"host": "ASA-RE", "time": "2016-09-14T09:33:47+00:00"}),
    ("Sep 14 2016 10:07:20: %ASA-4-106023: Deny", {"host": None, "app": "%ASA-4-106023", "message": "Deny"}),
    ("<166>2018-06-27T12:17:46Z firepower : %FTD-6-110002: No", {"host": "firepower", "time": "2018-06-27T12:17:46Z"}),
    ("<189>: 2013 Nov 19 10:30:15 UTC: %VSHD-5-CONFIG_I: Set", {"time": "2013-11-19T10:30:15+00:00", "message": "Set"}),
    (f"<189>Nov 23 22:23:27 10.0.0.1 7662: Nov 23 22:23:26: {MNEMONIC}: ok", {"host": "10.0.0.1", "app": MNEMONIC,
     "time": "2026-11-23T22:23:27+00:00", "timestamp": "Nov 23 22:23:26"}),
    ("Apr  4 21:26:41.778 TZ: *%LWAPP-3-REPLAY_ERR: 1 wcm:  x", {"app": "%LWAPP-3-REPLAY_ERR", "message": "1 wcm:  x"}),
    # what has no host, or another's
    ("Oct 11 22:14:15 last message repeated 3 times", {"host": None, "message": "last message repeated 3 times"}),
    ("<13>Oct 11 22:14:15 Message forwarded from aix1: sshd[1]: hi", {"host": "aix1", "app": "sshd", "message": "hi"}),
    ('<13>Oct 11 22:14:15 {"a": 1}', {"host": None, "app": None, "message": '{"a": 1}'}),
    # what nobody may write
    ("<999>Oct 11 22:14:15 h a: m", {"priority": 999, "severity": None, "flags": ["bad-priority"], "message": "m"}),
    ("<-1>foo", {"priority": -1, "message": "foo"}),
    ("<013>foo", {"priority": 13, "facility": "user", "flags": None}),
    ("<1x>foo", {"message": "<1x>foo", "flags": ["no-priority"]}),
    ("<13>Feb 30 10:00:00 h a: m", {"timestamp": "Feb 30 10:00:00", "flags": ["bad-time"], "host": "h"}),
    ("<13>Oct 11 25:61:15 h a: m", {"timestamp": "Oct 11 25:61:15", "time": None}),
    ("<13>", {"message": ""}),
]


@pytest.mark.parametrize(("line", "expected"), CASES, ids=[line[:40] for line, _ in CASES])
def test_a_line_as_it_is_sent(line, expected):
    record = read_message(line.encode(), HOW)
    assert {name: record.get(name) for name in expected} == expected


@pytest.mark.parametrize(("day", "written", "year"), [
    (datetime(2027, 1, 1, 12, tzinfo=UTC), "Dec 31 23:59:59", 2026),
    (datetime(2026, 12, 31, 12, tzinfo=UTC), "Jan  1 00:00:01", 2027),
    (datetime(2026, 11, 29, 12, tzinfo=UTC), "Nov 29 23:00:00", 2026),
    (datetime(2026, 11, 29, 12, tzinfo=UTC), "Apr  4 23:00:00", 2026),
    (datetime(2029, 1, 3, 12, tzinfo=UTC), "Feb 29 12:00:00", 2028),
])
def test_a_year_that_is_not_there(day, written, year):
    assert read_message(f"<13>{written} h a: m".encode(), How(day))["time"].startswith(f"{year}-")
