"""How one fake server behaves: everything its command line and its Python API can set before it starts."""

from dataclasses import dataclass

from longwave.testing.fake_telegram.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Settings of a fake Bot API server. The limits, users and faults can also be changed while it runs."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8081
    """Port to listen on; 0 takes a free one."""
    tokens: tuple[str, ...] = ()
    """The only bot tokens that exist; empty: every well-formed token is a bot."""
    rate: int | None = 30
    """Messages a bot may send in any sliding second; None: no limit."""
    paid_rate: int = 1000
    """The same for requests with allow_paid_broadcast, while the bot has Stars."""
    chat_burst: int | None = 3
    """Messages to one private chat in any `chat_seconds`; None: no limit."""
    chat_seconds: float = 3.0
    """Window of `chat_burst`. The default, 3 in 3 s, is one a second with short bursts."""
    group_burst: int | None = 20
    """Messages to one group or channel in any `group_seconds`; None: no limit."""
    group_seconds: float = 60.0
    """Window of `group_burst`."""
    stars: float = 0.0
    """Stars on every bot's balance; a paid message above the free rate costs 0.1."""
    latency: float = 0.0
    """Milliseconds by which every answer to a bot is delayed; the message counts from its arrival."""
    jitter: float = 0.0
    """Up to this many milliseconds more, evenly distributed."""
    seed: int = 0
    """Seed of everything random here: jitter, probabilities of faults, dice."""
    keep_text: bool = False
    """Keep the text of every message in the log, not only of the last 10,000."""
    keep_messages: int = 200_000
    """Messages of one bot that can still be edited, copied or deleted; older ones are "not found"."""

    def limits(self) -> Limits:
        """The part of these settings that `POST /fake/limits` can change later."""
        return Limits(
            rate=self.rate,
            paid_rate=self.paid_rate,
            chat_burst=self.chat_burst,
            chat_seconds=self.chat_seconds,
            group_burst=self.group_burst,
            group_seconds=self.group_seconds,
        )
