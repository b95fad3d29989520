"""The arithmetic of slots: when a sender may start its next sends, at most N in any sliding second.

Pure: values in, decision out. Times are integer microseconds of the database's clock unless a name says
otherwise.

Why it holds: slots lie `(1 + burst_guard) / N` apart, so slot i+N is at least `1 s + burst_guard seconds`
after slot i. A send may therefore leave up to `burst_guard` seconds after its slot. One that leaves later
opens a gap of the excess (`debt`) in the schedule before slot i+N is given away, and one that would be later
than MAX_LATE takes a new slot. Both need slot i+N still to be free when the lateness is known: nobody
reserves more than 0.6 s ahead.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

SECOND = 1_000_000

BULK_HORIZON = 0.5
"""Seconds a campaign reserves ahead."""

INTERACTIVE_HORIZON = 0.6
"""Seconds an interactive send reserves ahead. More than a campaign: while both wait, only the interactive one
is served. Hardly more: a slot given away a second ahead could not be moved any more when a send before it
leaves late, and one send waiting for its chat would make the whole sender wait with it."""

SEEN = 0.5
"""The part of the burst guard that lateness seen by the sender may use up."""

MAX_LATE_US = 250_000
"""A send this late must not leave any more: it gives its slot up and takes a new one."""

MAX_AHEAD_US = 2 * SECOND
"""More than this ahead, and the heaviest message, nothing can have been reserved: a clock has stepped."""

SET_AHEAD = 0.01
"""Seconds that a clock may jump ahead unheeded. It moves the sends in flight nearer to new ones by as much."""

_POLL_US = 20_000
"""Nobody asks for a gate more often than this."""

_HEAVIEST = 100
"""Sends one message can count as: Telegram copies up to a hundred messages in one call."""

_DRIFT = 100e-6
"""How fast two clocks may part, as a fraction: twice what a poor quartz does, and within what NTP slews."""


@dataclass(frozen=True, slots=True)
class Rate:
    """One limit that a send has to keep.

    per_second: sends a second; None is unlimited (a hold under the key still counts).
    catch_up: seconds of unused time the key may make good, so that its mean is exact although its slots are
    asked for a little late. Not for the first key: that one never gives more than its rate in any second.
    """

    key: str
    per_second: float | None
    catch_up: float = 0.0

    def __post_init__(self) -> None:
        if self.per_second is not None and not 0 < self.per_second < math.inf:
            raise ValueError(f"{self.key}: per_second = {self.per_second} must be above 0, or None")


@dataclass(frozen=True, slots=True)
class Standing:
    """What the ledger keeps of one key.

    weight: of the last sends; heavier ones need room before them. gap_at, gap_us: where in the schedule the
    last gap
    for late sends was opened, and how wide: it serves every late send of the second before it.
    """

    next_free: int = 0
    held_until: int = 0
    held_reason: str = ""
    weight: int = 0
    gap_at: int = 0
    gap_us: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer to a reservation: send i may start at `start_us + i * spacing_us`, for `count` sends.

    count 0: nothing yet; ask again at wait_until_us. When sends were granted, wait_until_us is when asking
    for the next ones is worth it. held_until_us, held_reason: the latest hold over the keys, 0 and empty
    without one ahead.
    now_us: the database's clock at the decision. spacing_us is 0 when nothing limits the rate.
    """

    start_us: int
    spacing_us: int
    count: int
    wait_until_us: int
    held_until_us: int
    held_reason: str
    now_us: int

    @property
    def end_us(self) -> int:
        """Where the schedule goes on after this block."""
        return self.start_us + self.count * self.spacing_us

    def slot_us(self, index: int) -> int:
        """When send `index` of the block may start."""
        return self.start_us + index * self.spacing_us


@dataclass(frozen=True, slots=True)
class Plan:
    """A grant, and what it changes in the ledger: `{key: its new standing}`."""

    grant: Grant
    changes: Mapping[str, Standing]


def spacing(per_second: float, weight: int, burst_guard: float) -> int:
    """Microseconds from one send to the next. Of heavier ones only whole messages fit into a second."""
    messages = per_second / weight
    if weight > 1 and messages >= 1:
        messages = math.floor(messages)
    return math.ceil((1 + burst_guard) * SECOND / messages)


