"""What Crossover says when it must stop: one sentence, one exit code."""

from collections.abc import Iterable
from difflib import get_close_matches


class BadInput(Exception):
    """The user's input cannot be used. The message says what, where and how to mend it. Exit code 2."""


class OverBudget(Exception):
    """The priced study exceeds a cap the user set. Exit code 3."""


class ClusterLost(Exception):
    """Ray's own processes on this machine ended, or did not come up. Says it in one sentence; exit code 1 where it
    happened as often as it is tried again."""


def brief(error: BaseException) -> str:
    """One line without its full stop: what a BadInput or the system says; of any other error, its kind too."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    said = (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")
    return said if isinstance(error, BadInput) else f"{type(error).__name__}: {said}"


def nearest(name: str, valid: Iterable[str]) -> str:
    """`did you mean ...?` for an unknown name, or the list of valid names when none is near."""
    names = sorted(valid)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return "valid: " + ", ".join(names) if names else "there is none"
