"""What seals backups and what opens them: keys of our own, and recipients of age.

A key is one line of text that survives paper and telephone: ``UBK1-`` and 14 groups of four letters and digits
(base32 of 32 random bytes and 3 bytes of checksum). Its id is a hash of it: it may be shown, and stands in every
object that the key opens. A file of keys has one a line, ``#`` begins a comment; the first key seals, each opens.

Each object has a data key of its own. That is what is wrapped here, once per recipient: by AES-256-GCM under a key
derived (HKDF-SHA-256) from ours and a random salt, or by age.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyrage  # type: ignore[import-untyped]
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from understudy import config_backup
from understudy.errors import UnderstudyError

KEY_BYTES: Final = 32
COMMAND_SECONDS: Final = 30.0
MAX_TEXT: Final = 64 * 1024
MAX_KEYS: Final = 64
_PREFIX: Final = "UBK1-"
_SALT_BYTES: Final = 32
_CHECK_BYTES: Final = 3


class KeysError(UnderstudyError):
    """Keys cannot be read or do not fit; the text says which, where and what to do, never what the key is."""


@dataclass(frozen=True, slots=True)
class Wrapped:
    """The data key of one object for one recipient: ``text`` opens only with that recipient's secret."""

    recipient: str
    text: str


class Key:
    """One key of ours."""

    def __init__(self, secret: bytes) -> None:
        assert len(secret) == KEY_BYTES
        self._secret = secret
        self.id = "k" + hashlib.sha256(b"understudy backup key id\0" + secret).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Key({self.id})"

    @classmethod
    def new(cls) -> Key:
        """A fresh random key."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def parse(cls, text: str, where: str) -> Key:
        """The key that `text` wrote; spaces, hyphens and case do not matter. Raises `KeysError`."""
        plain = re.sub(r"[\s\-]", "", text).upper()
        if not plain.startswith("UBK1"):
            raise KeysError(f"{where}: expected a key that begins with {_PREFIX}, found something else")
        try:
            raw = base64.b32decode(plain[4:])
        except ValueError:
            raw = b""
        if len(raw) != KEY_BYTES + _CHECK_BYTES:
            raise KeysError(
                f"{where}: expected {_PREFIX} and 56 letters A-Z and digits 2-7, found another text"
            )
        if raw[KEY_BYTES:] != _checksum(raw[:KEY_BYTES]):
            raise KeysError(
                f"{where}: the key has a typing error (its checksum does not fit); compare it with the original"
            )
        return cls(raw[:KEY_BYTES])

    @property
    def text(self) -> str:
        """The secret itself, for a file or for paper."""
        body = base64.b32encode(self._secret + _checksum(self._secret)).decode()
        return _PREFIX + "-".join(body[i : i + 4] for i in range(0, len(body), 4))

    def wrap(self, data_key: bytes, context: bytes) -> Wrapped:
        salt = secrets.token_bytes(_SALT_BYTES)
        sealed = AESGCM(self._derived(salt)).encrypt(bytes(12), data_key, context)
        return Wrapped(self.id, base64.b64encode(salt + sealed).decode())

    def unwrap(self, wrapped: Wrapped, context: bytes) -> bytes | None:
        """The data key; None: it was wrapped by another key, for another object, or changed since."""
        try:
            raw = base64.b64decode(wrapped.text, validate=True)
            return AESGCM(self._derived(raw[:_SALT_BYTES])).decrypt(bytes(12), raw[_SALT_BYTES:], context)
        except (ValueError, InvalidTag):
            return None

    def mac(self, message: bytes) -> str:
        """HMAC-SHA-256 (hexadecimal) under a key that is derived for nothing else."""
        derived = HKDF(hashes.SHA256(), KEY_BYTES, None, b"understudy backup authentication").derive(
            self._secret
        )
        return hmac.new(derived, message, hashlib.sha256).hexdigest()

    def _derived(self, salt: bytes) -> bytes:
        """A key for one wrapping only, so its nonce may be zero."""
        return HKDF(hashes.SHA256(), KEY_BYTES, salt, b"understudy backup data key").derive(self._secret)


class Keys:
    """What objects are sealed for, and what they are opened with. Holds secrets: ``repr`` names ids only.

    Args:
        sealing: the key of ours that seals; None: recipients of age only.
        opening: every key of ours, the sealing one too.
        recipients: of age. identities: of age, as their files hold them.
    """

    def __init__(
        self,
        sealing: Key | None = None,
        opening: Sequence[Key] = (),
        recipients: Sequence[str] = (),
        identities: Sequence[str] = (),
    ) -> None:
        self._sealing = sealing
        self._opening = {key.id: key for key in (*opening, *([sealing] if sealing else ()))}
        self._age_recipients = [_recipient(text) for text in recipients]
        self._identities = [_identity(text) for text in identities]
        self._age_names = tuple(recipients)
        self.identities = tuple(str(i.to_public()) for i in self._identities)

    def __repr__(self) -> str:
        return f"Keys(seals for {', '.join(self.recipients) or 'nobody'}; opens {', '.join(self.openers) or 'nothing'})"

    @property
    def recipients(self) -> tuple[str, ...]:
        """Whom objects are sealed for: the id of our key, and the recipients of age."""
        return (*([self._sealing.id] if self._sealing else ()), *self._age_names)

    @property
    def openers(self) -> tuple[str, ...]:
        """What these keys open: ids of ours, and the recipients whose identities are here."""
        return (*self._opening, *self.identities)

    @property
    def ours(self) -> tuple[str, ...]:
        """Ids of our own keys. Without any, nobody can tell who wrote something."""
        return tuple(self._opening)

    def authenticate(self, message: bytes) -> tuple[str, str] | None:
        """The id of the key that seals, and its proof that a holder of it wrote this; None: recipients of age only."""
        return None if self._sealing is None else (self._sealing.id, self._sealing.mac(message))

    def authentic(self, key: str, proof: str, message: bytes) -> bool | None:
        """Whether a holder of the key of that id wrote this; None: that key is not here."""
        found = self._opening.get(key)
        return None if found is None else hmac.compare_digest(found.mac(message), proof)

    def wrap(self, data_key: bytes, context: bytes) -> tuple[Wrapped, ...]:
        """The data key of an object for each recipient. Raises `KeysError` where there is none."""
        if not self.recipients:
            raise KeysError(
                "expected a key or a recipient to seal for, found none; set key_file or recipients"
            )
        ours = [self._sealing.wrap(data_key, context)] if self._sealing else []
        age = [
            Wrapped(name, base64.b64encode(pyrage.encrypt(data_key, [recipient])).decode())
            for name, recipient in zip(self._age_names, self._age_recipients, strict=True)
        ]
        return (*ours, *age)

    def unwrap(self, wrapped: Sequence[Wrapped], context: bytes) -> bytes | None:
        """The data key of an object; None: none of these keys opens it."""
        for one in wrapped:
            key = self._opening.get(one.recipient)
            data_key = key.unwrap(one, context) if key else self._age(one)
            if data_key is not None and len(data_key) == KEY_BYTES:
                return data_key
        return None

    def _age(self, wrapped: Wrapped) -> bytes | None:
        if wrapped.recipient not in self.identities:
            return None
        try:
            return bytes(pyrage.decrypt(base64.b64decode(wrapped.text, validate=True), self._identities))
        except (ValueError, pyrage.DecryptError):
            return None


def load(settings: config_backup.Secrets) -> Keys | None:
    """The keys that the configuration names; None: ``encryption = false``. Raises `KeysError`."""
    if not settings.encryption:
        return None
    found = _own(settings)
    identities = [line for path in settings.identity_files for line in _lines(_file(path), str(path))]
    return Keys(found[0] if found else None, found, settings.recipients, identities)


def parse_keys(text: str, where: str) -> list[Key]:
    """Every key of a file's text. Raises `KeysError` where there is none, or one is wrong."""
    found = [Key.parse(line, f"{where}: key {i}") for i, line in enumerate(_lines(text, where), 1)]
    if not 1 <= len(found) <= MAX_KEYS:
        raise KeysError(
            f"{where}: expected 1 to {MAX_KEYS} keys, found {len(found)}; `understudy backup key new` makes one"
        )
    return found


