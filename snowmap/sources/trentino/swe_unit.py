"""In which unit an archive's snow water equivalent is: the ratio to the snow depth tells, whatever the label says."""

import logging

import numpy as np

from snowmap.errors import SnowmapError

RATIO_RANGES = {"cm": (0.05, 0.6), "mm": (0.5, 6.0)}
"""SWE/HS with HS in cm: snow of 50 to 600 kg m⁻³."""
BORDER = 0.55
"""Decides where the ranges overlap: the middle. As a median, 550 kg m⁻³ and 55 kg m⁻³ are equally unlikely."""

SAMPLE = 100_000
"""Of more pixels, evenly spaced ones are taken: their median is as precise as the ranges need, and faster."""

logger = logging.getLogger("snowmap.sources.trentino")


def ratios(swe: np.ndarray, hs: np.ndarray, mask: np.ndarray, windows: int) -> np.ndarray:
    """SWE/HS of one window where both have snow, at no more than its share of `SAMPLE` pixels.

    Args:
        swe: (y, x), cm or mm.
        hs: (y, x), cm.
        mask: (y, x) bool.
        windows: Of the archive.
    """
    snow = np.flatnonzero(mask & (hs > 0) & (swe > 0))
    sample = snow[:: 1 + snow.size * windows // SAMPLE]
    return swe.flat[sample] / hs.flat[sample]


def median_ratio(of_windows: list[np.ndarray]) -> float | None:
    """The median over what `ratios` gives for each window; None where no pixel has snow in both.

    The median, because single pixels of thin snow have any ratio.
    """
    pooled = np.concatenate(of_windows) if of_windows else np.empty(0)
    return float(np.median(pooled)) if pooled.size else None


def decide(ratio: float | None, configured: str, tag: str) -> str:
    """The unit of SWE, which is logged.

    Args:
        ratio: From `median_ratio`; None where there is nothing to compare.
        configured: "auto", "cm" or "mm".
        tag: The unit that the rasters claim, or empty; believed only where there is nothing to compare.

    Returns:
        "cm" or "mm".

    Raises:
        SnowmapError: If the ratio tells the other unit than the configured one, or none and none is configured.
    """
    if configured not in ("auto", *RATIO_RANGES):
        raise SnowmapError(f"data.swe_unit: found '{configured}'; expected 'auto', 'cm' or 'mm'")
    if ratio is None:
        return _without_ratio(configured, tag)
    fitting = [unit for unit, (low, high) in RATIO_RANGES.items() if low <= ratio <= high]
    expected = ", ".join(f"{low:g} to {high:g} for SWE in {unit}" for unit, (low, high) in RATIO_RANGES.items())
    if configured == "auto" and not fitting:
        raise SnowmapError(
            f"SWE/HS has the median {ratio:.3g}; expected {expected}, with HS in cm; look at ITSNOW/HS and ITSNOW/SWE; "
            "if they are right, name the unit: data.swe_unit=cm or data.swe_unit=mm"
        )
    if configured != "auto" and fitting and configured not in fitting:
        raise SnowmapError(
            f"data.swe_unit={configured}, but SWE/HS has the median {ratio:.3g}; expected {expected}; "
            f"set data.swe_unit=auto or data.swe_unit={fitting[0]}"
        )
    if not fitting:
        logger.warning(
            "SWE/HS has the median %.3g; expected %s; data.swe_unit=%s is believed", ratio, expected, configured
        )
    unit = configured if configured != "auto" else ("cm" if ratio < BORDER else "mm")
    doubt = ", where both units are possible; set data.swe_unit if you know better" if len(fitting) == 2 else ""
    logger.info("SWE is in %s: the median of SWE/HS is %.3g%s", unit, ratio, doubt)
    return unit


def _without_ratio(configured: str, tag: str) -> str:
    if configured != "auto":
        return configured
    if tag in RATIO_RANGES:
        logger.info("SWE is in %s, as its rasters say; there is no snow depth to compare it with", tag)
        return tag
    logger.warning(
        "SWE is taken to be in cm: there is no snow depth to compare it with; set data.swe_unit if it is in mm"
    )
    return "cm"
