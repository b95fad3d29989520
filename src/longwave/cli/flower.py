"""`longwave flower`: Celery's own dashboard, against the configured broker, behind the logins it is given."""

import errno
import ipaddress
import os
import signal
from typing import Annotated, Any

import typer

from longwave import config, logs
from longwave.config import Config
from longwave.core.errors import InvalidInput, LongwaveError, Problem

FORGET_AFTER = 24 * 3600
"""Seconds after which Flower forgets a worker that is gone."""


PACKAGE = "flower>=2.2"
"""As in the extra, which only a checkout can name."""


class FlowerMissing(LongwaveError):
    """Flower is an extra."""


def flower(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5555,
    address: Annotated[
        str,
        typer.Option(
            help="Address to listen on; another than this machine's own needs LONGWAVE_FLOWER_AUTH."
        ),
    ] = "127.0.0.1",
    broker_api: Annotated[
        str,
        typer.Option(help="RabbitMQ's management API, where it is not on the broker's host at port 15672."),
    ] = "",
) -> None:
    """Run Flower until it is told to stop."""
    current = config.current()
    check_access(current, address)
    logs.configure(current.log_level, current.log_format)
    logs.keep(current.log_dir, "flower", current.log_format)
    _serve(_options(current, port, address, broker_api), port, address)


def check_access(current: Config, address: str) -> None:
    """Raise InvalidInput when whoever reaches this address could steer the workers without a login."""
    if not current.flower_auth and not _is_this_machine(address):
        remedy = "would let everybody in who reaches it; set LONGWAVE_FLOWER_AUTH=user:password, or leave --address out"
        raise InvalidInput(Problem("--address", address, remedy))


def _is_this_machine(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _options(current: Config, port: int, address: str, broker_api: str) -> Any:
    try:
        from flower import command
        from tornado.options import options
    except ImportError as error:
        raise FlowerMissing(f'Flower is not installed; `pip install "{PACKAGE}"` brings it.') from error
    command.apply_env_options()  # what else Flower can be told, as FLOWER_…
    options.port, options.address = port, address
    options.purge_offline_workers = options.purge_offline_workers or FORGET_AFTER
    if current.flower_auth:
        options.basic_auth = list(current.flower_auth)
    if broker_api:
        options.broker_api = broker_api
    command.extract_settings()
    command.setup_logging()
    return options


def _serve(options: Any, port: int, address: str) -> None:
    import structlog
    from flower.app import Flower
    from flower.urls import settings

    from longwave.celery import app

    server = Flower(capp=app, options=options, **settings)
    try:
        server.start_http_server()
    except OSError as error:
        raise InvalidInput(_port_problem(port, address, error)) from error
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.io_loop.add_callback_from_signal(server.stop))
    structlog.get_logger("longwave.flower").info("flower_listens", url=f"http://{address}:{port}")
    server.start()


def _port_problem(port: int, address: str, error: OSError) -> Problem:
    if error.errno == errno.EADDRINUSE:
        return Problem("--port", port, "is taken by another program; choose a free one")
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    return Problem("--address", f"{address}:{port}", f"cannot be listened on ({reason}); choose another")