def plan(
    rates: Sequence[Rate],
    standings: Mapping[str, Standing],
    *,
    now_us: int,
    n: int,
    horizon: float,
    lead: float = 0.0,
    weight: int = 1,
    burst_guard: float = 0.0,
    is_set_ahead: bool = False,
) -> Plan:
    """Decide on up to `n` slots, starting at least `lead` and at most `horizon` seconds from now.

    is_set_ahead: whoever asks has seen the database's clock jump.

    The first limited rate sets the pace. The others are gates: they open when they have room at that start,
    and then advance at their own rate. A gate that is shut never moves the start: the sender's slots go to
    somebody else meanwhile, where waiting inside the schedule would leave them empty.
    """
    clock = _Clock(now_us, round(horizon * SECOND), round(lead * SECOND))
    rows = {rate.key: _after_clock_step(rate, standings[rate.key], now_us, is_set_ahead) for rate in rates}
    held = max(rows.values(), key=lambda row: row.held_until)
    steps = {key: row for key, row in rows.items() if row is not standings[key]}
    pace = next((rate for rate in rates if rate.per_second is not None), None)
    if pace is None:
        return Plan(_unlimited(clock, n, held), steps)
    row = rows[pace.key]
    gap = spacing(pace.per_second or 0, weight, burst_guard)
    start = max(row.next_free, clock.earliest, held.held_until)
    if weight > 1 and row.weight != weight:
        # The second that ends with this send holds it whole: lighter sends before it must make room.
        start = max(start, row.next_free + (weight - 1) * spacing(pace.per_second or 0, 1, burst_guard))
    gates = [rate for rate in rates if rate is not pace and rate.per_second is not None]
    opens = max((rows[gate.key].next_free for gate in gates), default=0)
    if start > clock.latest or opens > start:
        wait = max(_ask_again(clock, start, gap, n), _gate_opens(clock, opens, start))
        return Plan(_grant(clock, start, gap, 0, wait, held), steps)
    count = min(n, (clock.latest - start) // gap + 1)
    for gate in gates:
        count = min(count, _room(gate, rows[gate.key], start, clock.latest, weight))
    end = start + count * gap
    changes = {gate.key: _advance(gate, rows[gate.key], start, count * weight) for gate in gates}
    opens = max((standing.next_free for standing in changes.values()), default=0)
    changes[pace.key] = replace(row, next_free=end, weight=weight)
    wait = max(_ask_again(clock, end, gap, n), _gate_opens(clock, opens, end))
    return Plan(_grant(clock, start, gap, count, wait, held), steps | changes)


def with_gap(standing: Standing, us: int, slot_us: int) -> Standing:
    """The standing after a send of slot `slot_us` left `us` too late: the schedule from here on is that much
    later.

    A gap that already lies in the second after the slot serves this send too; only what it lacks is added.
    `next_free` is moved as it stands, also when it is past: time that went by unused is a gap by itself.
    """
    if standing.gap_at - SECOND <= slot_us < standing.gap_at:
        lacking = max(0, us - standing.gap_us)
        return replace(standing, next_free=standing.next_free + lacking, gap_us=standing.gap_us + lacking)
    return replace(standing, next_free=standing.next_free + us, gap_at=standing.next_free, gap_us=us)


def tolerance_us(burst_guard: float, uncertainty_us: int) -> int:
    """How late a send may leave for nothing.

    A part of the guard (burst_guard seconds), less what the local clock is unsure of. The rest of it is kept for what
    nobody here sees: the way from our socket to the provider's clock.
    """
    return max(0, round(burst_guard * SEEN * SECOND) - uncertainty_us)


def debt(late_us: int, tolerance_us: int) -> int:
    """By how much a send that left `late_us` after its slot must move the slots a second later."""
    return max(0, late_us - max(0, tolerance_us))


@dataclass(slots=True)
class ClockOffset:
    """How far the database's clock is from this process's monotonic one, learnt from questions and answers.

    A clock asked between `before` and `after` and answering `db` shows an offset within [db - after, db -
    before]. The offset is in every sample's bounds, so it is in their intersection, which only gets narrower;
    each bound widens with age, since clocks drift. Bounds that exclude each other mean that a clock stepped:
    the newest wins.
    """

    _low: float = field(default=-math.inf, init=False)
    _high: float = field(default=math.inf, init=False)
    _at: float = field(default=0.0, init=False)

    def add(self, before_mono: float, db_us: int, after_mono: float) -> float:
        """Learn from one answer. By how many seconds the clock must have been set ahead since; negative: back.

        0 when it agrees with the earlier ones. Those that it contradicts are forgotten.
        """
        if after_mono < before_mono:
            raise ValueError(f"the answer came at {after_mono}, before the question at {before_mono}")
        low, high = db_us / SECOND - after_mono, db_us / SECOND - before_mono
        drift = _DRIFT * max(0.0, after_mono - self._at)
        agreed_low, agreed_high = max(low, self._low - drift), min(high, self._high + drift)
        self._at = after_mono
        # A microsecond of slack: the answer is in whole ones.
        if agreed_low <= agreed_high + 1 / SECOND:
            self._low, self._high = agreed_low, max(agreed_low, agreed_high)
            return 0.0
        self._low, self._high = low, high
        return agreed_low - agreed_high if agreed_low == low else agreed_high - agreed_low

    def to_monotonic(self, us: int) -> float:
        """The local monotonic time, in seconds, at which the database's clock will show `us`."""
        return us / SECOND - self._middle()

    def to_database(self, mono: float) -> int:
        """What the database's clock shows at a local monotonic time."""
        return round((mono + self._middle()) * SECOND)

    @property
    def uncertainty_us(self) -> int:
        """Between two processes, their answers may differ by this much."""
        return math.ceil((self._high - self._low) * SECOND) if self._high < math.inf else SECOND

    def _middle(self) -> float:
        if self._high == math.inf:
            raise ValueError("no sample of the database's clock yet")
        return (self._low + self._high) / 2


@dataclass(frozen=True, slots=True)
class _Clock:
    now: int
    horizon: int
    lead: int

    @property
    def earliest(self) -> int:
        return self.now + self.lead

    @property
    def latest(self) -> int:
        return self.now + max(self.horizon, self.lead)


def _after_clock_step(rate: Rate, standing: Standing, now_us: int, is_set_ahead: bool) -> Standing:
    """The standing itself, unless the clock was set.

    Back: its next slot is further ahead than anybody may have reserved it. Ahead: it looks like that of an idle
    sender, so who asks must say so. Then the schedule begins anew behind all that was given away before, which lies
    within 0.6 s. Holds are absolute times and stay as they are.
    """
    if rate.per_second is None:
        return standing
    is_set_back = standing.next_free - now_us > MAX_AHEAD_US + round(_HEAVIEST * 2 * SECOND / rate.per_second)
    if not is_set_back and not is_set_ahead:
        return standing
    last = spacing(rate.per_second, max(1, standing.weight), 0.0)
    anew = now_us + max(SECOND, round(INTERACTIVE_HORIZON * SECOND) + last)
    # Several notice one after another that it was set ahead; what the first was given then must not be given again.
    return replace(
        standing, next_free=anew if is_set_back else max(anew, standing.next_free), gap_at=0, gap_us=0
    )


def _unlimited(clock: _Clock, n: int, held: Standing) -> Grant:
    start = max(clock.earliest, held.held_until)
    if start > clock.latest:
        return _grant(clock, start, 0, 0, start - clock.horizon, held)
    return _grant(clock, start, 0, n, start, held)


def _grant(clock: _Clock, start: int, gap: int, count: int, wait: int, held: Standing) -> Grant:
    is_held = held.held_until > clock.now
    return Grant(
        start_us=start,
        spacing_us=gap,
        count=count,
        wait_until_us=max(wait, clock.now),
        held_until_us=held.held_until if is_held else 0,
        held_reason=held.held_reason if is_held else "",
        now_us=clock.now,
    )


def _ask_again(clock: _Clock, next_start: int, gap: int, n: int) -> int:
    """When `n` slots from `next_start` on fit within the horizon; half the horizon's worth is enough to come
    for."""
    return next_start - clock.horizon + min((n - 1) * gap, clock.horizon // 2)


def _gate_opens(clock: _Clock, opens: int, start: int) -> int:
    """When a gate that opens at `opens` lets the next send through, given that the sender's next slot is at
    `start`.

    A busy sender's slots lie ahead, and so does the gate's use of them.
    """
    if opens <= start:
        return 0
    return max(clock.now + _POLL_US, opens - max(clock.lead, start - clock.now))


def _room(gate: Rate, row: Standing, start: int, latest: int, weight: int) -> int:
    assert gate.per_second is not None
    room = latest - _gate_from(gate, row, start)
    return max(1, math.floor(room * gate.per_second / weight / SECOND))


def _advance(gate: Rate, row: Standing, start: int, sends: int) -> Standing:
    assert gate.per_second is not None
    return replace(row, next_free=_gate_from(gate, row, start) + math.ceil(sends * SECOND / gate.per_second))


def _gate_from(gate: Rate, row: Standing, start: int) -> int:
    return max(row.next_free, start - round(gate.catch_up * SECOND))
