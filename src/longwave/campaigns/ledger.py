"""The campaign ledger's SQL: freeze, claim, record. The hot statements of Longwave, on three databases.

Who works on a batch, and until when: leases.py.

Rows travel to the database as one JSON parameter: one statement text for any number of rows, parsed in C on the
other side, while Python's lock is free for the sending loop.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson
from django.db import connection, transaction
from django.db.models import Count, F, Max, QuerySet
from msgspec import structs

from longwave import database
from longwave.campaigns.models import (
    Batch,
    BatchState,
    Bucket,
    Campaign,
    CampaignState,
    Charted,
    Delivery,
    DeliveryState,
)
from longwave.campaigns.settling import ATTEMPTS, Pending, Settled
from longwave.contacts import status as contact_status
from longwave.contacts.models import Contact, ContactStatus
from longwave.core.errors import InvalidInput

BUCKET_SECONDS = 10
COUNTED = ("sent", "gone", "rejected", "failed", "unknown", "skipped", "cancelled")
WAY = 0.002
"""Seconds for which others may write: about half of what a chunk takes, so that a look or two finds the way free."""

ERROR_TEXTS_KEPT = 50
"""Different error texts counted per campaign and outcome; further ones are counted together."""

OTHER_ERRORS = "(other errors)"

_ROWS = {
    "sqlite": "(SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS attempt,"
    " json_extract(value, '$[2]') AS message_id, json_extract(value, '$[3]') AS error,"
    " json_extract(value, '$[4]') AS delay, json_extract(value, '$[5]') AS address FROM json_each(%s)) AS v",
    "postgresql": "(SELECT (e->>0)::bigint AS id, (e->>1)::int AS attempt, e->>2 AS message_id,"
    " e->>3 AS error, (e->>4)::float AS delay, e->>5 AS address FROM json_array_elements(%s::json) AS e) AS v",
    "mysql": "JSON_TABLE(%s, '$[*]' COLUMNS (id BIGINT PATH '$[0]', attempt INT PATH '$[1]',"
    " message_id VARCHAR(190) PATH '$[2]', error VARCHAR(255) PATH '$[3]', delay DOUBLE PATH '$[4]',"
    " address VARCHAR(190) PATH '$[5]')) AS v",
}


# --- freezing the audience -------------------------------------------------------------------------------------------


def freeze_chunk(campaign: Campaign, audience_after: "Callable[[int], QuerySet[Contact]]") -> int | None:
    """Freeze the next `batch_size` contacts as one batch; how many there were. 0 means the audience is frozen whole.

    None: the campaign is not `preparing` (any more), which says nothing about its audience.
    `audience_after(id)` is the audience from the contact after that id on, in order of id.
    One transaction: killed anywhere, the chunk is either frozen and `snapshot_after` moved, or neither.
    """
    with transaction.atomic():
        mine = Campaign.objects.select_for_update().get(pk=campaign.pk)
        if mine.state != CampaignState.PREPARING:
            return None
        number = (Batch.objects.filter(campaign=mine).aggregate(last=Max("number"))["last"] or 0) + 1
        batch = Batch.objects.create(campaign=mine, number=number, size=0)
        chunk = audience_after(mine.snapshot_after).values_list("pk", "address")
        sql, params = chunk[: mine.batch_size].query.sql_with_params()
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO longwave_delivery (campaign_id, batch_id, contact_id, address, state, attempt, tries)"
                f" SELECT %s, %s, chosen.*, 'pending', 0, 0 FROM ({sql}) AS chosen",
                [mine.pk, batch.pk, *params],
            )
            frozen = cursor.rowcount
        if not frozen:
            batch.delete()
            return 0
        last = Delivery.objects.filter(batch=batch).aggregate(last=Max("contact_id"))["last"]
        Batch.objects.filter(pk=batch.pk).update(size=frozen)
        Campaign.objects.filter(pk=mine.pk).update(snapshot_after=last, recipients=F("recipients") + frozen)
    return int(frozen)


def make_way() -> None:
    """Between two chunks of much writing: let others write.

    SQLite has one writer at a time, and whoever waits for it looks only now and then, at last every tenth of a second:
    back at once, we would be first nearly always, and a cancel would wait for the end of it all.
    """
    if database.dialect() == "sqlite":
        time.sleep(WAY)


# --- claiming ---------------------------------------------------------------------------------------------------------


def load(batch_id: int, *, personal: bool) -> list[Pending]:
    """The rows of a batch that may be claimed now, in order, with the contact's fields where the message needs them."""
    columns = (
        "d.id AS id, d.contact_id AS contact_id, d.address AS address, d.attempt AS attempt, d.tries AS tries"
    )
    tables = "longwave_delivery d"
    if personal:
        columns += (
            ", COALESCE(c.attributes, '{}') AS attributes, COALESCE(c.language, '') AS language,"
            " COALESCE(c.timezone, '') AS timezone"
        )
        # LEFT: a contact that was deleted meanwhile must not hide its delivery, or the batch would never be done.
        tables += " LEFT JOIN longwave_contact c ON c.id = d.contact_id"
    now = database.NOW_SQL[database.dialect()]
    rows = _fetch(
        f"SELECT {columns} FROM {tables} WHERE d.batch_id = %s AND d.state = 'pending'"
        f" AND (d.retry_at IS NULL OR d.retry_at <= {now}) ORDER BY d.id",
        [batch_id],
        columns=_LOADED_PERSONAL if personal else _LOADED,
    )
    return [
        Pending(row[0], batch_id, row[1], row[2], row[3], row[4], _fields(row) if personal else {})
        for row in rows
    ]


