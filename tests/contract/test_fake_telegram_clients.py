"""aiogram and python-telegram-bot, as their users have them, against the fake server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import telegram as ptb
from aiogram import Bot, Dispatcher
from aiogram import exceptions as aiogram_errors
from aiogram import types as aio
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from telegram import error as ptb_errors
from telegram.ext import ApplicationBuilder, CommandHandler, ContextTypes

from longwave.testing.fake_telegram import FakeTelegram

BOT = 4242
TOKEN = f"{BOT}:{'k' * 35}"
JPEG = b"\xff\xd8\xff\xe0 a picture"
URL = "https://example.com/a"


@pytest.fixture(scope="module")
def server() -> Iterator[FakeTelegram]:
    with FakeTelegram(rate=None, chat_burst=None, group_burst=None) as server:
        yield server


@pytest.fixture(autouse=True)
def fresh(server: FakeTelegram) -> None:
    server.reset()


@pytest.fixture
async def bot(server: FakeTelegram) -> AsyncIterator[Bot]:
    session = AiohttpSession(api=TelegramAPIServer.from_base(server.base_url))
    bot = Bot(TOKEN, session=session)
    yield bot
    await session.close()


@pytest.fixture
async def ptb_bot(server: FakeTelegram) -> AsyncIterator[ptb.Bot]:
    bot = ptb.Bot(TOKEN, base_url=f"{server.base_url}/bot", base_file_url=f"{server.base_url}/file/bot")
    async with bot:
        yield bot


async def test_aiogram_sends_every_kind_of_message(server: FakeTelegram, bot: Bot) -> None:
    options: list[aio.InputPollOption | str] = [aio.InputPollOption(text="a"), "b"]
    sent = [
        await bot.send_message(1, "<b>hi</b>", parse_mode="HTML"),
        await bot.send_photo(1, URL, caption="a"),
        await bot.send_video(1, URL),
        await bot.send_animation(1, URL),
        await bot.send_audio(1, URL),
        await bot.send_voice(1, URL),
        await bot.send_document(1, URL),
        await bot.send_sticker(1, URL),
        await bot.send_poll(1, "q", options, type="quiz", correct_option_ids=[1]),
        await bot.send_location(1, 1.5, 2.5),
        await bot.send_venue(1, 1.5, 2.5, "here", "there"),
        await bot.send_contact(1, "+49", "A"),
        await bot.send_dice(1),
    ]
    assert [message.message_id for message in sent] == list(range(1, 14))
    assert sent[0].entities is not None
    assert sent[0].entities[0].type == "bold"
    assert sent[1].photo is not None
    assert sent[8].poll is not None
    assert server.stats()["messages"] == 13


async def test_aiogram_uploads_and_sends_the_same_file_again(server: FakeTelegram, bot: Bot) -> None:
    first = await bot.send_photo(1, aio.BufferedInputFile(JPEG, "a.jpg"), caption="a")
    assert first.photo is not None
    file_id = first.photo[-1].file_id
    again = await bot.send_photo(2, file_id)
    assert again.photo == first.photo
    downloaded = await bot.download(file_id)
    assert downloaded is not None
    assert downloaded.read() == JPEG


async def test_aiogram_sends_an_album_of_uploads(bot: Bot) -> None:
    pictures = [aio.InputMediaPhoto(media=aio.BufferedInputFile(JPEG, f"{nth}.jpg")) for nth in range(3)]
    album = await bot.send_media_group(1, list(pictures))
    assert len({message.media_group_id for message in album}) == 1
    assert [message.message_id for message in album] == [1, 2, 3]


async def test_aiogram_copies_forwards_edits_pins_and_deletes(server: FakeTelegram, bot: Bot) -> None:
    keyboard = aio.InlineKeyboardMarkup(
        inline_keyboard=[[aio.InlineKeyboardButton(text="go", callback_data="go")]]
    )
    await bot.send_message(1, "hi", reply_markup=keyboard)
    assert (await bot.copy_message(2, 1, 1)).message_id == 2
    assert [one.message_id for one in await bot.copy_messages(2, 1, [1])] == [3]
    forwarded = await bot.forward_message(2, 1, 1)
    assert isinstance(forwarded.forward_origin, aio.MessageOriginUser)
    assert [one.message_id for one in await bot.forward_messages(2, 1, [1])] == [5]
    edited = await bot.edit_message_text("ho", chat_id=1, message_id=1)
    assert isinstance(edited, aio.Message)
    assert (edited.text, edited.reply_markup) == ("ho", None)
    marked = await bot.edit_message_reply_markup(chat_id=1, message_id=1, reply_markup=keyboard)
    assert isinstance(marked, aio.Message)
    assert marked.reply_markup is not None
    assert marked.reply_markup.inline_keyboard[0][0].callback_data == "go"
    assert await bot.pin_chat_message(1, 1)
    assert await bot.delete_message(1, 1)
    assert await bot.delete_messages(2, [2, 3])
    with pytest.raises(aiogram_errors.TelegramBadRequest, match="message to delete not found"):
        await bot.delete_message(1, 1)


async def test_aiogram_edits_media_by_upload(bot: Bot) -> None:
    await bot.send_photo(1, URL)
    media = aio.InputMediaDocument(media=aio.BufferedInputFile(b"text", "a.txt"), caption="c")
    edited = await bot.edit_message_media(media, chat_id=1, message_id=1)
    assert isinstance(edited, aio.Message)
    assert edited.document is not None
    assert (edited.document.file_name, edited.caption, edited.photo) == ("a.txt", "c", None)


async def test_aiogram_knows_every_refusal(server: FakeTelegram, bot: Bot) -> None:
    server.users(chats={1: "blocked", 2: "not_found", -5: {"upgraded_to": -1005}})
    with pytest.raises(aiogram_errors.TelegramForbiddenError, match="bot was blocked by the user"):
        await bot.send_message(1, "hi")
    with pytest.raises(aiogram_errors.TelegramBadRequest, match="chat not found"):
        await bot.send_message(2, "hi")
    with pytest.raises(aiogram_errors.TelegramMigrateToChat) as migrated:
        await bot.send_message(-5, "hi")
    assert migrated.value.migrate_to_chat_id == -1005
    server.fault("flood", seconds=9, count=1)
    with pytest.raises(aiogram_errors.TelegramRetryAfter) as flooded:
        await bot.send_message(3, "hi")
    assert flooded.value.retry_after == 9
    server.fault("error", status=502, count=1)
    with pytest.raises(aiogram_errors.TelegramServerError):
        await bot.send_message(3, "hi")
    server.fault("revoke", count=1)
    with pytest.raises(aiogram_errors.TelegramUnauthorizedError):
        await bot.send_message(3, "hi")
    server.fault("drop_after", count=1)
    with pytest.raises(aiogram_errors.TelegramNetworkError):
        await bot.send_message(3, "hi")
    assert server.chats() == {3: 1}


async def test_aiogram_asks_about_itself_and_its_chats(bot: Bot) -> None:
    assert (await bot.get_me()).id == BOT
    assert (await bot.get_chat(5)).type == "private"
    assert (await bot.get_chat(-5)).type == "group"
    assert (await bot.get_chat_member(-5, 5)).status == "member"
    assert (await bot.get_webhook_info()).url == ""
    assert (await bot.get_my_star_balance()).amount == 0
    commands = [aio.BotCommand(command="start", description="Begin")]
    await bot.set_my_commands(commands)
    assert [command.command for command in await bot.get_my_commands()] == ["start"]


async def test_aiogram_polls_and_answers(server: FakeTelegram, bot: Bot) -> None:
    dispatcher = Dispatcher()

    @dispatcher.message()
    async def answer(message: aio.Message) -> None:
        await message.answer(f"you said {message.text}")
        await dispatcher.stop_polling()

    server.push_update({"message": {"text": "hello", "chat": {"id": 5}}}, bot=BOT)
    await asyncio.wait_for(
        dispatcher.start_polling(bot, handle_signals=False, close_bot_session=False, polling_timeout=1), 10
    )
    assert [row["text"] for row in server.log(chat_id=5)] == ["you said hello"]


async def test_python_telegram_bot_sends_every_kind_of_message(
    server: FakeTelegram, ptb_bot: ptb.Bot
) -> None:
    sent = [
        await ptb_bot.send_message(1, "*hi*", parse_mode="MarkdownV2"),
        await ptb_bot.send_photo(1, JPEG, caption="a"),
        await ptb_bot.send_video(1, URL),
        await ptb_bot.send_animation(1, URL),
        await ptb_bot.send_audio(1, URL),
        await ptb_bot.send_voice(1, URL),
        await ptb_bot.send_video_note(1, b"circle"),
        await ptb_bot.send_document(1, b"text", filename="a.txt"),
        await ptb_bot.send_sticker(1, URL),
        await ptb_bot.send_poll(1, "q", ["a", "b"]),
        await ptb_bot.send_location(1, 1.5, 2.5),
        await ptb_bot.send_venue(1, 1.5, 2.5, "here", "there"),
        await ptb_bot.send_contact(1, "+49", "A"),
        await ptb_bot.send_dice(1),
    ]
    assert [message.message_id for message in sent] == list(range(1, 15))
    assert sent[0].entities[0].type == "bold"
    assert sent[7].document is not None
    assert sent[7].document.file_name == "a.txt"
    again = await ptb_bot.send_photo(2, sent[1].photo[-1].file_id)
    assert again.photo == sent[1].photo
    file = await ptb_bot.get_file(again.photo[-1].file_id)
    assert bytes(await file.download_as_bytearray()) == JPEG
    assert server.stats()["messages"] == 15


async def test_python_telegram_bot_sends_albums_copies_edits_and_deletes(ptb_bot: ptb.Bot) -> None:
    album = await ptb_bot.send_media_group(1, [ptb.InputMediaPhoto(JPEG), ptb.InputMediaPhoto(URL)])
    assert len({message.media_group_id for message in album}) == 1
    keyboard = ptb.InlineKeyboardMarkup([[ptb.InlineKeyboardButton("go", callback_data="go")]])
    message = await ptb_bot.send_message(1, "hi", reply_markup=keyboard)
    assert message.reply_markup == keyboard
    copy = await ptb_bot.copy_message(2, 1, message.message_id)
    edited = await ptb_bot.edit_message_text("ho", chat_id=2, message_id=copy.message_id)
    assert isinstance(edited, ptb.Message)
    assert edited.text == "ho"
    with pytest.raises(ptb_errors.BadRequest, match="Message is not modified"):
        await ptb_bot.edit_message_text("ho", chat_id=2, message_id=copy.message_id)
    assert await ptb_bot.delete_message(2, copy.message_id)
    with pytest.raises(ptb_errors.BadRequest, match="Message to copy not found"):
        await ptb_bot.copy_message(3, 2, copy.message_id)


async def test_python_telegram_bot_knows_every_refusal(
    server: FakeTelegram, ptb_bot: ptb.Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTB_TIMEDELTA", "1")
    server.users(chats={1: "blocked", 2: "not_found", -5: {"upgraded_to": -1005}})
    with pytest.raises(ptb_errors.Forbidden, match="bot was blocked by the user"):
        await ptb_bot.send_message(1, "hi")
    with pytest.raises(ptb_errors.BadRequest, match="Chat not found"):
        await ptb_bot.send_message(2, "hi")
    with pytest.raises(ptb_errors.ChatMigrated) as migrated:
        await ptb_bot.send_message(-5, "hi")
    assert migrated.value.new_chat_id == -1005
    server.fault("flood", seconds=9, count=1)
    with pytest.raises(ptb_errors.RetryAfter, match="0:00:09"):
        await ptb_bot.send_message(3, "hi")
    server.fault("revoke", count=1)
    with pytest.raises(ptb_errors.InvalidToken):
        await ptb_bot.send_message(3, "hi")


async def test_python_telegram_bot_asks_about_its_chats(ptb_bot: ptb.Bot) -> None:
    assert (await ptb_bot.get_me()).id == BOT
    assert (await ptb_bot.get_chat(5)).type == "private"
    assert (await ptb_bot.get_chat_member(-5, 5)).status == "member"
    assert (await ptb_bot.get_webhook_info()).pending_update_count == 0


async def test_python_telegram_bot_polls_and_answers_a_command(server: FakeTelegram) -> None:
    done = asyncio.Event()

    async def start(update: ptb.Update, _context: ContextTypes.DEFAULT_TYPE) -> None:
        assert update.message is not None
        await update.message.reply_text("welcome")
        done.set()

    builder: Any = ApplicationBuilder().token(TOKEN).base_url(f"{server.base_url}/bot")
    application = builder.build()
    application.add_handler(CommandHandler("start", start))
    async with application:
        await application.start()
        await application.updater.start_polling(timeout=1, poll_interval=0)
        server.push_update({"message": {"text": "/start", "chat": {"id": 5}}}, bot=BOT)
        await asyncio.wait_for(done.wait(), 10)
        await application.updater.stop()
        await application.stop()
    assert [row["text"] for row in server.log(chat_id=5)] == ["welcome"]
