"""Bot tokens and passwords at rest: encrypted with a key derived from the installation's secret key."""

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from longwave import config
from longwave.core.errors import LongwaveError

_PURPOSE = b"longwave credentials 1"
"""Separates this key from others that may be derived from the same secret."""


class CredentialsUnreadable(LongwaveError):
    """Stored credentials were encrypted with another secret key, or were damaged."""


def encrypt(secret: str) -> str:
    """What may be stored of `secret`."""
    return _cipher(config.current().secret_key).encrypt(secret.encode()).decode("ascii")


def decrypt(stored: str) -> str:
    """The secret again. Raises CredentialsUnreadable when the secret key is not the one it was stored
    with."""
    try:
        return _cipher(config.current().secret_key).decrypt(stored.encode()).decode()
    except InvalidToken:
        raise CredentialsUnreadable(
            "The stored credentials cannot be decrypted: this is not the secret key they were stored with. "
            "Restore LONGWAVE_SECRET_KEY (or secret.key in the data folder), or "
            "remove the sender and add it again."
        ) from None


@lru_cache(maxsize=4)
def _cipher(secret_key: str) -> Fernet:
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret_key.encode())
    return Fernet(base64.urlsafe_b64encode(key))
