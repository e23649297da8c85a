"""Which files a log may have been, by name and folder."""

import pytest

from relays.reading.names import entries, rotated, stamped


@pytest.mark.parametrize(
    "name",
    ["conn.log.1", "conn.log.12.gz", "conn.log.gz", "conn.log-20261128", "conn.log-20261128-1764306000.gz",
     "conn.log.2026-11-28_05", "conn.log.old", "conn-20261128.log", "conn.1.log", "conn-26-11-28_05.00.00.log",
     "conn.05:00:00-06:00:00.log.gz", "conn.2026-11-28-05-00-00.log.bz2", "conn.log.20261128T050000Z.zst"],
)
def test_rotated_names(name):
    assert rotated("conn.log").fullmatch(name)


@pytest.mark.parametrize(
    "name",
    ["conn-summary.log", "conn-summary.26-11-28_05.00.00.log", "conn2.log", "connection.log", "conn.log.bak",
     "conn.log~", "xconn.log.1", "conn.logs", "conn.log.1.tmp", "conn.05:00:00-06:00:00.txt",
     "conn_long.log", "known_hosts.log"],
)
def test_names_of_other_files(name):
    assert not rotated("conn.log").fullmatch(name)


def test_names_without_an_ending():
    assert rotated("syslog").fullmatch("syslog.1") and rotated("syslog").fullmatch("syslog-20261128.gz")
    assert not rotated("syslog").fullmatch("syslogd.1")


def test_brackets_and_stars_in_a_name_are_what_they_are():
    assert rotated("app[prod]*.log").fullmatch("app[prod]*.log.1")
    assert not rotated("app[prod]*.log").fullmatch("appp.log.1")


def test_a_link_stands_for_files_that_differ_in_their_stamp():
    assert stamped("app-2026-11-28.log").fullmatch("app-2026-11-29.log")
    assert stamped("app-2026-11-28.log").fullmatch("app-2026-11-27.log.gz")
    assert stamped("0.log").fullmatch("1.log") and stamped("0.log").fullmatch("0.log.20230810-082034.gz")
    assert not stamped("app2-2026-11-28.log").fullmatch("app3-2026-11-28.log")
    assert not stamped("app-2026-11-28.log").fullmatch("web-2026-11-28.log")


def names(log, inodes=(), seen=()):
    found = [entry.path for entry in entries(log, inodes, seen) if not entry.foreign]
    return sorted(str(path.relative_to(log.parent.parent)) for path in found)


def test_files_lie_beside_the_log_in_dated_folders_or_where_one_of_them_was_moved(tmp_path):
    folder = tmp_path / "logs"
    for path in (
        "logs/conn.log", "logs/conn.log.1", "logs/dns.log.1", "logs/2026-11-28/conn.05:00:00-06:00:00.log.gz",
        "2026-11-27/conn.log", "2026-11-27/http.log", "logs/old/conn.log.3", "logs/old/conn.log.4", "else/conn.log.9",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    log = folder / "conn.log"
    found = ["2026-11-27/conn.log", "logs/2026-11-28/conn.05:00:00-06:00:00.log.gz", "logs/conn.log.1"]
    assert names(log) == found
    moved = (folder / "old" / "conn.log.3").stat().st_ino
    assert names(log, [moved]) == sorted([*found, "logs/old/conn.log.3", "logs/old/conn.log.4"])


def test_a_file_is_found_by_its_inode_under_a_name_that_nobody_expects(tmp_path):
    log = tmp_path / "conn.log"
    log.write_text("x")
    inode = log.stat().st_ino
    log.rename(tmp_path / "moved away")
    log.write_text("y")
    assert [entry.path.name for entry in entries(log, [inode], ())] == ["moved away"]


def test_the_log_itself_is_not_among_them_whatever_else_it_is_called(tmp_path):
    log = tmp_path / "conn.log"
    log.write_text("x")
    (tmp_path / "conn.log.1").hardlink_to(log)
    (tmp_path / "conn.log.2").symlink_to(log)
    assert entries(log, [log.stat().st_ino], ()) == []
