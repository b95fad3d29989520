"""Every setting: its default, every way to get it wrong, and what the error says."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longwave import config
from longwave.core.errors import InvalidInput

KEY = "k" * 40


def read(home: Path, **values: str) -> config.Config:
    return config.read(
        {"LONGWAVE_HOME": str(home), **{f"LONGWAVE_{name}": value for name, value in values.items()}}
    )


def refusal(home: Path, **values: str) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        read(home, **values)
    return caught.value


def test_without_any_setting_it_is_embedded_on_sqlite_in_the_data_folder(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found.is_embedded
    assert found.database_url == f"sqlite:///{tmp_path}/longwave.db"
    assert (found.host, found.port, found.log_level, found.log_format) == (
        "127.0.0.1",
        8080,
        "INFO",
        "console",
    )


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("PORT", "0", "from 1 to 65535"),
        ("PORT", "65536", "from 1 to 65535"),
        ("PORT", "-1", "from 1 to 65535"),
        ("PORT", "http", "from 1 to 65535"),
        ("PORT", "", "from 1 to 65535"),
        ("HOST", " ", "is empty"),
        ("DATABASE_URL", "oracle://host/db", "postgresql://"),
        ("DATABASE_URL", "longwave.db", "postgresql://"),
        ("DATABASE_URL", "", "postgresql://"),
        ("BROKER_URL", "http://host", "redis://"),
        ("BROKER_URL", "localhost:6379", "redis://"),
        ("SECRET_KEY", "short", "openssl rand"),
        ("LOG_LEVEL", "LOUD", "DEBUG, INFO"),
        ("LOG_FORMAT", "xml", "console, json"),
        ("MODULES", "bot.tasks,bot/jobs.py", "'bot/jobs.py' is no module's name"),
        ("MODULES", ".tasks", "bot.tasks"),
        ("LOG_DIR", " ", "is empty"),
        ("FLOWER_AUTH", "ann", "user:password"),
        ("FLOWER_AUTH", "ann:", "user:password"),
        ("FLOWER_AUTH", "änn:secret", "plain ASCII"),
        ("FLOWER_AUTH", "ann:secret,bob", "user:password"),
        ("FLOWER_AUTH", " , ", "user:password"),
    ],
)
def test_a_bad_value_is_refused_by_name_with_the_remedy(
    tmp_path: Path, name: str, value: str, remedy: str
) -> None:
    (problem,) = refusal(tmp_path, **{name: value}).problems
    assert problem.field == f"LONGWAVE_{name}"
    assert remedy in problem.remedy


def test_modules_are_names_separated_by_commas(tmp_path: Path) -> None:
    assert read(tmp_path).modules == ()
    assert read(tmp_path, MODULES=" bot.tasks, reports ,,bot.tasks").modules == ("bot.tasks", "reports")


def test_logins_are_pairs_separated_by_commas(tmp_path: Path) -> None:
    assert read(tmp_path).flower_auth == ()
    assert read(tmp_path, FLOWER_AUTH=" ann:a:b, bob:c ,").flower_auth == ("ann:a:b", "bob:c")


def test_the_folder_for_logs_is_absolute_and_not_made_by_reading(tmp_path: Path) -> None:
    assert read(tmp_path).log_dir is None
    assert read(tmp_path, LOG_DIR=str(tmp_path / "logs")).log_dir == tmp_path / "logs"
    assert not (tmp_path / "logs").exists()


def test_every_bad_value_is_named_at_once(tmp_path: Path) -> None:
    problems = refusal(tmp_path, PORT="x", LOG_LEVEL="y", NONSENSE="z").problems
    assert {problem.field for problem in problems} == {
        "LONGWAVE_PORT",
        "LONGWAVE_LOG_LEVEL",
        "LONGWAVE_NONSENSE",
    }


def test_an_unknown_name_is_refused_and_the_names_that_exist_are_listed(tmp_path: Path) -> None:
    (problem,) = refusal(tmp_path, DATABSE_URL="sqlite:///x").problems
    assert problem.field == "LONGWAVE_DATABSE_URL"
    assert "LONGWAVE_DATABASE_URL" in problem.remedy


def test_an_unknown_name_s_value_is_not_repeated_it_may_be_a_secret(tmp_path: Path) -> None:
    assert "hunter2" not in str(refusal(tmp_path, PASSWORD="hunter2"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "tooshortsecret"),
        ("DATABASE_URL", "oracle://u:tooshortsecret@host/db"),
        ("FLOWER_AUTH", "ann:x,tooshortsecret"),
    ],
)
def test_a_refused_secret_is_not_repeated(tmp_path: Path, name: str, value: str) -> None:
    assert "tooshortsecret" not in str(refusal(tmp_path, **{name: value}))


@pytest.mark.parametrize("name", ["SECRET_KEY", "DATABASE_URL", "BROKER_URL", "FLOWER_AUTH"])
def test_a_secret_may_come_from_a_file(tmp_path: Path, name: str) -> None:
    given = {"SECRET_KEY": KEY, "DATABASE_URL": "mysql://u:p@h/d", "BROKER_URL": "amqp://h"}
    value = given.get(name, "ann:secret")
    file = tmp_path / "secret"
    file.write_text(value + "\n")
    found = getattr(read(tmp_path, **{f"{name}_FILE": str(file)}), name.lower())
    assert found == ((value,) if name == "FLOWER_AUTH" else value)


def test_a_value_given_directly_wins_over_a_file(tmp_path: Path) -> None:
    file = tmp_path / "port"
    file.write_text("1111")
    assert read(tmp_path, PORT_FILE=str(file), PORT="2222").port == 2222
    assert read(tmp_path, PORT="2222", PORT_FILE=str(file)).port == 2222


def test_a_missing_secret_file_is_refused_by_name(tmp_path: Path) -> None:
    (problem,) = refusal(tmp_path, SECRET_KEY_FILE=str(tmp_path / "absent")).problems
    assert problem.field == "LONGWAVE_SECRET_KEY_FILE"
    assert "cannot be read" in problem.remedy


def test_a_secret_file_that_is_not_text_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "binary"
    file.write_bytes(b"\xff\xfe\x00")
    (problem,) = refusal(tmp_path, SECRET_KEY_FILE=str(file)).problems
    assert problem.field == "LONGWAVE_SECRET_KEY_FILE"


def test_what_a_file_says_is_checked_like_any_value(tmp_path: Path) -> None:
    file = tmp_path / "port"
    file.write_text("eighty")
    assert "LONGWAVE_PORT" in str(refusal(tmp_path, PORT_FILE=str(file)))


def test_the_secret_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    first, second = read(tmp_path), read(tmp_path)
    assert first.secret_key == second.secret_key
    assert len(first.secret_key) >= 32
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["secret.key"]


def test_a_given_secret_key_leaves_no_file(tmp_path: Path) -> None:
    read(tmp_path, SECRET_KEY=KEY)
    assert not list(tmp_path.iterdir())


def test_other_programs_variables_are_nobody_s_business(tmp_path: Path) -> None:
    assert config.read({"LONGWAVE_HOME": str(tmp_path), "PORT": "x", "HOME": "/"}).port == 8080


def test_no_secret_is_in_the_repr(tmp_path: Path) -> None:
    shown = repr(
        read(tmp_path, SECRET_KEY=KEY, DATABASE_URL="mysql://u:hunter2@h/d", FLOWER_AUTH="a:hunter2")
    )
    assert KEY not in shown
    assert "hunter2" not in shown


@given(depth=st.integers(0, 60), name=st.sampled_from(["a", "data", "ünï", "数据"]))
def test_the_broker_s_socket_always_fits_into_the_kernel_s_limit(depth: int, name: str) -> None:
    found = _config(Path("/srv", *[name] * depth))
    assert len(os.fsencode(config.broker_socket(found))) <= config.SOCKET_PATH_LIMIT


def test_the_broker_s_socket_is_in_the_data_folder_when_it_fits() -> None:
    assert config.broker_socket(_config(Path("/srv/longwave"))) == Path("/srv/longwave/run/broker.sock")


def test_two_deep_data_folders_have_two_sockets() -> None:
    deep = Path("/srv", *["folder"] * 20)
    one, two = (config.broker_socket(_config(deep / name)) for name in ("one", "two"))
    assert one != two
    assert one == config.broker_socket(_config(deep / "one"))


def _config(home: Path) -> config.Config:
    return config.Config(home, "127.0.0.1", 8080, "sqlite:///x.db", None, KEY, "INFO", "console")


def test_how_long_jobs_are_kept_is_a_number_of_days(tmp_path: Path) -> None:
    assert (read(tmp_path).keep_done, read(tmp_path).keep_failed) == (7.0, 30.0)
    assert read(tmp_path, KEEP_DONE="0.5").keep_done == 0.5
    for wrong in ("0", "a week", "nan", "-1"):
        with pytest.raises(InvalidInput, match="must be a number of days"):
            read(tmp_path, KEEP_FAILED=wrong)
