"""What Telegram makes of a link in a text: it rewrites good ones, and drops bad ones without an error.

Follows `LinkManager::get_checked_link`, `get_link_user_id` and `parse_url` of TDLib.
"""

import ipaddress
import re

_SCHEMES = {"tg:": "tg", "ton:": "ton", "tonsite:": "tonsite"}
_PROTOCOL = re.compile(r"([^:/?#@\[\]]*)://")
_AUTHORITY = re.compile(r"[^/?#]*")
_ALLOWED_HOST = re.compile(r"(?:[A-Za-z0-9.\-_!$,~*'();&+=\u0080-\U0010ffff]|%[0-9A-Fa-f]{2})*")
_ALLOWED_USER = re.compile(r"(?:[A-Za-z0-9.\-_!$,~*'();&+=:\u0080-\U0010ffff]|%[0-9A-Fa-f]{2})*")
_SPACES = " \t\r\n\0\v"
_UPPER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_CONTROL = {code: f"%{code:02X}" for code in range(0x21)}
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_USER_ID = (1 << 40) - 1
_DATE_FORMAT = re.compile(r"[rR]|[tTdDwW]*")


def ascii_lower(text: str) -> str:
    """Lower case of A–Z only, which is all that Telegram lowers in tags and links."""
    return text.translate(_UPPER)


def strict_int(text: str, bits: int = 64) -> int | None:
    """The number `text` spells in its shortest form, or None when it does not (`025`, `+1`) or is too big."""
    if len(text) > 20 or not re.fullmatch(r"-?[0-9]+", text):
        return None
    number = int(text)
    if str(number) != text or not -(1 << (bits - 1)) <= number < 1 << (bits - 1):
        return None
    return number


def checked_link(link: str) -> str:
    """The link as Telegram will store it, or "" for one that it silently drops."""
    if not link.isascii() and _SURROGATE.search(link):
        return ""
    for prefix, scheme in _SCHEMES.items():
        if ascii_lower(link[: len(prefix)]) == prefix:
            return _checked_own_link(scheme, link[len(prefix) :].removeprefix("//"))
    url = _Url.parse(link)
    if url is None or ("." not in url.host and not url.is_ipv6):
        return ""
    return url.rebuilt()


def link_user_id(link: str) -> int | None:
    """The user that a `tg://user?id=…` link mentions."""
    query = _own_query(ascii_lower(link), "user")
    value = _parameters(query or "").get("id")
    number = strict_int(value) if value is not None else None
    return number if number is not None and 0 < number <= _MAX_USER_ID else None


def link_custom_emoji_id(link: str) -> str | None:
    """The custom emoji that a `tg://emoji?id=…` link names."""
    query = _own_query(link, "emoji")
    return custom_emoji_id(_parameters(query or "").get("id", ""))


def custom_emoji_id(text: str) -> str | None:
    """`text` when it can be the id of a custom emoji."""
    return text if strict_int(text) else None


def link_date(link: str) -> tuple[int, str] | None:
    """Time and format of a `tg://time?unix=…&format=…` link."""
    parameters = _parameters(_own_query(link, "time") or "")
    unix_time = strict_int(parameters.get("unix", ""), bits=32)
    date_format = parameters.get("format", "")
    if unix_time is None or unix_time <= 0 or not is_date_format(date_format):
        return None
    return unix_time, date_format


def is_date_format(text: str) -> bool:
    """Whether `text` is a format of a date_time entity: `r`, or any of `t T d D w W`."""
    return _DATE_FORMAT.fullmatch(text) is not None


def _own_query(link: str, host: str) -> str | None:
    """The query of a `tg:` link to `host`, without its fragment; None for any other link."""
    if ascii_lower(link[:3]) != "tg:":
        return None
    rest = link[3:].removeprefix("//")
    if ascii_lower(rest[: len(host)]) != host:
        return None
    rest = rest[len(host) :].removeprefix("/")
    return rest[1:].partition("#")[0] if rest.startswith("?") else None


def _parameters(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for parameter in query.split("&"):
        key, _, value = parameter.partition("=")
        found.setdefault(key, value)
    return found


def _checked_own_link(scheme: str, rest: str) -> str:
    url = _Url.parse(rest)
    if url is None or ascii_lower(rest[:8]).startswith(("http://", "https://")):
        return ""
    allowed = r"[A-Za-z0-9\-_.]*" if scheme == "tonsite" else r"[A-Za-z0-9\-_]*"
    if url.user or url.port or url.is_ipv6 or not re.fullmatch(allowed, url.host):
        return ""
    query = url.query[1:] if url.query.startswith("/?") else url.query
    return f"{scheme}://{url.host}{query}"


class _Url:
    """An address cut into the parts that Telegram looks at."""

    __slots__ = ("host", "is_ipv6", "port", "protocol", "query", "user")

    def __init__(self, protocol: str, authority: str, query: str) -> None:
        self.protocol = protocol
        rest, self.port = _split_port(authority)
        self.user, _, host = rest.rpartition("@")
        self.host = ascii_lower(host)
        self.is_ipv6 = len(host) > 1 and host[0] == "[" and host[-1] == "]"
        query = query.rstrip(_SPACES) or "/"
        self.query = ("" if query[0] == "/" else "/") + query.translate(_CONTROL)

    @classmethod
    def parse(cls, link: str) -> "_Url | None":
        protocol = "http"
        if found := _PROTOCOL.match(link):
            protocol = ascii_lower(found[1])
            link = link[found.end() :]
        authority = _AUTHORITY.match(link)
        if protocol not in ("http", "https") or authority is None:
            return None
        url = cls(protocol, authority[0], link[authority.end() :])
        return url if url._is_allowed() else None

    def _is_allowed(self) -> bool:
        if self.port is None or self.host in ("", "."):
            return False
        if self.is_ipv6:
            return _is_ipv6(self.host[1:-1])
        return bool(_ALLOWED_HOST.fullmatch(self.host) and _ALLOWED_USER.fullmatch(self.user))

    def rebuilt(self) -> str:
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"{self.protocol}://{user}{self.host}{port}{self.query}"


def _split_port(authority: str) -> tuple[str, int | None]:
    """The authority without its port, and the port: 0 when none is given, None when it is not a port."""
    colon = max(authority.rfind(sign) for sign in ":]@")
    if colon <= 0 or authority[colon] != ":":
        return authority, 0
    digits = authority[colon + 1 :]
    port = strict_int(digits.lstrip("0") or digits[-1:], bits=32)
    return authority[:colon], port if port and 0 < port <= 65535 else None


def _is_ipv6(address: str) -> bool:
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return "%" not in address