_LOADED = "id, contact_id, address, attempt, tries"
_LOADED_PERSONAL = f"{_LOADED}, attributes, language, timezone"


def _fetch(sql: str, params: Sequence[Any], *, columns: str) -> list[Sequence[Any]]:
    """Every row of a query, its `columns` in that order.

    SQLite's module gives Python's lock away and takes it back for each row, and the sending loop wants it: there, all
    rows come as one.
    """
    is_sqlite = database.dialect() == "sqlite"
    with connection.cursor() as cursor:
        if not is_sqlite:
            cursor.execute(sql, params)
            return list(cursor.fetchall())
        cursor.execute(f"SELECT json_group_array(json_array({columns})) FROM ({sql})", params)
        rows: list[Sequence[Any]] = orjson.loads(cursor.fetchone()[0])
    return rows


def _fields(row: Sequence[Any]) -> dict[str, Any]:
    attributes = orjson.loads(row[5]) if isinstance(row[5], str | bytes) else row[5]
    return template_fields(row[2], attributes, language=row[6], timezone=row[7])


def template_fields(
    address: str, attributes: Mapping[str, Any], *, language: str, timezone: str
) -> dict[str, Any]:
    """What a template may use of a contact: its attributes by their names, and its own fields."""
    return {**attributes, "address": address, "language": language, "timezone": timezone}


_CLAIM = {
    "sqlite": "UPDATE longwave_delivery SET state = 'sending', attempt = (attempt + 1) %% {attempts}"
    " WHERE id IN (SELECT value FROM json_each(%s)) AND state = 'pending' AND EXISTS (SELECT 1 FROM longwave_batch b"
    " WHERE b.id = %s AND b.owner = %s AND b.state = 'leased' AND b.lease_until > {now})",
    "postgresql": "UPDATE longwave_delivery SET state = 'sending', attempt = (attempt + 1) %% {attempts}"
    " WHERE id = ANY(ARRAY(SELECT e::text::bigint FROM json_array_elements(%s::json) AS e)) AND state = 'pending'"
    " AND EXISTS (SELECT 1 FROM longwave_batch b"
    " WHERE b.id = %s AND b.owner = %s AND b.state = 'leased' AND b.lease_until > {now})",
    # In this order and by this index: with the statistics of an empty table it would lock every row.
    "mysql": "UPDATE JSON_TABLE(%s, '$[*]' COLUMNS (id BIGINT PATH '$')) AS v"
    " STRAIGHT_JOIN longwave_delivery d FORCE INDEX (PRIMARY) ON d.id = v.id"
    " STRAIGHT_JOIN longwave_batch b FORCE INDEX (PRIMARY)"
    " ON b.id = %s AND b.owner = %s AND b.state = 'leased' AND b.lease_until > {now}"
    " SET d.state = 'sending', d.attempt = (d.attempt + 1) %% {attempts} WHERE d.state = 'pending'",
}


