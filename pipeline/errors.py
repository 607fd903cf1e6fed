"""What Crossover says when it must stop: one sentence, one exit code."""

from collections.abc import Iterable
from difflib import get_close_matches


class BadInput(Exception):
    """The user's input cannot be used. The message says what, where and how to mend it. Exit code 2."""


class OverBudget(Exception):
    """The priced study exceeds a cap the user set. Exit code 3."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """`did you mean ...?` for an unknown name, or the list of valid names when none is near."""
    names = sorted(valid)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return "valid: " + ", ".join(names) if names else "there is none"
