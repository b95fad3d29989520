"""One frozen Config, read from `LONGWAVE_*` once. A bad value refuses to start and says what is allowed.

`LONGWAVE_X_FILE` gives the value of X as a file's content, for secrets mounted by an orchestrator.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import platformdirs

from longwave.core.errors import InvalidInput, Problem

PREFIX = "LONGWAVE_"
DATABASE_SCHEMES = ("sqlite", "postgres", "postgresql", "mysql", "mariadb")
BROKER_SCHEMES = ("redis", "rediss", "redis+socket", "amqp", "amqps")

SOCKET_PATH_LIMIT = 100
"""Bytes. The kernel's own limit is 107 on Linux and 103 on macOS."""

# Neither TMPDIR nor /run/user: every process, also one started by cron, must find the same folder.
RUNTIME_ROOT = Path("/tmp")  # noqa: S108

LogFormat = Literal["console", "json"]


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting of Longwave.

    home: the data folder (database, secret key, broker socket, pid files in embedded mode).
    host, port: where the web process listens.
    database_url: SQLite in the data folder unless set; PostgreSQL or MySQL/MariaDB in production.
    broker_url: None means embedded: a Valkey server on a unix socket, started by `longwave up`.
    secret_key: signs and encrypts; generated once into the data folder (mode 0600) unless set.
    log_level, log_format: what is logged and whether for people (`console`) or machines (`json`).
    modules: Python modules of your own that declare jobs; every process that runs jobs imports them.
    log_dir: a folder for a log file a component, beside stderr; none unless set.
    flower_auth: who may see Flower, each as `user:password`; nobody from another machine unless set.
    keep_done, keep_failed: days for which jobs are kept that succeeded or were cancelled, and that failed.
    """

    home: Path
    host: str
    port: int
    database_url: str
    broker_url: str | None
    secret_key: str
    log_level: str
    log_format: LogFormat
    modules: tuple[str, ...] = ()
    log_dir: Path | None = None
    flower_auth: tuple[str, ...] = ()
    keep_done: float = 7.0
    keep_failed: float = 30.0

    def __repr__(self) -> str:
        return f"Config(home={str(self.home)!r}, embedded={self.is_embedded})"

    @property
    def is_embedded(self) -> bool:
        """True when Longwave starts and supervises its own broker."""
        return self.broker_url is None


ALLOWED = tuple(field.name for field in fields(Config))


def read(environ: Mapping[str, str]) -> Config:
    """The Config that `environ` describes. Raises InvalidInput naming every variable at fault."""
    problems: list[Problem] = []
    values = _collect(environ, problems)

    def take(name: str, parse: Callable[[str], Any], default: Any) -> Any:
        text = values.get(name)
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError as error:
            problems.append(Problem(PREFIX + name.upper(), _shown(name, text), str(error)))
            return default

    home = take("home", _home, _default_home())
    config = Config(
        home=home,
        host=take("host", _text, "127.0.0.1"),
        port=take("port", _port, 8080),
        database_url=take("database_url", _database_url, f"sqlite:///{home / 'longwave.db'}"),
        broker_url=take("broker_url", _broker_url, None),
        secret_key=take("secret_key", _secret_key, ""),
        log_level=take("log_level", _choice("DEBUG", "INFO", "WARNING", "ERROR"), "INFO"),
        log_format=take("log_format", _choice("console", "json"), "console"),
        modules=take("modules", _modules, ()),
        log_dir=take("log_dir", _home, None),
        flower_auth=take("flower_auth", _logins, ()),
        keep_done=take("keep_done", _days, 7.0),
        keep_failed=take("keep_failed", _days, 30.0),
    )
    if problems:
        raise InvalidInput(*problems)
    return config if config.secret_key else _with_secret_key(config)


@lru_cache(maxsize=1)
def current() -> Config:
    """The Config of this process, read from the environment at the first call."""
    return read(os.environ)


def data_folder() -> Path:
    """The data folder, for an error about it: also when it, or another setting, keeps `current` from working."""
    text = _collect(os.environ, []).get("home", "")
    return _home(text) if text.strip() else _default_home()


def shows_tracebacks() -> bool:
    """Whether LONGWAVE_LOG_LEVEL asks for tracebacks, also when another setting is wrong."""
    return _collect(os.environ, []).get("log_level", "").strip().upper() == "DEBUG"


def broker_socket(config: Config) -> Path:
    """Where the embedded broker listens: in the data folder, or in a short runtime folder when that is deep.

    Only a path: the supervisor makes the folder, for its owner alone (mode 0700).
    """
    socket = config.home / "run" / "broker.sock"
    if len(os.fsencode(socket)) <= SOCKET_PATH_LIMIT:
        return socket
    mark = hashlib.sha256(os.fsencode(config.home)).hexdigest()[:16]
    return RUNTIME_ROOT / f"longwave-{os.getuid()}-{mark}" / "broker.sock"


def _collect(environ: Mapping[str, str], problems: list[Problem]) -> dict[str, str]:
    values: dict[str, str] = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in ALLOWED:
            values[name] = value
        elif name.removesuffix("_file") in ALLOWED:
            text = _read_secret(variable, value, problems)
            if text is not None:
                values.setdefault(name.removesuffix("_file"), text)
        else:
            names = ", ".join(PREFIX + allowed.upper() for allowed in ALLOWED)
            problems.append(Problem(variable, "…", f"there is no such setting; the settings are {names}"))
    return values


def _read_secret(variable: str, path: str, problems: list[Problem]) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        problems.append(Problem(variable, path, f"cannot be read ({error.strerror}); name a readable file"))
        return None
    except UnicodeDecodeError:
        problems.append(Problem(variable, path, "is not UTF-8 text; write the value alone into the file"))
        return None


def _shown(name: str, text: str) -> str:
    """`text` as an error may repeat it: without the secret key or a login, without a URL's password."""
    if name in ("secret_key", "flower_auth"):
        return "…"
    return re.sub(r"://[^/]*@", "://…@", text)


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; give a value or leave the variable out")
    return text.strip()