def claim(batch_id: int, owner: str, rows: Sequence[Pending]) -> bool:
    """Mark rows `sending`, all or none. False when the lease is not ours any more: then nothing may be sent."""
    name = database.dialect()
    ids = orjson.dumps([row.id for row in rows]).decode()
    with transaction.atomic():
        with connection.cursor() as cursor:
            sql = _CLAIM[name].format(now=database.NOW_SQL[name], attempts=ATTEMPTS)
            cursor.execute(sql, [ids, batch_id, owner])
            if cursor.rowcount == len(rows):
                return True
        transaction.set_rollback(True)
    return False


def unclaim(batch_id: int, owner: str, rows: Sequence[Pending]) -> None:
    """Give back what a claim may have marked whose answer was lost. Only while the batch is still ours: after that the
    same rows may be somebody else's."""
    with transaction.atomic():
        mine = Batch.objects.select_for_update().filter(pk=batch_id, owner=owner, state=BatchState.LEASED)
        if mine.first() is not None:
            marked = Delivery.objects.filter(pk__in=[row.id for row in rows], state=DeliveryState.SENDING)
            marked.update(state=DeliveryState.PENDING)


def keep_media(campaign_id: int, media: Mapping[str, str]) -> None:
    """Remember the provider's ids of files that were uploaded."""
    Campaign.objects.filter(pk=campaign_id).update(media=dict(media))


# --- recording --------------------------------------------------------------------------------------------------------

_SETTLE = {
    "sqlite": "UPDATE longwave_delivery SET state = %s, message_id = v.message_id, error = v.error, outcome_at = {now}"
    " FROM {rows} WHERE longwave_delivery.id = v.id AND longwave_delivery.attempt = v.attempt"
    " AND longwave_delivery.state {guard}",
    "mysql": "UPDATE {rows} STRAIGHT_JOIN longwave_delivery d FORCE INDEX (PRIMARY)"
    " ON d.id = v.id AND d.attempt = v.attempt SET d.outcome_at = {now}, d.message_id = v.message_id,"
    " d.error = v.error, d.state = %s WHERE d.state {guard}",
}
_DEFER = {
    "sqlite": "UPDATE longwave_delivery SET state = 'pending', tries = longwave_delivery.tries + %s, error = v.error,"
    " retry_at = {later}, address = COALESCE(v.address, longwave_delivery.address)"
    " FROM {rows} WHERE longwave_delivery.id = v.id AND longwave_delivery.attempt = v.attempt"
    " AND longwave_delivery.state {guard}",
    "mysql": "UPDATE {rows} STRAIGHT_JOIN longwave_delivery d FORCE INDEX (PRIMARY)"
    " ON d.id = v.id AND d.attempt = v.attempt SET d.tries = d.tries + %s, d.error = v.error, d.retry_at = {later},"
    " d.address = COALESCE(v.address, d.address), d.state = 'pending' WHERE d.state {guard}",
}
_SETTLE["postgresql"] = _SETTLE["sqlite"]
_DEFER["postgresql"] = _DEFER["sqlite"]

_IN_TIME = "= 'sending'"
_LATE = "IN ('sending', 'unknown', 'pending')"
"""A late outcome still says what became of its attempt, though the row was given up or queued to be resent."""

_LATE_BACK = "IN ('sending', 'unknown')"
"""What may still be given back late. Not what is pending already: written twice, it would cost two tries."""


