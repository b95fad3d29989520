"""A fake Telegram Bot API server, strict like the real one, that keeps a log of what really arrived.

    with FakeTelegram(rate=30) as telegram:
        telegram.users(blocked=0.02)
        ...                     # anything that speaks to telegram.base_url
        telegram.stats()        # what reached whom, how fast

Known differences from the real one: links and mentions in plain text make no entities; a webhook is
remembered but not called; URLs of media are not fetched; what Telegram counts against its limits is not
published (see `limits`); only the last 200,000 messages of a bot can be edited, copied or deleted.
"""

from longwave.testing.fake_telegram.options import Options
from longwave.testing.fake_telegram.process import Control, FakeTelegram
from longwave.testing.fake_telegram.server import Server, main, serve

__all__ = ["Control", "FakeTelegram", "Options", "Server", "main", "serve"]