def _default_home() -> Path:
    return Path(platformdirs.user_data_dir("longwave", appauthor=False))


def _home(text: str) -> Path:
    return Path(_text(text)).expanduser().absolute()


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 1 <= port <= 65535:
        raise ValueError("must be a whole number from 1 to 65535")
    return port


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0.01 <= days <= 3650:
        raise ValueError("must be a number of days from 0.01 to 3650")
    return days


def _modules(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(
                f"{name!r} is no module's name; give names such as bot.tasks, separated by commas"
            )
    return tuple(dict.fromkeys(names))


def _logins(text: str) -> tuple[str, ...]:
    logins = tuple(dict.fromkeys(login.strip() for login in text.split(",") if login.strip()))
    parts = [login.partition(":") for login in logins]
    if not logins or not text.isascii() or not all(user and password for user, _, password in parts):
        raise ValueError("must be user:password in plain ASCII, or several separated by commas")
    return logins


def _choice(*allowed: str) -> Callable[[str], Any]:
    def parse(text: str) -> str:
        for name in allowed:
            if text.strip().lower() == name.lower():
                return name
        raise ValueError("must be one of " + ", ".join(allowed))

    return parse


def _url(text: str, schemes: tuple[str, ...], example: str) -> str:
    if urlsplit(text).scheme not in schemes:
        raise ValueError(
            f"must start with one of {', '.join(s + '://' for s in schemes)}; example: {example}"
        )
    return text


def _database_url(text: str) -> str:
    return _url(text, DATABASE_SCHEMES, "postgresql://user:password@host:5432/longwave")


def _broker_url(text: str) -> str:
    return _url(text, BROKER_SCHEMES, "redis://host:6379/0")


def _secret_key(text: str) -> str:
    if len(text.strip()) < 32:
        raise ValueError("must have at least 32 characters; make one with `openssl rand -base64 48`")
    return text.strip()


def _with_secret_key(config: Config) -> Config:
    values = {field.name: getattr(config, field.name) for field in fields(Config)}
    values["secret_key"] = _stored_key(config.home / "secret.key")
    return Config(**values)


def _stored_key(path: Path) -> str:
    """The key in `path`, made on first use. Whoever creates the file first wins; the others read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        draft = path.with_suffix(f".{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # fails when another process was first: its key is the one that counts
        except FileExistsError:
            draft.unlink()
            return path.read_text(encoding="ascii").strip()
        draft.unlink()
        return path.read_text(encoding="ascii").strip()
