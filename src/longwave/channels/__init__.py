"""Ways for a message to leave, one folder a channel, imported when first used."""

from importlib import import_module

from longwave.channels.base import Channel
from longwave.core.errors import InvalidInput, Problem

_CHANNELS = {
    "memory": "longwave.channels.memory.channel",
    "telegram": "longwave.channels.telegram.channel",
}


def names() -> tuple[str, ...]:
    """Every channel there is."""
    return tuple(_CHANNELS)


def get(name: str) -> Channel:
    """The channel of that name. Raises InvalidInput naming the channels there are."""
    if name not in _CHANNELS:
        raise InvalidInput(Problem("channel", name, "must be one of " + ", ".join(_CHANNELS)))
    channel: Channel = import_module(_CHANNELS[name]).CHANNEL
    return channel
