"""Bands for shares that are drawn at random: a fair choice leaves one less than once in so many runs."""

from __future__ import annotations

from itertools import accumulate
from math import exp, lgamma, log, log1p

FAILURE = 1e-6
"""How likely a fair choice may leave a band, by default."""


def band(draws: int, share: float, failure: float = FAILURE) -> tuple[int, int]:
    """Return the least and the most hits of `draws` fair ones that are not suspicious, by the binomial distribution itself.

    Less than `least` and more than `most` together are less likely than `failure`.
    """
    chances = [
        exp(lgamma(draws + 1) - lgamma(hits + 1) - lgamma(draws - hits + 1) + hits * log(share) + (draws - hits) * log1p(-share))
        for hits in range(draws + 1)
    ]
    below = list(accumulate(chances))
    above = list(accumulate(reversed(chances)))
    least = next(hits for hits in range(draws + 1) if below[hits] >= failure / 2)
    most = draws - next(hits for hits in range(draws + 1) if above[hits] >= failure / 2)
    return least, most
