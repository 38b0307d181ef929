"""Keys: on paper, in files, from the environment, from a program; several of them; and never in a message."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.backup import keys as module
from understudy.backup.keys import Key, Keys, KeysError, load, parse_keys, write_new
from understudy.backup.seal import SealError, WrongKey, opener, seal, unseal
from understudy.config_backup import Secrets

CONTEXT = "main/id/archive"


@given(st.binary(min_size=32, max_size=32))
def test_a_key_survives_being_written_down(secret: bytes) -> None:
    key = Key(secret)
    spoken = key.text.lower().replace("-", " ")
    assert Key.parse(spoken, "paper").text == key.text
    assert Key.parse(key.text, "paper").id == key.id


@given(
    st.binary(min_size=32, max_size=32),
    st.integers(0, 55),
    st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
)
def test_a_typing_error_is_noticed(secret: bytes, place: int, letter: str) -> None:
    plain = Key(secret).text.replace("-", "")[4:]
    wrong = "UBK1" + plain[:place] + letter + plain[place + 1 :]
    if plain[place] == letter:
        return
    with pytest.raises(KeysError, match="typing error"):
        Key.parse(wrong, "paper")


@pytest.mark.parametrize("text", ["UBK1-AAAA", "UBK2-" + "AAAA-" * 14, "hunter2", "UBK1-" + "1111-" * 14])
def test_another_text_is_no_key_and_is_not_repeated(text: str) -> None:
    with pytest.raises(KeysError) as caught:
        Key.parse(text, "paper")
    assert text not in str(caught.value)


def test_a_key_is_in_no_repr() -> None:
    key = Key.new()
    shown = f"{key!r} {Keys(key)!r} {Secrets(key=key.text)!r}"
    assert key.text not in shown
    assert key.id in shown


def test_a_new_file_is_for_its_owner_only_and_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "backup.key"
    key = write_new(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keys = load(Secrets(key_file=path))
    assert keys is not None and keys.recipients == (key.id,)
    with pytest.raises(KeysError, match="found one"):
        write_new(path)
    assert key.text in path.read_text()


def test_a_new_file_without_its_folder_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match=f"make it first: install -d -m 700 {tmp_path}/etc"):
        write_new(tmp_path / "etc" / "backup.key")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "backup.key"
    write_new(path)
    path.chmod(mode)
    with pytest.raises(KeysError, match=f"found mode {mode:04o}; chmod 600 it"):
        load(Secrets(key_file=path))


def test_the_first_key_of_a_file_seals_and_each_opens(tmp_path: Path) -> None:
    old, new = Key.new(), Key.new()
    path = tmp_path / "backup.key"
    path.write_text(f"# rotated in 2026\n{new.text}  # the new one\n\n{old.text}\n")
    path.chmod(0o640)
    keys = load(Secrets(key_file=path))
    assert keys is not None
    assert keys.recipients == (new.id,)
    assert keys.openers == (new.id, old.id)
    before = list(seal([b"cow"], Keys(old), CONTEXT))
    assert b"".join(unseal(before, keys, CONTEXT)) == b"cow"
    with pytest.raises(WrongKey):
        list(unseal(seal([b"cow"], keys, CONTEXT), Keys(old), CONTEXT))


def test_a_program_gives_the_key() -> None:
    key = Key.new()
    keys = load(Secrets(key_command=(sys.executable, "-c", f"print('{key.text}')")))
    assert keys is not None and keys.recipients == (key.id,)


@pytest.mark.parametrize(
    ("code", "found"),
    [("raise SystemExit(3)", "found 3"), ("print('no key')", "expected a key"), ("pass", "found 0"),
     ("print('x' * 100_000)", "characters, found more")],
)  # fmt: skip
def test_a_program_that_gives_none_is_told(code: str, found: str) -> None:
    with pytest.raises(KeysError, match=found) as caught:
        load(Secrets(key_command=(sys.executable, "-c", code)))
    assert "no key" not in str(caught.value)


def test_a_program_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "COMMAND_SECONDS", 0.3)
    told = tmp_path / "pid"
    code = (
        f"import os, time, pathlib; pathlib.Path({str(told)!r}).write_text(str(os.getpid())); time.sleep(60)"
    )
    with pytest.raises(KeysError, match="found no end"):
        load(Secrets(key_command=(sys.executable, "-c", code)))
    if told.exists():  # it may not have come so far on a busy machine
        with pytest.raises(ProcessLookupError):
            os.kill(int(told.read_text()), 0)


def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(KeysError, match="cannot be started"):
        load(Secrets(key_command=("/nowhere/kms",)))


def test_recipients_of_age_open_and_the_host_need_not(tmp_path: Path) -> None:
    identity = pyrage.x25519.Identity.generate()
    writer = load(Secrets(recipients=(str(identity.to_public()),)))
    assert writer is not None
    data = list(seal([b"cow"], writer, CONTEXT))
    with pytest.raises(WrongKey):
        list(unseal(data, writer, CONTEXT))
    path = tmp_path / "identity.txt"
    path.write_text(f"# created: 2026\n# public key: {identity.to_public()}\n{identity}\n")
    path.chmod(0o600)
    reader = load(Secrets(recipients=writer.recipients, identity_files=(path,)))
    assert reader is not None
    assert b"".join(unseal(data, reader, CONTEXT)) == b"cow"


def test_what_age_does_not_know_is_refused_and_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "identity.txt"
    path.write_text("AGE-SECRET-KEY-1NOTREALLY\n")
    path.chmod(0o600)
    with pytest.raises(KeysError, match="identity of age") as caught:
        load(
            Secrets(recipients=(str(pyrage.x25519.Identity.generate().to_public()),), identity_files=(path,))
        )
    assert "NOTREALLY" not in str(caught.value)
    with pytest.raises(KeysError, match="recipient"):
        load(Secrets(recipients=("age1" + "q" * 58,)))


def test_no_encryption_has_no_keys() -> None:
    assert load(Secrets(encryption=False)) is None


def test_an_escrowed_copy_is_proven_on_a_real_object() -> None:
    key, other = Key.new(), Key.new()
    identity = pyrage.x25519.Identity.generate()
    data = list(seal([b"cow" * 1000], Keys(key, recipients=[str(identity.to_public())]), CONTEXT))
    paper = parse_keys(key.text.lower(), "paper")
    assert opener(data, Keys(None, paper), CONTEXT) == key.id
    assert opener(data, Keys(identities=[str(identity)]), CONTEXT) == str(identity.to_public())
    with pytest.raises(WrongKey):
        opener(data, Keys(None, [other]), CONTEXT)
    with pytest.raises(SealError):
        opener([data[0], bytes(64)], Keys(None, paper), CONTEXT)