def record(campaign_id: int, settled: Sequence[Settled], held_seconds: float = 0.0) -> Mapping[str, int]:
    """Write outcomes, counters, chart buckets and error tallies in one transaction. Safe to repeat.

    Answers with what was written, by `Charted`. Rows that are not `sending` any more (their lane's lease ran out) are
    accepted late, and their batch recounted.
    """
    with transaction.atomic():
        settled = [item if item.address is None else _moved(campaign_id, item) for item in settled]
        by_batch: dict[int, list[Settled]] = defaultdict(list)
        for item in settled:
            by_batch[item.batch_id].append(item)
        charted: Counter[str] = Counter()
        written: list[Settled] = []
        for batch_id, items in sorted(by_batch.items()):
            charted += _record_batch(batch_id, items, written)
        _mark_contacts(settled)
        add_buckets(campaign_id, charted)
        _add_tallies(campaign_id, written)
        if held_seconds:
            first = Batch.objects.filter(campaign_id=campaign_id, number=1)
            first.update(held_ms=F("held_ms") + round(held_seconds * 1000))
    return charted


def _record_batch(batch_id: int, items: Iterable[Settled], written: list[Settled]) -> "Counter[str]":
    """Write the rows of one batch; how many landed, by label. Groups that landed go to `written`."""
    groups: dict[tuple[str, int, Charted | None], list[Settled]] = defaultdict(list)
    for item in items:
        groups[item.state, item.tried, item.label].append(item)
    landed: Counter[str] = Counter()
    charted: Counter[str] = Counter()
    is_plain = True
    for (state, tried, label), group in groups.items():
        count = _write(state, tried, group, _IN_TIME)
        if count != len(group):
            is_plain = False
            if state != DeliveryState.PENDING:
                count += _write(state, tried, group, _LATE)
            elif _may_reopen(batch_id):
                count += _write(state, tried, group, _LATE_BACK)
        if count:
            written += group
        if state in COUNTED:
            landed[state] += count
        if label is not None:
            charted[label] += count
    if not is_plain:
        recount(batch_id)
    elif landed:
        Batch.objects.filter(pk=batch_id).update(**{name: F(name) + n for name, n in landed.items()})
    return charted


def _may_reopen(batch_id: int) -> bool:
    """Whether rows given back late can still be sent: a batch that is done opens again, while its campaign lives."""
    batch = Batch.objects.select_for_update().select_related("campaign").get(pk=batch_id)
    if batch.state == BatchState.DONE:
        if batch.campaign.state not in (CampaignState.RUNNING, CampaignState.PAUSED):
            return False
        Batch.objects.filter(pk=batch_id).update(state=BatchState.OPEN)
    return True


def _write(state: str, tried: int, group: Sequence[Settled], guard: str) -> int:
    name = database.dialect()
    rows = [[s.delivery_id, s.attempt, s.message_id, s.error, s.delay, s.address] for s in group]
    table = _DEFER if state == DeliveryState.PENDING else _SETTLE
    sql = table[name].format(
        rows=_ROWS[name],
        now=database.NOW_SQL[name],
        later=database.IN_SECONDS_SQL[name].format("v.delay"),
        guard=guard,
    )
    data = orjson.dumps(rows).decode()
    first: Any = tried if state == DeliveryState.PENDING else state
    # UPDATE … FROM names the new value first, UPDATE … JOIN the rows.
    params = [data, first] if name == "mysql" else [first, data]
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return int(cursor.rowcount)


def recount(batch_id: int) -> None:
    """Make a batch's counters what its rows say: after anything but the plain way through.

    Its row is locked before the counting: what another adds meanwhile would be overwritten with the older count.
    """
    Batch.objects.select_for_update().filter(pk=batch_id).first()
    counts = count_states(batch_id)
    Batch.objects.filter(pk=batch_id).update(**{name: counts.get(name, 0) for name in COUNTED})


