"""In which unit an archive's snow is.

Snow depth must be in cm: what its rasters say counts, and so does how deep the snow of the archive would be. The ratio
of SWE to it then tells the unit of SWE, whatever the label says.
"""

import logging

import numpy as np

from snowmap.errors import SnowmapError
from snowmap.sources.trentino.quantities import SWE_IN_UNITS, TARGETS
from snowmap.units import METRES

RATIO_RANGES = {"cm": (0.05, 0.6), "mm": (0.5, 6.0)}
"""SWE/HS with HS in cm: snow of 50 to 600 kg m⁻³."""
BORDER = 0.55
"""Decides where the ranges overlap: the middle. As a median, 550 kg m⁻³ and 55 kg m⁻³ are equally unlikely."""

SAMPLE = 100_000
"""Of more pixels, evenly spaced ones are taken: their median is as precise as the ranges need, and faster."""

DEEP_CM = 300.0
"""A median snow depth above this, over the pixels with snow of all windows, is that of no archive but one in mm."""
PEAK = 99
"""Percentile that stands for the deepest snow: single pixels of any archive may be wrong."""

logger = logging.getLogger("snowmap.sources.trentino")


def snow_of(maps: np.ndarray, mask: np.ndarray, windows: int) -> np.ndarray:
    """The values above 0 of one window, at no more than its share of `SAMPLE` pixels; arguments as of `ratios`."""
    snow = np.flatnonzero(mask & (maps > 0))
    return maps.flat[snow[:: 1 + snow.size * windows // SAMPLE]]


def median_and_peak(of_windows: list[np.ndarray]) -> tuple[float, float] | None:
    """Of what `snow_of` gives for each window; None where no pixel has snow."""
    pooled = np.concatenate(of_windows) if of_windows else np.empty(0)
    return (float(np.median(pooled)), float(np.percentile(pooled, PEAK))) if pooled.size else None


def check_snow_depth(tag: str, depths: tuple[float, float] | None) -> None:
    """Refuse snow depth that is not in cm; warn where it hardly can be.

    Args:
        tag: The unit that the rasters claim, or empty.
        depths: From `median_and_peak`, in the unit of the rasters.

    Raises:
        SnowmapError: When the rasters claim another unit of length, or the snow would be deeper than any.
    """
    mend = "expected cm: convert the rasters, or give them a GDAL scale, e.g. `gdal_edit.py -scale 0.1` for mm"
    if METRES.get(tag.strip(), METRES["cm"]) != METRES["cm"]:
        raise SnowmapError(f"ITSNOW/HS: its rasters say that they are in {tag}; {mend}")
    if depths is None:
        return
    median, peak = depths
    if peak > TARGETS["hs"].valid_max:
        raise SnowmapError(f"ITSNOW/HS reaches {peak:,.0f}: in cm no snow is so deep, so it is in mm; {mend}")
    if median > DEEP_CM:
        logger.warning(
            "ITSNOW/HS: the median of all snow is %.0f, which is deep in cm: if it is in mm, %s", median, mend
        )


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


def decide(ratio: float | None, configured: str, tag: str, depths: tuple[float, float] | None = None) -> str:
    """The unit of SWE, which is logged.

    Args:
        ratio: From `median_ratio`; None where there is nothing to compare.
        configured: "auto", "cm" or "mm".
        tag: The unit that the rasters claim, or empty; believed only where there is nothing to compare.
        depths: From `median_and_peak` of SWE, which counts where there is no `tag` either.

    Returns:
        "cm" or "mm".

    Raises:
        SnowmapError: If the ratio tells the other unit than the configured one, or none and none is configured.
    """
    if configured not in ("auto", *RATIO_RANGES):
        raise SnowmapError(f"data.swe_unit: found '{configured}'; expected 'auto', 'cm' or 'mm'")
    if ratio is None:
        return _without_ratio(configured, tag, depths)
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


def _without_ratio(configured: str, tag: str, depths: tuple[float, float] | None) -> str:
    if configured != "auto":
        return configured
    if tag in RATIO_RANGES:
        logger.info("SWE is in %s, as its rasters say; there is no snow depth to compare it with", tag)
        return tag
    if depths is not None and depths[1] > SWE_IN_UNITS["cm"].valid_max:
        logger.info("SWE is in mm: it reaches %.0f, and there is no snow depth to compare it with", depths[1])
        return "mm"
    logger.warning(
        "SWE is taken to be in cm: there is no snow depth to compare it with; set data.swe_unit if it is in mm"
    )
    return "cm"
