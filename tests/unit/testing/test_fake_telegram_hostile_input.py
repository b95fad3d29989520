"""Whatever a request says, it is done or refused: the fake never fails on it."""

from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from longwave.testing.fake_telegram import Options
from longwave.testing.fake_telegram.answers import Refusal
from longwave.testing.fake_telegram.bots import Call
from longwave.testing.fake_telegram.http import Exchange
from longwave.testing.fake_telegram.parameters import Part
from longwave.testing.fake_telegram.server import METHODS
from longwave.testing.fake_telegram.world import World
from tests.unit.testing.bot import BOT

URL = "https://example.com/a.jpg"
NAMES = [
    *(
        "chat_id",
        "text",
        "caption",
        "parse_mode",
        "entities",
        "caption_entities",
        "reply_markup",
        "reply_parameters",
    ),
    *(
        "link_preview_options",
        "photo",
        "video",
        "document",
        "audio",
        "sticker",
        "media",
        "message_id",
        "message_ids",
    ),
    *(
        "from_chat_id",
        "question",
        "options",
        "type",
        "correct_option_ids",
        "correct_option_id",
        "latitude",
        "width",
    ),
    *(
        "longitude",
        "emoji",
        "action",
        "user_id",
        "file_id",
        "commands",
        "scope",
        "url",
        "secret_token",
        "duration",
    ),
    *("allow_paid_broadcast", "allowed_updates", "callback_query_id", "protect_content", "message_thread_id"),
]
KEYS = st.sampled_from(
    [
        "text",
        "url",
        "type",
        "media",
        "caption",
        "offset",
        "length",
        "inline_keyboard",
        "keyboard",
        "message_id",
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        [
            "1",
            "-5",
            "@name",
            "HTML",
            "<b>x",
            "attach://photo",
            URL,
            "photo",
            "[[",
            "9" * 30,
            "1e999",
            '{"a":1}',
            "🎲",
        ]
    )
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
UPLOADS = st.builds(
    Part, st.just("a.jpg"), st.sampled_from([b"", b"x", b"\xff\xd8\xff"]), st.just("image/jpeg")
)
SANE = {"chat_id": 1, "from_chat_id": 1, "message_id": 1, "text": "hi", "photo": URL, "document": URL}
RUNS = sorted(set(METHODS) - {"getupdates", "logout"})


def answer(call: Call) -> bytes | None:
    try:
        return call.method.run(call)
    except Refusal as refusal:
        return refusal.body()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(RUNS), st.dictionaries(st.sampled_from(NAMES), VALUES | UPLOADS, max_size=5)
        )
    )
)
def test_every_method_survives_every_parameter(requests: list[tuple[str, dict[str, Any]]]) -> None:
    world = World(Options(rate=None, chat_burst=None, group_burst=None), [])
    bot = world.bot(BOT)
    for name, params in requests:
        call = Call(world, bot, METHODS[name], SANE | params, cast(Exchange, None), world.clock())
        assert answer(call)