def count_states(batch_id: int) -> dict[str, int]:
    """How many rows of a batch are in each state."""
    states = Delivery.objects.filter(batch_id=batch_id).values_list("state")
    return dict(states.annotate(count=Count("pk")))


def _moved(campaign_id: int, item: Settled) -> Settled:
    """Give the contact its new address. Where another contact has it that gets the message itself, or wants none, this
    delivery ends: the same chat must not get it twice."""
    assert item.address is not None
    try:
        heir = contact_status.move(item.contact_id, item.address)
    except InvalidInput:
        return structs.replace(item, address=None, label=Charted.RETRIED)  # a fault like any other
    if heir is None or heir == item.contact_id:
        return item
    is_recipient = Delivery.objects.filter(campaign_id=campaign_id, contact_id=heir).exists()
    if not is_recipient and Contact.objects.filter(pk=heir, status=ContactStatus.ACTIVE).exists():
        return item
    error = f"moved to {item.address}, which {'gets it itself' if is_recipient else 'is not written to'}"
    return structs.replace(
        item, state=DeliveryState.GONE, tried=0, error=error, label=Charted.GONE, delay=None, address=None
    )


def _mark_contacts(settled: Sequence[Settled]) -> None:
    gone: dict[str, list[int]] = defaultdict(list)
    for item in settled:
        if item.state == DeliveryState.GONE:
            gone[item.error or ""].append(item.contact_id)
    for reason, contact_ids in gone.items():
        contact_status.mark_gone(contact_ids, reason)


_ADD = {
    "sqlite": "INSERT INTO {table} ({columns}) VALUES {values}"
    " ON CONFLICT ({key}) DO UPDATE SET count = {table}.count + excluded.count",
    "mysql": "INSERT INTO {table} ({columns}) VALUES {values}"
    " ON DUPLICATE KEY UPDATE count = {table}.count + VALUES(count)",
}
_ADD["postgresql"] = _ADD["sqlite"]


def _add(table: str, key: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add to counters, creating those that are not there. In order of key, so that two writers never deadlock."""
    if not rows:
        return
    width = len(rows[0])
    sql = _ADD[database.dialect()].format(
        table=table,
        columns=f"{key}, count",
        key=key,
        values=", ".join(["(" + ", ".join(["%s"] * width) + ")"] * len(rows)),
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [value for row in sorted(rows) for value in row])


def bucket_now(campaign_id: int) -> dict[str, int]:
    """The bucket that outcomes go to at this moment: `at`, and its count of each outcome."""
    at = current_bucket()
    counts = Bucket.objects.filter(campaign_id=campaign_id, at=at).values_list("outcome", "count")
    return {"at": at, **dict(counts)}


def current_bucket() -> int:
    """The `at` of this moment. Where the clock was set back, buckets of later ones are there already."""
    return database.clock_us() // 1_000_000 // BUCKET_SECONDS


def add_buckets(campaign_id: int, charted: Mapping[str, int]) -> None:
    """Add to the bucket of this moment. charted: how many of each `Charted`."""
    at = current_bucket()
    rows = [(campaign_id, at, str(label), count) for label, count in charted.items() if count]
    _add("longwave_bucket", "campaign_id, at, outcome", rows)


def _add_tallies(campaign_id: int, settled: Sequence[Settled]) -> None:
    texts = Counter((str(item.label), item.error[:160]) for item in settled if item.error and item.label)
    if not texts:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT outcome, text FROM longwave_error_tally WHERE campaign_id = %s", [campaign_id])
        known = set(cursor.fetchall())
    kept: Counter[tuple[str, str]] = Counter()
    for (label, text), count in texts.items():
        is_full = sum(1 for outcome, _ in known if outcome == label) >= ERROR_TEXTS_KEPT
        kept[label, OTHER_ERRORS if is_full and (label, text) not in known else text] += count
    _add(
        "longwave_error_tally",
        "campaign_id, outcome, text",
        [(campaign_id, label, text, count) for (label, text), count in kept.items()],
    )
