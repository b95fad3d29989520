from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longwave import config
from longwave.senders import credentials

TOKEN = "123456789:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-bc"


@given(st.text())
def test_what_was_encrypted_is_decrypted_again(secret: str) -> None:
    assert credentials.decrypt(credentials.encrypt(secret)) == secret


def test_what_is_stored_does_not_show_the_secret_and_differs_each_time() -> None:
    first, second = credentials.encrypt(TOKEN), credentials.encrypt(TOKEN)
    assert TOKEN not in first
    assert first != second


def test_with_another_secret_key_the_error_says_what_to_restore(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = credentials.encrypt(TOKEN)
    other = replace(config.current(), secret_key="x" * 40)
    monkeypatch.setattr(config, "current", lambda: other)
    with pytest.raises(credentials.CredentialsUnreadable, match="LONGWAVE_SECRET_KEY"):
        credentials.decrypt(stored)


def test_damaged_credentials_are_an_error_of_the_same_kind() -> None:
    with pytest.raises(credentials.CredentialsUnreadable):
        credentials.decrypt(credentials.encrypt(TOKEN)[:-4] + "AAA=")
