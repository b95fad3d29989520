"""The methods about the bot itself, its chats, files, commands and updates."""

import asyncio
import re
from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from longwave.testing.fake_telegram.answers import Refusal, bad_request
from longwave.testing.fake_telegram.bots import TRUE, Call, Method, as_json
from longwave.testing.fake_telegram.delivery import target_of
from longwave.testing.fake_telegram.files import MAX_DOWNLOAD
from longwave.testing.fake_telegram.parameters import Params, flag_of, text_of, value_of, whole_of
from longwave.testing.fake_telegram.population import check_reachable
from longwave.testing.fake_telegram.updates import Poller
from longwave.testing.fake_telegram.world import finish, finish_refused

MAX_POLL_SECONDS = 50
_WEBHOOK_IS_ACTIVE = (
    "Conflict: can't use getUpdates method while webhook is active; "
    "use deleteWebhook to delete the webhook first"
)
_OTHER_POLL = (
    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
)
_COMMAND = re.compile(r"/?[a-z0-9_]{1,32}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")
_CAN = {
    "can_join_groups": True,
    "can_read_all_group_messages": False,
    "supports_inline_queries": False,
    "supports_guest_queries": False,
    "can_connect_to_business": False,
    "has_main_web_app": False,
    "has_topics_enabled": False,
    "allows_users_to_create_topics": False,
    "can_manage_bots": False,
}
_GIFTS = {
    "unlimited_gifts": False,
    "limited_gifts": False,
    "unique_gifts": False,
    "premium_subscription": False,
    "gifts_from_channels": False,
}


def _get_me(call: Call) -> bytes:
    return as_json(call.bot.user | _CAN)


def _log_out(call: Call) -> bytes:
    call.bot.is_logged_out = True
    return TRUE


def _close(_call: Call) -> bytes:
    return TRUE


def _get_chat(call: Call) -> bytes:
    target = target_of(call)
    chat: Params = target.as_chat() | {
        "accent_color_id": 0,
        "max_reaction_count": 11,
        "accepted_gift_types": _GIFTS,
    }
    if target.id < 0:
        chat["permissions"] = {"can_send_messages": True}
    return as_json(chat)


def _get_chat_member(call: Call) -> bytes:
    target = target_of(call)
    check_reachable(target.id, target.state)
    user_id = whole_of(call.params, "user_id")
    if user_id <= 0:
        raise bad_request("invalid user_id specified")
    user = (
        call.bot.user
        if user_id == call.bot.id
        else {"id": user_id, "is_bot": False, "first_name": f"User {user_id}"}
    )
    return as_json({"user": user, "status": "member"})


def _get_file(call: Call) -> bytes:
    file_id = text_of(call.params, "file_id")
    if not file_id:
        raise bad_request("file_id not specified")
    file = call.bot.files.get(file_id)
    if file is None:
        raise bad_request("invalid file_id")
    if file.size > MAX_DOWNLOAD:
        raise bad_request("file is too big")
    found = {
        "file_id": file_id,
        "file_unique_id": file.unique_id,
        "file_size": file.size,
        "file_path": file.path,
    }
    return as_json(found)


def _scope(params: Params) -> str:
    scope = value_of(params, "scope", "Can't parse BotCommandScope JSON object")
    return as_json([scope or {"type": "default"}, text_of(params, "language_code")]).decode()


def _set_commands(call: Call) -> bytes:
    commands = value_of(call.params, "commands", "Can't parse commands JSON object")
    if not isinstance(commands, list):
        raise bad_request("Expected an Array of BotCommand")
    call.bot.commands[_scope(call.params)] = [_command(command) for command in commands]
    return TRUE


def _command(command: Any) -> Params:
    if not isinstance(command, dict):
        raise bad_request("Can't parse BotCommand: expected an Object")
    name, description = str(command.get("command", "")), str(command.get("description", ""))
    if not _COMMAND.fullmatch(name):
        raise bad_request("BOT_COMMAND_INVALID")
    if not description:
        raise bad_request("Command description must be non-empty")
    if len(description) > 256:
        raise bad_request("Command description length must not exceed 256")
    return {"command": name.removeprefix("/"), "description": description}


def _get_commands(call: Call) -> bytes:
    return as_json(call.bot.commands.get(_scope(call.params), []))


