"""State machines as tables: the arrows are the documentation, and the only way to change a state."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S", bound=str)


@dataclass(frozen=True)
class StateTable(Generic[S]):
    """verb → {state it may start from: state it leads to}."""

    arrows: Mapping[str, Mapping[S, S]]

    def sources(self, verb: str) -> tuple[S, ...]:
        """The states from which `verb` is allowed: the guard of its UPDATE."""
        return tuple(self.arrows[verb])

    def target(self, verb: str, source: S) -> S | None:
        """Where `verb` leads from `source`; None when it is not allowed there."""
        return self.arrows[verb].get(source)

    def verbs(self, source: S) -> tuple[str, ...]:
        """What may be done in `source`: the remedy of an error that names it."""
        return tuple(verb for verb, arrows in self.arrows.items() if source in arrows)

    def __iter__(self) -> Iterator[tuple[str, S, S]]:
        for verb, arrows in self.arrows.items():
            for source, target in arrows.items():
                yield verb, source, target

    def mermaid(self) -> str:
        """The table as a Mermaid state diagram (docs/ holds it; a test keeps the two equal)."""
        lines = [f"    {source} --> {target}: {verb}" for verb, source, target in self]
        return "\n".join(["stateDiagram-v2", *lines])
