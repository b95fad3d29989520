"""What the network's faults mean to a person: one table from aiohttp's errors to plain words and a remedy."""

import asyncio
import errno
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp

AT_HOME = "see that the server runs there, and that the base URL has its address and port"
ABROAD = "see that this machine reaches the internet, and that no firewall or proxy stands between"
SCHEME = "see whether the base URL must begin with http:// or https://"


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault. `what` goes on after the server's address; `remedy` None: it depends on whose server it is."""

    what: str
    errors: tuple[type[BaseException], ...] = ()
    numbers: tuple[int, ...] = ()
    remedy: str | None = None


# The first row that fits counts: by the error's class, or by the system's number in it or in its cause.
TABLE: tuple[Fault, ...] = (
    Fault("cannot be found: its name is unknown", (aiohttp.ClientConnectorDNSError,),
          remedy="see that the host is spelled right, and that this machine can look up names"),
    Fault("has a certificate that this machine does not trust", (aiohttp.ClientConnectorCertificateError,),
          remedy="give it one that this machine trusts, for the name in the base URL"),
    Fault("does not speak TLS", (aiohttp.ClientSSLError,), remedy=SCHEME),
    Fault("is no web address", (aiohttp.InvalidURL,),
          remedy="give a base URL such as http://127.0.0.1:8081"),
    Fault("refuses connections", (), (errno.ECONNREFUSED,)),
    Fault("cannot be reached from here", (), (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL)),
    Fault("does not take a connection in time", (aiohttp.ConnectionTimeoutError,), (errno.ETIMEDOUT,)),
    Fault("does not answer in time", (asyncio.TimeoutError,)),
    Fault("closed the connection without an answer", (aiohttp.ServerDisconnectedError,),
          (errno.ECONNRESET, errno.EPIPE), SCHEME),
    Fault("cannot be connected to: this machine has no file descriptors left", (), (errno.EMFILE, errno.ENFILE),
          "raise the limit of open files (ulimit -n)"),
    Fault("cannot be connected to", (aiohttp.ClientConnectorError,)),
    Fault("does not answer in HTTP", (aiohttp.ClientResponseError,), remedy=SCHEME),
    Fault("broke off in the middle of its answer", (aiohttp.ClientPayloadError,)),
    Fault("lost the connection", (aiohttp.ClientError, OSError)),
)  # fmt: skip


def explain(error: BaseException) -> Fault:
    """The fault that `error` is; for one that is not in the table, the error's name."""
    numbers = set(_numbers(error))
    for fault in TABLE:
        if isinstance(error, fault.errors) or numbers.intersection(fault.numbers):
            return fault
    return Fault(f"cannot be used ({type(error).__name__})")


def remedy(fault: Fault, *, is_own_server: bool) -> str:
    """What to do about it: somebody's own Bot API server can be started, Telegram's cannot."""
    return fault.remedy or (AT_HOME if is_own_server else ABROAD)


def _numbers(error: BaseException | None) -> Iterator[int]:
    """The system's numbers in an error and in what caused it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            yield error.errno
        error = error.__cause__
