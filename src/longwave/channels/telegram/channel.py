"""Telegram, as a channel."""

from collections.abc import Mapping
from typing import Any

from longwave.channels.base import Account, Channel, Identity, Recipient, TemplateError
from longwave.channels.telegram import content as contents
from longwave.channels.telegram.connection import TelegramConnection, check_token
from longwave.channels.telegram.content import Content
from longwave.channels.telegram.message import TelegramMessage, escape_of
from longwave.channels.template import Template
from longwave.core.errors import Problem


class TelegramChannel:
    """Telegram's Bot API, at Telegram or on a server of one's own."""

    name = "telegram"
    default_rate = 30.0
    presets: Mapping[str, float] = {"cautious": 10.0, "standard": 30.0, "paid": 1000.0}

    def parse(self, data: Mapping[str, Any]) -> Content:
        """The content that `data` describes. Raises InvalidInput with every problem."""
        return contents.parse(data)

    def to_json(self, content: Content) -> dict[str, Any]:
        """Plain data that `parse` turns into the same content again."""
        return contents.to_json(content)

    def check(self, content: Content, *, paid: bool) -> list[Problem]:
        """What Telegram would refuse, and templates that are none."""
        return [*contents.check(content, paid=paid), *_broken_templates(content)]

    def templates(self, content: Content) -> Mapping[str, str]:
        """`{content field: template source}`."""
        return contents.templates(content)

    def compile(self, content: Content, *, paid: bool, media: Mapping[str, str]) -> TelegramMessage:
        """Content made ready to send. Raises TemplateError.

        media: file ids of local files that Telegram has already.
        """
        return TelegramMessage(content, paid=paid, media=media)

    def preview(self, content: Content, recipient: Recipient, *, paid: bool) -> list[Problem]:
        """What is wrong with the message as this recipient would get it."""
        problems = contents.check(content, paid=paid)
        texts: dict[str, str] = {}
        for field, source in contents.templates(content).items():
            try:
                texts[field] = Template(source, escape_of(content, field)).render(recipient.fields)
            except TemplateError as error:
                problems.append(Problem(field, source, str(error)))
        if not problems:
            problems = contents.check_rendered(contents.with_rendered(content, texts))
        return problems

    async def identify(self, account: Account) -> Identity:
        """Who the token belongs to (getMe). Raises AccountRefused."""
        details = await bot_api(account, "getMe", {})
        return Identity(str(details.get("id", "")), f"@{details.get('username', '')}", details)

    async def connect(self, account: Account) -> TelegramConnection:
        """Open a session; connections are made by the first sends."""
        return TelegramConnection(account)


def _broken_templates(content: Content) -> list[Problem]:
    problems: list[Problem] = []
    for field, source in contents.templates(content).items():
        try:
            Template(source)
        except TemplateError as error:
            problems.append(Problem(field, source, str(error)))
    return problems


async def bot_api(account: Account, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """The result of one Bot API method that sends nothing, as getMe. Raises AccountRefused."""
    check_token(account.secret)
    connection = TelegramConnection(account)
    try:
        result = await connection.call(method, params)
    finally:
        await connection.close()
    return result if isinstance(result, Mapping) else {"result": result}


CHANNEL: Channel = TelegramChannel()
