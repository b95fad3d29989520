"""`@job`: what can be run in the background, under which name, and how it is retried.

Nothing here touches models or Celery: a module full of jobs stays cheap to import.
"""

import inspect
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Generic, ParamSpec, TypeVar

from longwave.core.errors import InvalidInput, NotFound, Problem
from longwave.jobs import hooks, queues
from longwave.jobs.hooks import Hooks, Outcome, Subscriber

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=Subscriber)

OPTION_PREFIX = "job_"

LEASE = 30.0
"""Seconds, where a job is declared without."""

MAX_DEPTH = 30
"""Levels of lists and mappings in one argument or result. MariaDB takes 31 in a column, and arguments are in a mapping.
"""

MAX_RESULT = 3_000_000
"""Bytes of a result as JSON. MySQL and MariaDB take a statement of 16 MB, in which it may have four times as many."""

LONGEST = 3650 * 86400.0
"""Seconds of a pause or a lease: ten years."""

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")


@dataclass(frozen=True, slots=True)
class Again:
    """Return it from a job that is not finished: it goes back to its queue, `after` so many seconds.

    An orderly turn: it burns no attempt, and ends any row of failures and crashes before it. Raises InvalidInput for
    what is no number of seconds, or more than ten years of them.
    """

    after: float = 0.0
    why: str = ""

    def __post_init__(self) -> None:
        # Here, where the job gets to know it. Whoever writes it down can only leave the job running.
        if not (isinstance(self.after, int | float) and -math.inf < self.after <= LONGEST):
            raise InvalidInput(Problem("after", self.after, f"must be seconds, {LONGEST:.0f} at most"))
        if not isinstance(self.why, str):
            raise InvalidInput(Problem("why", self.why, "must be a text"))


@dataclass(frozen=True, slots=True)
class JobHandle:
    """A submitted job. `created` is False when an unfinished one with its dedupe key was there already."""

    id: int
    created: bool


@dataclass(frozen=True, slots=True)
class Options:
    """How one job is submitted; in `submit(**args)` these are the keywords with the prefix `job_`.

    serial_key: jobs with the same key run one after another, in the order they were submitted.
    dedupe_key: while a job of this name with this key is unfinished, submitting it again changes nothing.
    run_at: not before this moment. queue: another than the declared one, mostly a region of it (`email.eu`).
    after: not before the jobs with these ids have succeeded; when one of them fails or is cancelled, neither is it run.
    """

    serial_key: str | None = None
    dedupe_key: str | None = None
    run_at: datetime | None = None
    queue: str | None = None
    after: Sequence[int] = ()


OPTIONS = tuple(OPTION_PREFIX + name for name in Options.__slots__)


@dataclass(frozen=True)
class JobType(Generic[P, R]):
    """A declared job. Calling it runs the function here and now; `submit` runs it in the background."""

    name: str
    function: Callable[P, R] = field(repr=False)
    queue: str
    retries: int
    backoff: tuple[float, ...]
    lease: float
    max_crashes: int | None
    signature: inspect.Signature = field(repr=False)
    hooks: Hooks = field(default_factory=hooks.none, repr=False, compare=False)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def submit(
        self,
        *,
        job_serial_key: str | None = None,
        job_dedupe_key: str | None = None,
        job_run_at: datetime | None = None,
        job_queue: str | None = None,
        job_after: Sequence[int] = (),
        **args: Any,
    ) -> JobHandle:
        """Insert a job in the caller's transaction; the broker is rung after it committed.

        Raises InvalidInput for arguments the function does not take, or that JSON cannot carry.
        """
        options = Options(job_serial_key, job_dedupe_key, job_run_at, job_queue, job_after)
        handle: JobHandle = _submission().submit(self, args, options)
        return handle

    def submit_many(self, jobs: Iterable[Mapping[str, Any]]) -> list[int]:
        """Insert a job for each mapping of arguments (and `job_…` options), all or none: their ids."""
        ids: list[int] = _submission().submit_many(self, [split(self, values) for values in jobs])
        return ids

    def on_success(self, subscriber: S) -> S:
        """Call `subscriber(event)` in the worker after each success. A decorator, or called with a function.

        It may be `async def`. One that raises is logged, no more. Who dies before it is called has not called it: what
        must happen for sure belongs into the job, or into one that is submitted `after` it.
        """
        self.hooks[Outcome.SUCCESS].append(subscriber)
        return subscriber

    def on_failure(self, subscriber: S) -> S:
        """As `on_success`, after the job was given up for good."""
        self.hooks[Outcome.FAILURE].append(subscriber)
        return subscriber

    def on_retry(self, subscriber: S) -> S:
        """As `on_success`, each time it raised and will be tried again."""
        self.hooks[Outcome.RETRY].append(subscriber)
        return subscriber

    def check(self, args: Mapping[str, Any]) -> None:
        """Raise InvalidInput when the function cannot be called with these arguments from a JSON column."""
        problems = [
            *self._misnamed(args),
            *(p for name, value in args.items() for p in _unstorable(name, value)),
        ]
        if problems:
            raise InvalidInput(*problems)

    def _misnamed(self, args: Mapping[str, Any]) -> Iterable[Problem]:
        parameters = self.signature.parameters
        taken = ", ".join(parameters) or "no arguments"
        for name in args:
            if name not in parameters:
                yield Problem(name, args[name], f"{self.name} does not take it; it takes {taken}")
        for name, parameter in parameters.items():
            if name not in args and parameter.default is parameter.empty:
                yield Problem(name, None, f"{self.name} needs it; it takes {taken}")


AnyJob = JobType[..., Any]

_registry: dict[str, AnyJob] = {}