def write_new(path: Path) -> Key:
    """A new key in a new file, 0600. Raises `KeysError` where the file is there already: a key is never replaced."""
    key = Key.new()
    text = f"# Opens Understudy's backups; without it they are lost. Keep a copy elsewhere. Id: {key.id}\n{key.text}\n"
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(file, "w", encoding="ascii") as out:  # noqa: PTH123 - a descriptor, not a path
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
    except FileExistsError:
        raise KeysError(
            f"{path}: expected no file of that name, found one; add the new key to it by hand, or choose another name"
        ) from None
    except FileNotFoundError:
        folder = path.absolute().parent
        raise KeysError(
            f"{path}: expected its folder, found none; make it first: install -d -m 700 {folder}"
        ) from None
    except OSError as error:
        raise KeysError(
            f"{path}: cannot be written ({(error.strerror or '').lower()}); choose a folder that this user may write to"
        ) from None
    return key


def _own(settings: config_backup.Secrets) -> list[Key]:
    if settings.key_file:
        return parse_keys(_file(settings.key_file), str(settings.key_file))
    if settings.key_command:
        return parse_keys(_command(settings.key_command), f"key_command ({settings.key_command[0]})")
    return parse_keys(settings.key, "the key from the environment") if settings.key else []


def _lines(text: str, where: str) -> list[str]:
    if len(text) > MAX_TEXT:
        raise KeysError(f"{where}: expected at most {MAX_TEXT} characters, found more")
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def _file(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXO | stat.S_IWGRP):
            raise KeysError(
                f"{path}: expected a file that only its owner and group can read, and only its owner can change, "
                f"found mode {stat.S_IMODE(mode):04o}; chmod 600 it"
            )
        with path.open("rb") as file:
            return file.read(MAX_TEXT + 1).decode("ascii", "replace")
    except OSError as error:
        raise KeysError(
            f"{path}: cannot be read ({(error.strerror or '').lower()}); put the key back, or a copy of it"
            " (`understudy backup key check --escrow FILE` proves one)"
        ) from None


