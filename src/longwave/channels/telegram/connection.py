"""The wire to a Bot API server: one session for a bot, and an exact word for whatever becomes of a request.

What counts is whether the request may have left. Before that a fault is Retry: nobody can have got anything.
From the first byte on it is Unknown, because Telegram has no key that would make a repeat harmless.
aiohttp repeats only idempotent methods by itself; POST is not one.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from multidict import CIMultiDict, istr
from yarl import URL

from longwave.channels.base import (
    LEAVING,
    Account,
    AccountRefused,
    Message,
    ProviderAway,
    Recipient,
    TooLate,
)
from longwave.channels.telegram import content as contents
from longwave.channels.telegram.deadline import Deadline
from longwave.channels.telegram.errors import classify
from longwave.channels.telegram.message import TelegramMessage
from longwave.channels.telegram.unreachable import explain, remedy
from longwave.core.outcomes import Outcome, Rejected, Retry, Sent, Unknown

SERVER = "https://api.telegram.org"
CONNECT_TIMEOUT = 10.0
"""Seconds for name look-up, TCP and TLS together."""
REQUEST_TIMEOUT = 30.0
UPLOAD_TIMEOUT = 120.0
KEEP_ALIVE = 15.0
"""Seconds an idle connection is kept: well under a server's own limit, or it is closed as we write."""
MAX_ANSWER = 1 << 20
"""Bytes of an answer. The largest real ones, an album's ten messages, have some 30 kB."""

_TOKEN = re.compile(r"[0-9]{3,20}:[A-Za-z0-9_-]{20,100}")
_TOKEN_ANYWHERE = re.compile(r"[0-9]{3,20}(?::|%3[Aa])[A-Za-z0-9_-]{20,}")
_JSON = CIMultiDict({"Content-Type": "application/json"})
_NOT_WRITTEN = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
)


class TelegramConnection:
    """An open way to Telegram for one bot. Shared by everything in a process that sends as this bot."""

    def __init__(self, account: Account, *, timeout: float = REQUEST_TIMEOUT) -> None:
        self._account = account
        self._urls: dict[str, URL] = {}
        self._timeout = timeout
        self._deadline = Deadline(timeout)
        self._session = aiohttp.ClientSession(
            connector=_Connector(limit=0, keepalive_timeout=KEEP_ALIVE),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_timeout(None),
            request_class=_Request,
            auto_decompress=False,  # compression is not asked for, and an answer must not grow in memory
        )

    def __repr__(self) -> str:
        return f"TelegramConnection({server_of(self._account)})"

    async def send(self, message: Message, request: bytes) -> Outcome:
        """Send one rendered request. Never raises for what Telegram or the network does."""
        assert isinstance(message, TelegramMessage)
        url = self._urls.get(message.method) or self._url(message.method)
        waiting = self._deadline.begin()
        try:
            # Not `async with`: read to its end, an answer gives its connection back by itself, and at once.
            response = await self._session.post(url, data=request, headers=_JSON, allow_redirects=False)
            body = await _read(response)
        except TooLate:
            raise
        except asyncio.CancelledError:
            if not self._deadline.passed(waiting):
                raise
            return self._failed(TimeoutError())
        except Exception as error:
            return self._failed(error)
        finally:
            self._deadline.end(waiting)
        return _outcome(message, response.status, body, self._account.secret)[0]

    async def upload(self, message: Message, recipient: Recipient) -> tuple[Outcome, Mapping[str, str]]:
        """Send to one recipient with the local files themselves; on Sent, also `{content field: file id}`.

        Raises TemplateError. A file that cannot be read is Rejected: it is the content's fault.
        """
        assert isinstance(message, TelegramMessage)
        content = message.filled(recipient)
        with ExitStack() as files:
            form = aiohttp.FormData({"chat_id": recipient.address})
            for name, value in contents.params(content, paid=message.paid).items():
                form.add_field(name, value if isinstance(value, str) else orjson.dumps(value).decode())
            for field, path in contents.local_files(content).items():
                try:
                    file = files.enter_context(path.open("rb"))
                except OSError as error:
                    return Rejected(f"{field}: {path} cannot be read ({error.strerror})"), {}
                form.add_field(contents.attach_name(field), file, filename=path.name)
            outcome, result = await self._post(message, form)
        return outcome, contents.file_ids(result, content) if isinstance(outcome, Sent) else {}

    async def _post(self, message: TelegramMessage, form: aiohttp.FormData) -> tuple[Outcome, Any]:
        timeout = _timeout(UPLOAD_TIMEOUT)
        url = self._url(message.method)
        try:
            async with self._session.post(url, data=form, timeout=timeout, allow_redirects=False) as response:
                status = response.status
                body = await _read(response)
        except TooLate:
            raise
        except Exception as error:
            return self._failed(error), None
        return _outcome(message, status, body, self._account.secret)

    async def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """The result of any method that sends nothing. Raises AccountRefused with the reason."""
        refusal: AccountRefused
        try:
            async with self._session.post(
                self._url(method),
                data=orjson.dumps(params),
                headers=_JSON,
                allow_redirects=False,
                timeout=_timeout(self._timeout),
            ) as response:
                status = response.status
                body = await _read(response)
        except Exception as error:
            # Raised outside of this block: aiohttp's error, and the URL in it, must not become its context.
            refusal = ProviderAway(self._why_away(error))
        else:
            answer = _loads(body)
            if answer is not None and answer.get("ok") is True:
                return answer.get("result")
            refusal = AccountRefused(_refusal(status, answer, self._account))
        raise refusal

    async def close(self) -> None:
        """Close every connection. Closing twice is harmless."""
        await self._session.close()

    def _url(self, method: str) -> URL:
        url = URL(f"{server_of(self._account)}/bot{quote(self._account.secret, safe=':')}/{method}")
        self._urls[method] = url
        return url

    def _failed(self, error: Exception) -> Outcome:
        if self._session.closed and _is_refused_by_us(error):
            return Retry("the connection was closed on our side before the request left")
        if _was_not_written(error):
            return Retry(self._what_happened(error))
        if isinstance(error, asyncio.TimeoutError):
            return Unknown("no answer in time")
        if isinstance(error, _AnswerTooLong):
            return Unknown(str(error))
        return Unknown(f"the request left, then {self._what_happened(error)}")

    def _what_happened(self, error: BaseException) -> str:
        """The address and what is wrong with it. Nothing of the error's own text, which has the URL with the token."""
        return f"{self._server} {explain(error).what}"

    def _why_away(self, error: BaseException) -> str:
        fault = explain(error)
        advice = remedy(fault, is_own_server=bool(self._account.base_url))
        return f"{self._server} {fault.what}; {advice}"

    @property
    def _server(self) -> str:
        return scrub(server_of(self._account), self._account.secret)


