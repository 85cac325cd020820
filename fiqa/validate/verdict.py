"""PASS or FAIL of a validation, in one line."""

from __future__ import annotations

from dataclasses import dataclass

from .figures import Agreement, Recognition, Regret

EXIT_FAILED = 4
"""Exit code of `facesieve validate` where a threshold is not met; 0 where all are."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a run must reach.

    min_spearman: of the overall rank agreement. max_regret: of the regret's share, 1 is chance.
    max_error_rise: of the recognition error over that of random frames, by the low end of its interval: the
    few tracks of one video are too few for the value itself.
    """

    min_spearman: float = 0.2
    max_regret: float = 0.9
    max_error_rise: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """passed, and the line that says so: `PASS: …` or `FAIL: …` with what fell short first."""

    passed: bool
    line: str


def judge(
    agreed: Agreement, regretted: Regret | None, recognised: Recognition | str, wanted: Thresholds
) -> Verdict:
    """A figure that cannot be told fails the run, but for the recognition error, which needs company."""
    short: list[str] = []
    well: list[str] = []

    def check(name: str, value: float | None, limit: float, *, least: bool) -> None:
        if value is None:
            short.append(f"{name} cannot be told: too few faces")
            return
        value = round(value, 9) + 0.0  # what is 0 but for rounding is 0, and never −0
        met = value >= limit if least else value <= limit
        sign = ("≥" if met else "<") if least else ("≤" if met else ">")
        (well if met else short).append(f"{name} {value:.3f} {sign} {limit:g}")

    check("spearman", agreed.overall.value if agreed.overall else None, wanted.min_spearman, least=True)
    share = regretted.share if regretted else None
    check("regret", share.value if share else None, wanted.max_regret, least=False)
    if isinstance(recognised, Recognition):
        check("recognition error rise at least", recognised.rise.low, wanted.max_error_rise, least=False)
    else:
        well.append(f"recognition error not told ({recognised})")
    if short:
        return Verdict(False, "FAIL: " + "; ".join(short))
    return Verdict(True, "PASS: " + "; ".join(well))
