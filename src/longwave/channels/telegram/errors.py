"""Telegram's words for "no", and what each becomes. The table is the policy; the code below only reads it.

Telegram sends 403 for some of these on one day and 400 on another, so the text decides and the number only
when no text is known. A text that is not here never costs anybody their contact: it is Rejected, which the
campaign's breaker counts.

Sources: C = telegram-bot-api, Client.cpp; T = TDLib (process_send_message_fail_error and what it sends up);
D = the Bot API's documentation; R = reports of people who run bots.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from longwave.core.outcomes import Gone, Outcome, Rejected, Retry, SenderBroken, Throttled, Unknown

FLOOD_PAUSE = 5.0
"""Seconds to hold after a 429 that does not say how long."""
LONGEST_PAUSE = 86_400.0
"""A longer `retry_after` is believed for a day, then asked again."""
_REASON = 200


class Verdict(StrEnum):
    """What a known text becomes."""

    GONE = "gone"  # this contact cannot be reached until it comes back by itself
    RIGHTS = "rights"  # this chat does not allow it now; the contact stays: Rejected
    CONTENT = "content"  # nobody would get this message: Rejected
    PASSING = "passing"  # the same request may succeed later: Retry
    SENDER = "sender"  # nothing from this bot would be accepted: SenderBroken


@dataclass(frozen=True, slots=True)
class Row:
    """One known text. `text` is lower case and matches anywhere in the description.

    about_chat: the text also comes when a message is copied or forwarded *from* a chat that is lost, and then
    says nothing about the recipient.
    """

    text: str
    verdict: Verdict
    meaning: str
    source: str
    about_chat: bool = False


G, H, X, P, S = Verdict.GONE, Verdict.RIGHTS, Verdict.CONTENT, Verdict.PASSING, Verdict.SENDER

TABLE: tuple[Row, ...] = (
    # What is said of the source of a copy must come before what the same words say of a recipient.
    Row("chat to forward messages from not found", X, "the chat to forward from does not exist", "T"),
    Row("chat to copy message from not found", X, "the chat to copy from does not exist", "T"),
    Row("can't access the chat to", X, "the bot cannot read the chat to copy or forward from", "T"),
    # The recipient
    Row("bot was blocked by the user", G, "the user blocked the bot", "C"),
    Row("user_is_blocked", G, "the user blocked the bot", "C"),
    Row("user is deactivated", G, "the account was deleted", "C"),
    Row("input_user_deactivated", G, "the account was deleted", "C"),
    Row("user_deleted", G, "the account was deleted", "T"),
    Row("can't initiate conversation", G, "the user never pressed Start", "T"),
    Row("can't send messages to bots", G, "the recipient is a bot", "R"),
    Row("can't send messages to the bot", G, "the recipient is a bot", "T"),
    Row("bot was kicked from the", G, "the bot was removed from the chat", "C", about_chat=True),
    Row("bot is not a member of the", G, "the bot is not in the chat", "C", about_chat=True),
    Row("the group chat was deleted", G, "the group was deleted", "C", about_chat=True),
    Row("chat is deactivated", G, "the group was deleted", "T", about_chat=True),
    Row("channel_private", G, "the bot has no access to the chat", "T", about_chat=True),
    Row("channel_public_group_na", G, "the bot has no access to the chat", "T", about_chat=True),
    Row("chat not found", G, "this bot has never seen such a chat", "C", about_chat=True),
    Row("peer_id_invalid", G, "this bot has never seen such a chat", "T", about_chat=True),
    Row("channel_invalid", G, "this bot has never seen such a chat", "T", about_chat=True),
    Row("chat_id_invalid", G, "this bot has never seen such a chat", "R", about_chat=True),
    # The bot
    Row("unauthorized", S, "the token was revoked or never existed", "C"),
    Row("invalid token", S, "the token is not a token", "R"),
    Row("logged out", S, "the bot logged out of this server; wait ten minutes, then use it again", "C"),
    Row("frozen_method_invalid", S, "Telegram froze the bot", "C"),
    Row("frozen_participant_missing", S, "Telegram froze the bot", "T"),
    Row("method not found", S, "the server does not know this method; it is older than this Longwave", "C"),
    Row("bot_access_forbidden", S, "Telegram does not let this bot act", "R"),
    # The recipient's rules, and what could also be said of something else than the recipient
    Row("can't access the chat", H, "the bot has no access to the chat", "T"),
    Row("chat is not accessible", H, "the bot has no access to the chat", "T"),
    Row("supergroup not found", H, "this bot has never seen such a chat", "T"),
    Row("basic group not found", H, "this bot has never seen such a chat", "T"),
    Row("messages to not found", H, "this bot has never seen such a chat", "T"),
    Row("user not found", H, "this bot has never seen such a user", "T"),
    Row("user_is_bot", H, "bots cannot be written to", "T"),
    Row("group chat was upgraded", H, "the group has a new id, which was not given", "C", about_chat=True),
    Row("not enough rights", H, "the bot may not send this kind of message to the chat", "T"),
    Row("have no rights to send", H, "the bot may not send to the chat", "R"),
    Row("have no write access", H, "the bot may not send to the chat", "T"),
    Row("have no access to the user", H, "the bot has no access to the user now", "C"),
    Row("need administrator rights", H, "the bot is not an administrator of the channel", "T"),
    Row("chat_write_forbidden", H, "the bot may not send to the chat", "R"),
    Row("chat_guest_send_forbidden", H, "only members may send to the chat", "T"),
    Row("chat_admin_required", H, "the bot is not an administrator of the chat", "R"),
    Row("chat_restricted", H, "the chat is restricted", "R"),
    Row("user_restricted", H, "the bot is restricted in the chat", "R"),
    Row("user_banned_in_channel", H, "the bot is restricted in public chats", "R"),
    Row("send_as_peer_invalid", H, "the bot may not send as this chat", "T"),
    Row("_forbidden", H, "the chat does not allow this kind of message", "R"),
    Row("restricted receiving of", H, "the user does not accept voice or video notes", "T"),
    Row("user_privacy_restricted", H, "the user's privacy settings do not allow it", "T"),
    Row("your_privacy_restricted", H, "privacy settings do not allow it", "T"),
    Row("privacy_premium_required", H, "the user accepts messages of Premium accounts only", "R"),
    Row("premium_account_required", H, "Premium accounts only", "R"),
    Row("allow_payment_required", H, "the recipient asks for Stars for every message", "T"),
    Row("topic_closed", H, "the topic is closed", "R"),
    Row("topic_deleted", H, "the topic was deleted", "R"),
    Row("topic not found", H, "the chat has no such topic", "T"),
    Row("topic must be specified", H, "the chat takes messages in topics only", "T"),
    Row("can't access the topic", H, "the bot has no access to the topic", "T"),
    Row("topic identifier specified", H, "the chat has no such topic", "T"),
    Row("message thread not found", H, "the chat has no such topic", "C"),
    Row("message thread identifier specified", H, "the chat has no such topic", "T"),
    Row("chat is not a forum", H, "the chat has no topics", "T"),
    Row("doesn't have topics", H, "the chat has no topics", "T"),
    Row("doesn't have threads", H, "the chat has no topics", "T"),
    Row("can't have message threads", H, "the chat has no topics", "T"),
    Row("sent to channel chats", H, "channels do not take this kind of message", "T"),
    Row("sent to channel direct messages", H, "channel direct messages do not take such messages", "T"),
    Row("sent to the private chat", H, "private chats do not take this kind of message", "T"),
    Row("in private chats only", H, "works in private chats only", "T"),
    Row("only in channel chats", H, "works in channels only", "T"),
    Row("wrong direct messages topic", H, "the chat has no such topic", "T"),
    # Passing
    Row("request aborted", P, "the server was being restarted", "C"),
    Row("internal server error", P, "the server failed", "C"),
    Row("server error: restart", P, "the server is being restarted", "C"),
    Row("bad gateway", P, "Telegram's gateway could not reach its server", "R"),
    Row("service unavailable", P, "Telegram is overloaded or being restarted", "R"),
    Row("requested data is inaccessible", P, "the server could not read its own data", "C"),
    Row("worker_busy", P, "Telegram is overloaded", "R"),
    Row("rpc_call_fail", P, "a fault inside Telegram", "R"),
    Row("rpc_mcget_fail", P, "a fault inside Telegram", "R"),
    Row("msg_wait_failed", P, "a fault inside Telegram", "T"),
    Row("group send failed", P, "a fault inside Telegram", "T"),
    Row("message send failed", P, "a fault inside Telegram", "T"),
    Row("message was not sent", P, "Telegram answered without the message", "T"),
    Row("message was not forwarded", P, "Telegram answered without the message", "T"),
    Row("conflict: terminated by", P, "another process receives with the token; no bearing on sending", "C"),
    # The message
    Row("message to ", X, "the message to copy, forward, edit or delete is not there, or may not be", "C"),
    Row("can't parse", X, "the markup or a JSON value is wrong", "C"),
    Row("failed to parse", X, "a JSON value is wrong", "C"),
    Row("unsupported parse_mode", X, "there is no such parse mode", "C"),
    Row("is too long", X, "the text, caption or keyboard is too long", "T"),
    Row("_too_long", X, "a text is too long", "R"),
    Row("_too_big", X, "a file or a value is too big", "R"),
    Row("_too_much", X, "too much of something", "R"),
    Row("_too_many", X, "too many of something", "R"),
    Row("_too_small", X, "a value is too small", "R"),
    Row("_too_short", X, "a text is too short", "R"),
    Row("_too_few", X, "too few of something", "R"),
    Row("_empty", X, "something is empty", "R"),
    Row("_missing", X, "something is missing", "R"),
    Row("_required", X, "something is missing", "R"),
    Row("_not_modified", X, "nothing would change", "T"),
    Row("_not_found", X, "something in the message is not there", "T"),
    Row("_expired", X, "something in the message is too old", "R"),
    Row("_unsupported", X, "something in the message is not supported", "T"),
    Row("_unallowed", X, "something in the message is not allowed", "R"),
    Row("_not_allowed", X, "something in the message is not allowed", "C"),
    Row("_mismatch", X, "values in the message contradict each other", "T"),
    Row("_too_old", X, "the message is too old", "T"),
    Row("chat_forwards_restricted", X, "the source does not allow copies", "T"),
    Row("balance_too_low", X, "the bot has too few Stars for a paid broadcast", "T"),
    Row("_invalid", X, "a value in the message is wrong", "T"),
    Row("_failed", X, "Telegram could not fetch or convert a file or link", "C"),
    Row("message is not modified", X, "nothing would change", "C"),
    Row("is not modified", X, "nothing would change", "C"),
    Row("message can't be", X, "Telegram does not allow that for this message", "C"),
    Row("messages can't be", X, "the messages cannot be forwarded", "C"),
    Row("can't be forwarded", X, "the message is protected or of a kind that stays", "T"),
    Row("can't copy message", X, "messages of this kind cannot be copied", "T"),
    Row("can't use forwarded message", X, "the message cannot be forwarded", "T"),
    Row("can't use the media", X, "an album cannot hold this kind of media", "C"),
    Row("can't use", X, "something in the message is not allowed", "T"),
    Row("can't upload file by url", X, "Telegram could not fetch the file from that URL", "C"),
    Row("can't send", X, "messages of this kind cannot be sent", "T"),
    Row("can't download", X, "Telegram could not fetch the file", "T"),
    Row("can't force", X, "values of the poll contradict each other", "T"),
    Row("can't find message", X, "the message to copy is not there", "T"),
    Row("can't replace", X, "the copied message has no such part", "T"),
    Row("can't be used", X, "something in the message is not allowed there", "T"),
    Row("wrong http url", X, "Telegram does not accept that URL", "C"),
    Row("failed to get http url", X, "Telegram could not fetch the file from that URL", "C"),
    Row("failed to upload", X, "Telegram could not store the file", "T"),
    Row("failed to reupload", X, "Telegram could not store the file", "T"),
    Row("wrong type of the web page", X, "there is no such media behind that URL", "C"),
    Row("wrong", X, "a value in the message is wrong", "T"),
    Row("invalid", X, "a value in the message is wrong", "T"),
    Row("file is too big", X, "the file is too big", "C"),
    Row("entity too large", X, "the request is too big", "R"),
    Row("file_id not specified", X, "the file is missing", "C"),
    Row("unsupported", X, "something in the message is not supported", "C"),
    Row("unallowed", X, "something in the message is not allowed", "C"),
    Row("is empty", X, "something is empty", "C"),
    Row("must be", X, "a value in the message is wrong", "C"),
    Row("must have", X, "a value in the message is wrong", "C"),
    Row("must contain", X, "a value in the message is wrong", "T"),
    Row("expected", X, "a value in the message has the wrong type", "C"),
    Row("not specified", X, "something is missing", "C"),
    Row("isn't specified", X, "something is missing", "C"),
    Row("isn't a valid", X, "a value in the message is wrong", "C"),
    Row("is not a valid", X, "a value in the message is wrong", "C"),
    Row("too many", X, "too many of something", "C"),
    Row("there is no", X, "the file is missing", "C"),
    Row("there are no", X, "there is nothing to send", "T"),
    Row("not found", X, "something in the message does not exist", "C"),
    Row("can't forward", X, "the message cannot be forwarded", "T"),
    Row("can't add", X, "something in the message is not allowed", "T"),
    Row("not supported", X, "something in the message is not supported", "T"),
    Row("message has", X, "the message to copy is protected or has another form", "T"),
    Row("are unavailable", X, "something in the message is not available", "T"),
    Row("sending of internal", X, "that file may not be sent", "T"),
    Row("unknown", X, "something in the message does not exist", "T"),
    Row("method is available", X, "the method does not work in this kind of chat", "C"),
    Row("query is too old", X, "the query to answer is too old", "C"),
    Row("conflict", X, "the request contradicts another one", "R"),
)  # fmt: skip


def find(description: str) -> Row | None:
    """The first row whose text is in `description`; None for words that nobody has met yet."""
    lowered = description.lower()
    return next((row for row in TABLE if row.text in lowered), None)


def classify(http_status: int, body: Mapping[str, Any], *, from_chat: bool = False) -> Outcome:
    """What an answer other than success means. Never raises, whatever the body holds.

    from_chat: the request named a source chat that has not been shown to be readable. A lost chat may then be
    the source and not the recipient, so nobody is Gone for it.
    """
    parameters = body.get("parameters")
    if not isinstance(parameters, Mapping):
        parameters = {}
    description = body.get("description")
    text = description if isinstance(description, str) else ""
    reason = text[:_REASON] or f"Telegram answered {http_status} without a reason"
    if http_status == 429 or _seconds(parameters.get("retry_after")) is not None:
        return Throttled(_pause(parameters, text))
    moved = parameters.get("migrate_to_chat_id")
    if isinstance(moved, int) and not isinstance(moved, bool) and moved:
        return Retry(reason, address=str(moved))
    if http_status in (401, 404):
        return SenderBroken(_explain_token(http_status, text, reason))
    return _by_text(http_status, text, reason, from_chat=from_chat)


def _by_text(http_status: int, text: str, reason: str, *, from_chat: bool) -> Outcome:
    if http_status == 504:
        # A gateway that gave up waiting had passed the request on.
        return Unknown(reason)
    if http_status >= 500 or http_status == 408:
        return Retry(reason)
    row = find(text)
    match row.verdict if row else None:
        case Verdict.GONE:
            if row is not None and row.about_chat and from_chat:
                return Rejected(f"{reason} (the recipient, or the chat to copy from)")
            return Gone(reason)
        case Verdict.PASSING:
            return Retry(reason)
        case Verdict.SENDER:
            return SenderBroken(reason)
        case _:
            return Rejected(reason)


def _explain_token(http_status: int, text: str, reason: str) -> str:
    if http_status == 401:
        return f"{reason}: the token was revoked or never existed; make a new one with @BotFather"
    if "method" in text.lower():
        return f"{reason}: this Bot API server is too old for what is being sent"
    return f"{reason}: the token is malformed, or no Bot API server answers at this base URL"


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    return min(float(value) if value < LONGEST_PAUSE else LONGEST_PAUSE, LONGEST_PAUSE)


def _pause(parameters: Mapping[str, Any], text: str) -> float:
    seconds = _seconds(parameters.get("retry_after"))
    if seconds is not None:
        return seconds
    told = text.rpartition("retry after ")[2]
    if told.isascii() and told.isdigit() and len(told) < 10 and int(told) > 0:
        return min(float(told), LONGEST_PAUSE)
    return FLOOD_PAUSE