class _Request(aiohttp.ClientRequest):
    """Without the headers that the Bot API has no use for."""

    DEFAULT_HEADERS: dict[istr, str] = {}


class _Connector(aiohttp.TCPConnector):
    """Says when a request has its connection, and so leaves: a new one takes its time for TCP and TLS."""

    async def connect(self, *args: Any, **options: Any) -> Any:
        connection = await super().connect(*args, **options)
        leaving = LEAVING.get()
        if leaving is not None:
            try:
                leaving()
            except BaseException:
                connection.release()  # open, and unused: the next request leaves at once
                raise
        return connection


class _AnswerTooLong(Exception):
    pass


def server_of(account: Account) -> str:
    """The Bot API server's address without its trailing slash."""
    return (account.base_url or SERVER).rstrip("/")


def check_token(token: str) -> None:
    """Raise AccountRefused when it cannot be a bot's token; the message does not show it."""
    if not _TOKEN.fullmatch(token):
        raise AccountRefused(
            "the token is malformed: a bot's token reads 123456789:AAF… (digits, a colon, some 35 letters, "
            "digits, - and _); copy it from @BotFather once more"
        )


def scrub(text: str, token: str) -> str:
    """`text` without the token, also percent-encoded, and without anything that looks like one."""
    for secret in {token, quote(token, safe=""), quote(token)} - {""}:
        text = text.replace(secret, "<token>")
    return _TOKEN_ANYWHERE.sub("<token>", text)


def _timeout(seconds: float | None) -> aiohttp.ClientTimeout:
    """So many seconds for all of a request; None where a Deadline looks after it."""
    return aiohttp.ClientTimeout(total=seconds, connect=CONNECT_TIMEOUT)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The whole answer. Whatever happens, its connection is free again or closed."""
    length = response.content_length
    if length is not None and length <= MAX_ANSWER:
        return await response.read()
    chunks: list[bytes] = []
    left = MAX_ANSWER
    async with response:
        async for chunk in response.content.iter_any():
            left -= len(chunk)
            if left < 0:
                response.close()
                raise _AnswerTooLong(f"the answer has more than {MAX_ANSWER} bytes")
            chunks.append(chunk)
    return b"".join(chunks)


def _is_refused_by_us(error: Exception) -> bool:
    """Whether aiohttp began nothing, because the session had been closed."""
    is_connectors = type(error) is aiohttp.ClientConnectionError and str(error) == "Connector is closed."
    return is_connectors or isinstance(error, RuntimeError)


def _was_not_written(error: Exception) -> bool:
    """Whether the request cannot have left whole."""
    if isinstance(error, _NOT_WRITTEN):
        return True
    # aiohttp looks at the transport before it writes the request, in one piece; it was closing by then.
    causes = (error, error.__cause__)
    return any(
        isinstance(cause, aiohttp.ClientConnectionResetError) and _is_first_write(cause) for cause in causes
    )


def _is_first_write(error: BaseException) -> bool:
    return str(error) == "Cannot write to closing transport"


def _loads(body: bytes) -> dict[str, Any] | None:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return answer if type(answer) is dict else None


def _outcome(message: TelegramMessage, status: int, body: bytes, token: str) -> tuple[Outcome, Any]:
    answer = _loads(body)
    if answer is not None:
        if answer.get("ok") is True:
            message.is_source_read = True
            result = answer.get("result")
            return Sent(_message_id(result)), result
        if "ok" in answer:
            if isinstance(answer.get("description"), str):  # a proxy may name the URL there
                answer["description"] = scrub(answer["description"], token)
            return classify(status, answer, from_chat=message.has_source and not message.is_source_read), None
    if status >= 400:
        return classify(status, {}), None
    return Unknown(f"the answer (HTTP {status}) is not the Bot API's"), None


def _message_id(result: object) -> str:
    if type(result) is dict and "message_id" in result:
        return str(result["message_id"])
    return ",".join(map(str, contents.message_ids(result))) if isinstance(result, Mapping | Sequence) else ""


def _refusal(status: int, answer: Mapping[str, Any] | None, account: Account) -> str:
    text = scrub(str((answer or {}).get("description") or f"HTTP {status}"), account.secret)
    server = server_of(account)
    if status == 401:
        return f"Telegram does not accept the token ({text}): it was revoked or never existed; see @BotFather"
    if status == 404:
        return f"{server} knows no such token or method ({text}); check the token and the base URL"
    if answer is None:
        return f"{server} does not answer like a Bot API server (HTTP {status}); check the base URL"
    return f"Telegram refused: {text}"