def job(
    name: str,
    *,
    queue: str = "default",
    retries: int = 3,
    backoff: Sequence[float] = (10, 60, 300),
    lease: float = LEASE,
    max_crashes: int | None = 3,
    on_success: Sequence[Subscriber] = (),
    on_failure: Sequence[Subscriber] = (),
    on_retry: Sequence[Subscriber] = (),
) -> Callable[[Callable[P, R]], JobType[P, R]]:
    """Declare a function (plain or `async def`) as a background job called `name`: `room.verb`.

    retries: how often it is tried again after raising; backoff: the seconds before each, the last repeated.
    lease: seconds after which it is given to another worker when its own has gone silent.
    max_crashes: after so many dead workers in a row it is failed as poison; None: never.
    on_success, on_failure, on_retry: who is called with the `JobEvent` then; also decorators of the declared job.
    """
    _check_declaration(name, queue=queue, retries=retries, backoff=backoff, lease=lease)
    if max_crashes is not None and max_crashes < 1:
        raise ValueError(f"job {name}: max_crashes must be 1 or more, or None")

    def declare(function: Callable[P, R]) -> JobType[P, R]:
        declared = JobType(
            name=name,
            function=function,
            queue=queue,
            retries=retries,
            backoff=tuple(backoff),
            lease=lease,
            max_crashes=max_crashes,
            signature=_signature(name, function),
            hooks={
                Outcome.SUCCESS: [*on_success],
                Outcome.FAILURE: [*on_failure],
                Outcome.RETRY: [*on_retry],
            },
        )
        _register(declared)
        return declared

    return declare


def find(name: str) -> AnyJob:
    """The job called `name`. Raises NotFound, with names that come close."""
    try:
        return _registry[name]
    except KeyError:
        close = get_close_matches(name, _registry) or sorted(_registry)
        raise NotFound(f"There is no job {name!r}; perhaps you mean {', '.join(close) or 'none'}.") from None


def get(name: str) -> AnyJob | None:
    """The job called `name`, or None: rows outlive the code that declared them."""
    return _registry.get(name)


def declared() -> list[AnyJob]:
    """Every job declared by the modules imported so far."""
    return list(_registry.values())


def split(job_type: AnyJob, values: Mapping[str, Any]) -> tuple[dict[str, Any], Options]:
    """One entry of `submit_many` as arguments and options. Raises InvalidInput for an unknown option."""
    args = {name: value for name, value in values.items() if not name.startswith(OPTION_PREFIX)}
    given = {name: value for name, value in values.items() if name.startswith(OPTION_PREFIX)}
    problems = [
        Problem(name, value, f"is no option of {job_type.name}; the options are {', '.join(OPTIONS)}")
        for name, value in given.items()
        if name not in OPTIONS
    ]
    if problems:
        raise InvalidInput(*problems)
    return args, Options(**{name.removeprefix(OPTION_PREFIX): value for name, value in given.items()})


def result_problem(value: object) -> str | None:
    """Why `value` cannot be stored as a job's result or checkpoint in every database; None when it can."""
    return json_problem(value, most=MAX_RESULT)


def json_problem(value: object, *, most: float = math.inf) -> str | None:
    """Why `value` cannot be stored as JSON in every database; None when it can. most: bytes that it may have."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
    except UnicodeEncodeError:
        return "holds half a surrogate pair, which is no text"
    except (TypeError, ValueError, RecursionError) as error:
        return f"cannot be written as JSON ({error})"
    if size > most:
        return f"has {size:,} bytes as JSON, of {most:,} that it may have; keep it elsewhere, and give where it is"
    if "\\u0000" in text.replace("\\\\", ""):
        return "holds a NUL character, which databases refuse"
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deep(value):
        return f"is nested more than {MAX_DEPTH} levels deep, which databases refuse"
    return None


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for item in level for child in _within(item)]
    return any(isinstance(item, dict | list | tuple) for item in level)


def _within(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else []


def _unstorable(name: str, value: object) -> Iterable[Problem]:
    reason = json_problem(value)
    if reason is not None:
        yield Problem(name, value, f"{reason}; give ids, texts, numbers, lists and mappings")


def _submission() -> Any:
    # Not at the top: this package is imported by Django before its models may be.
    from longwave.jobs import submission

    return submission


def _register(declared: AnyJob) -> None:
    other = _registry.get(declared.name)
    if other is not None and _place(other) != _place(declared):
        raise ValueError(f"two jobs are called {declared.name!r}: {_place(other)} and {_place(declared)}")
    _registry[declared.name] = declared


def _place(declared: AnyJob) -> str:
    function: Any = declared.function
    return f"{function.__module__}.{function.__qualname__}"


def _signature(name: str, function: Callable[..., Any]) -> inspect.Signature:
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ValueError(f"job {name}: parameter {parameter} must be one that can be given by name")
        if parameter.name.startswith(OPTION_PREFIX):
            raise ValueError(f"job {name}: parameter {parameter.name} must not start with {OPTION_PREFIX}")
    return signature


def _check_declaration(
    name: str, *, queue: str, retries: int, backoff: Sequence[float], lease: float
) -> None:
    if not _NAME.fullmatch(name) or len(name) > 100:
        raise ValueError(f"job name {name!r} must read like 'campaigns.lane', at most 100 characters")
    if not queues.is_known(queue):
        raise ValueError(f"job {name}: queue {queue!r} must be one of {', '.join(queues.PRIORITIES)}")
    is_in_bounds = retries >= 0 and 0 < lease <= LONGEST and all(0 <= pause <= LONGEST for pause in backoff)
    if not is_in_bounds or (retries and not backoff):
        raise ValueError(
            f"job {name}: retries, lease and backoff must be positive, none longer than {LONGEST:.0f} s, and retries "
            "need a backoff"
        )
