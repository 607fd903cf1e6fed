"""Verdict: which of two curves passes the other and where, out of the posteriors of both directions."""

from dataclasses import dataclass

from pipeline.laws.forms import Array
from pipeline.laws.posterior import Posterior, Span, middle


@dataclass(frozen=True)
class Verdict:
    """Of a and b as they were given."""

    turned: bool
    """b is the likelier to pass a, and ``posterior`` is of that."""
    posterior: Posterior
    answer: str
    """crosses | none (one leads all along) | cannot tell"""
    x: float | None
    """Where the curves themselves cross; of a crossing that they do not show, the median."""
    lo: float | None
    hi: float | None
    """None where that end is not bounded by the data."""

    @classmethod
    def of(cls, span: Span, gap: Array, both: tuple[Posterior, Posterior], level: float) -> "Verdict":
        """From the gap ln a - ln b [g] at the places of ``span`` and the posteriors of a passing b, of b passing a."""
        turned = both[1].likelihood > both[0].likelihood
        posterior = both[turned]
        x, (lo, hi) = middle(span, -gap if turned else gap), posterior.interval(level)
        if lo is not None and hi is not None:
            x = x or posterior.quantile(0.5) or lo
            return cls(turned, posterior, "crosses", x, min(lo, x), max(hi, x))
        answer = "none" if max(posterior.leads) >= level else "cannot tell"
        return cls(turned, posterior, answer, x, lo, hi)

    def leads(self, a: str, b: str) -> dict[str, float]:
        """Probability that each is ahead all along the range measured."""
        return dict(zip(self._named(a, b), self.posterior.leads, strict=True))

    def ahead(self, a: str, b: str) -> dict[str, float]:
        """Probability that each is ahead at its end."""
        return dict(zip(self._named(a, b), self.posterior.ahead, strict=True))

    def _named(self, a: str, b: str) -> tuple[str, str]:
        return (b, a) if self.turned else (a, b)
