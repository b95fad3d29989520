"""Errors that a person will read: each says what is wrong, where, and what to do next."""

from dataclasses import dataclass


class LongwaveError(Exception):
    """Base of every error whose message may be shown to a person as it stands."""


def words(error: BaseException) -> str:
    """What the error says. Some of other people's raise another one when they are asked."""
    try:
        return str(error)
    except Exception as trouble:
        return f"(its text cannot be read: {type(trouble).__name__})"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with what somebody gave us.

    `field` is where (`keyboard[0][1].url`), `value` what was given, `remedy` what would be right.
    """

    field: str
    value: object
    remedy: str

    def __str__(self) -> str:
        shown = self._shown()
        if len(shown) > 80:
            shown = f"{shown[:38]}…{shown[-38:]}"  # the end of a path is what tells it from others
        return f"{self.field} = {shown}: {self.remedy}"

    def _shown(self) -> str:
        try:
            return repr(self.value)
        except Exception:  # nested too deep, or an object that cannot be shown
            return f"({type(self.value).__name__})"


class InvalidInput(LongwaveError):
    """Input was refused; nothing was changed. `problems` has one entry for every field at fault."""

    def __init__(self, *problems: Problem) -> None:
        if not problems:
            raise ValueError("InvalidInput needs at least one Problem")
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class NotFound(LongwaveError):
    """Something was asked for by a name or number that does not exist."""


class Conflict(LongwaveError):
    """The thing exists but is in a state that does not allow what was asked."""