def _delete_commands(call: Call) -> bytes:
    call.bot.commands.pop(_scope(call.params), None)
    return TRUE


def _star_balance(call: Call) -> bytes:
    whole, tenths = divmod(call.bot.stars_tenths, 10)
    return as_json({"amount": whole, "nanostar_amount": tenths * 100_000_000})


def _answer_callback(call: Call) -> bytes:
    if text_of(call.params, "callback_query_id") not in call.bot.callbacks:
        raise bad_request("query is too old and response timeout expired or query ID is invalid")
    return TRUE


def _set_webhook(call: Call) -> bytes:
    url = text_of(call.params, "url")
    _allow_updates(call)
    if flag_of(call.params, "drop_pending_updates"):
        call.bot.updates.drop()
    if not url:
        call.bot.webhook = {}
        return TRUE
    _check_webhook(url, text_of(call.params, "secret_token"))
    call.bot.webhook = {
        "url": url,
        "has_custom_certificate": bool(call.params.get("certificate")),
        "max_connections": min(100, max(1, whole_of(call.params, "max_connections", 40))),
    }
    _end_poll(call, "Conflict: terminated by setWebhook request")
    return TRUE


def _check_webhook(url: str, secret: str) -> None:
    parts = urlsplit(url)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (local and parts.scheme == "http"):
        raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
    if secret and not _SECRET.fullmatch(secret):
        raise bad_request("secret token contains unallowed characters")


def _delete_webhook(call: Call) -> bytes:
    call.bot.webhook = {}
    if flag_of(call.params, "drop_pending_updates"):
        call.bot.updates.drop()
    return TRUE


def _webhook_info(call: Call) -> bytes:
    info: Params = {"url": "", "has_custom_certificate": False, **call.bot.webhook}
    info["pending_update_count"] = len(call.bot.updates)
    if call.bot.updates.allowed:
        info["allowed_updates"] = call.bot.updates.allowed
    return as_json(info)


def _allow_updates(call: Call) -> None:
    kinds = value_of(call.params, "allowed_updates", "can't parse allowed_updates JSON object")
    if isinstance(kinds, list):
        call.bot.updates.allow([str(kind) for kind in kinds])


def _end_poll(call: Call, why: str) -> None:
    poller = call.bot.updates.end_poll()
    if poller is not None:
        poller.conflict(why)


def _get_updates(call: Call) -> bytes | None:
    queue = call.bot.updates
    if call.bot.webhook:
        raise Refusal(409, _WEBHOOK_IS_ACTIVE)
    _allow_updates(call)
    _end_poll(call, _OTHER_POLL)
    queue.confirm(whole_of(call.params, "offset"))
    limit = min(100, max(1, whole_of(call.params, "limit", 100)))
    seconds = min(MAX_POLL_SECONDS, whole_of(call.params, "timeout"))
    if len(queue) or seconds <= 0:
        return as_json(queue.first(limit))
    _wait_for_updates(call, limit, seconds)
    return None


def _wait_for_updates(call: Call, limit: int, seconds: int) -> None:
    queue = call.bot.updates

    def take(updates: Sequence[Params]) -> None:
        finish(call, as_json(updates))

    def time_out() -> None:
        queue.end_poll()
        take([])

    timer = asyncio.get_running_loop().call_later(seconds, time_out)
    queue.wait(Poller(take, partial(_refuse_poll, call), lambda: call.exchange.gone, limit, timer))


def _refuse_poll(call: Call, why: str) -> None:
    finish_refused(call, Refusal(409, why))


METHODS = (
    Method("getMe", _get_me),
    Method("logOut", _log_out),
    Method("close", _close),
    Method("getChat", _get_chat),
    Method("getChatMember", _get_chat_member),
    Method("getFile", _get_file),
    Method("setMyCommands", _set_commands),
    Method("getMyCommands", _get_commands),
    Method("deleteMyCommands", _delete_commands),
    Method("getMyStarBalance", _star_balance),
    Method("answerCallbackQuery", _answer_callback),
    Method("setWebhook", _set_webhook),
    Method("deleteWebhook", _delete_webhook),
    Method("getWebhookInfo", _webhook_info),
    Method("getUpdates", _get_updates),
)
