"""Why a command cannot be run, in words, before it is run."""

import os

import pytest

from relays.cli.edge import runnable
from relays.cli.edge.runnable import why_not


@pytest.fixture
def script(tmp_path):
    def write(content, mode=0o755):
        path = tmp_path / "handler"
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)

    return write


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"echo '{}'\n", "names no interpreter: let it begin with"),
        ("# grüße\necho\n".encode(), "names no interpreter: let it begin with"),
        (b"#!\necho\n", "names no interpreter"),
        (b"#!/bin/sh\r\necho\r\n", "CR LF"),
        (b"#!/usr/bin/env python3\r\nprint()\r\n", "CR LF"),
        (b"#!/usr/bin/nonesuch\n", "the interpreter of"),
        (b"#! /usr/bin/nonesuch -x\n", "/usr/bin/nonesuch, is not there"),
        (b"#!/etc/passwd\n", "/etc/passwd, may not be executed"),
        (b"#!/usr/bin/env nonesuch7\n", "nonesuch7, is not on PATH"),
    ],
)
def test_what_is_known_is_said(script, content, words):
    assert words in why_not(script(content))


@pytest.mark.parametrize(
    "content",
    [b"#!/bin/sh\necho\n", b"#!/bin/sh", b"#!/usr/bin/env sh\n", b"#!/usr/bin/env -S nonesuch -x\n",
     b"#!/usr/bin/env X=1 nonesuch\n", b"\x7fELF\x02\x01\x01\x00", b"\xca\xfe\xba\xbe"],
)
def test_where_nothing_is_known_nothing_is_said(script, content):
    assert why_not(script(content)) == ""


def test_files_that_are_none(script, tmp_path):
    path = script(b"#!/bin/sh\n", 0o644)
    assert why_not(path) == f"{path} is not executable: run chmod +x {path}"
    assert why_not(str(tmp_path / "nonesuch")) == f"there is no file {tmp_path}/nonesuch"
    assert why_not(str(tmp_path)) == f"{tmp_path} is a folder"
    os.symlink(tmp_path / "nonesuch", tmp_path / "link")
    assert why_not(f"{tmp_path}/link").endswith("is a link to nothing")
    assert why_not("nonesuch7") == "no program nonesuch7 is on PATH"
    assert why_not("sh") == ""


def test_a_program_that_may_not_be_read(script, monkeypatch):
    path = script(b"#!/nonesuch\n")

    def refuse(*_):
        raise PermissionError(13, "no")

    monkeypatch.setattr(runnable.Path, "open", refuse)
    assert why_not(path) == ""
