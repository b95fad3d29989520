"""`longwave flower`: who may reach it, and what is said when it is not there."""

import sys
from pathlib import Path

import pytest

from longwave.cli import flower
from longwave.config import Config
from longwave.core.errors import InvalidInput


def settings(*logins: str) -> Config:
    return Config(
        Path("/srv"), "127.0.0.1", 8080, "sqlite:///x", None, "k" * 40, "INFO", "json", flower_auth=logins
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_this_machine_needs_no_login(address: str) -> None:
    flower.check_access(settings(), address)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.4", "flower.example.org", ""])
def test_any_other_address_does(address: str) -> None:
    with pytest.raises(InvalidInput, match="set LONGWAVE_FLOWER_AUTH=user:password"):
        flower.check_access(settings(), address)
    flower.check_access(settings("ann:secret"), address)


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flower", None)
    with pytest.raises(flower.FlowerMissing, match=r'`pip install "flower>=2\.2"` brings it'):
        flower._options(settings(), 5555, "127.0.0.1", "")