def _recipient(text: str) -> pyrage.x25519.Recipient:
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise KeysError(
            f"recipient {text}: expected a public key of age (age1...), found a typing error"
        ) from None


def _identity(text: str) -> pyrage.x25519.Identity:
    try:
        return pyrage.x25519.Identity.from_str(text)
    except pyrage.IdentityError:
        raise KeysError(
            "identity_files: expected lines AGE-SECRET-KEY-1..., found another identity of age; "
            "one with a passphrase or of ssh cannot be used unattended"
        ) from None


def _command(command: tuple[str, ...]) -> str:
    """What a program prints, without a shell. Its messages are not shown: they may hold the key."""
    name = command[0]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise KeysError(
            f"key_command ({name}): expected keys within {COMMAND_SECONDS:.0f} s, found no end"
        ) from None
    except OSError as error:
        raise KeysError(
            f"key_command ({name}): cannot be started ({(error.strerror or '').lower()})"
        ) from None
    if done.returncode:
        raise KeysError(
            f"key_command ({name}): expected exit code 0, found {done.returncode}; run it by hand to see why"
        )
    return done.stdout[: MAX_TEXT + 1].decode("ascii", "replace")


def _checksum(secret: bytes) -> bytes:
    return hashlib.sha256(b"understudy backup key checksum\0" + secret).digest()[:_CHECK_BYTES]
