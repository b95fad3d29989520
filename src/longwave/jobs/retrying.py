"""What becomes of a job that raised: pure, the randomness passed in."""

import traceback

from longwave.core.errors import Conflict, InvalidInput, LongwaveError, NotFound, words
from longwave.jobs.declare import AnyJob

FINAL = (InvalidInput, NotFound, Conflict)
"""Errors that trying again cannot mend."""

JITTER = 0.1


def pause(job_type: AnyJob, failures: int, error: BaseException, chance: float) -> float | None:
    """Seconds until the next try after `failures` earlier ones in a row; None to give up.

    chance: 0 to 1, spreads the pause by ±10 %, so that what failed together does not come back together.
    """
    if isinstance(error, FINAL) or failures >= job_type.retries:
        return None
    planned = job_type.backoff[min(failures, len(job_type.backoff) - 1)]
    return planned * (1 - JITTER + 2 * JITTER * chance)


def describe(error: BaseException) -> tuple[str, str]:
    """What went wrong, in a sentence and as a traceback."""
    said = words(error)
    sentence = said if isinstance(error, LongwaveError) else f"{type(error).__name__}: {said}"
    return sentence, "".join(traceback.format_exception(error))
