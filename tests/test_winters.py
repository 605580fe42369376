"""Archives as the field has them, by other code: their sums of phase against the truth, and a training on each."""

import json
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from snowmap.data.features import with_derived
from snowmap.data.radar.phase import Phase
from snowmap.sources.trentino import open_archive
from tests.commands import train
from tests.winters import C_BAND, L_BAND, LOOKS, NEW_SNOW, Dates, Truth, every, write_winters

pytestmark = pytest.mark.slow

FIRST, SECOND = date(2020, 10, 8), date(2021, 10, 8)
"""First days of two winters, each until the end of April, with no window in summer."""


def irregular(first: date) -> Dates:
    """Of 6, 12 and 24 days, among them such of 24 days beside their two halves."""
    steps = (0, 12, 18, 24, 48, 60, 72, 78, 84, 108, 120, 132, 138, 144, 156, 180, 192, 204)
    whole = ((48, 72), (108, 132), (180, 204))
    return [(first + timedelta(start), first + timedelta(end)) for start, end in (*pairwise(steps), *whole)]


def two_tracks(first: date) -> Dates:
    """Of 12 days, five days apart, so that no date is of both."""
    last = first + timedelta(204)
    return [*every(12, first, last), *every(12, first + timedelta(5), last)]


ARCHIVES = {
    "6, 12 and 24 days at C band": (irregular, C_BAND, (108, 180)),
    "two tracks at L band": (two_tracks, L_BAND, (60, 108)),
}


class Archive(NamedTuple):
    """An archive, and the days of its second winter whose sums are looked at."""

    root: Path
    truth: Truth
    windows: Dates
    days: tuple[int, int]


@pytest.fixture(scope="module", params=ARCHIVES)
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    windows_of, wavelength, days = ARCHIVES[request.param]
    windows = [*windows_of(FIRST), *windows_of(SECOND)]
    root = tmp_path_factory.mktemp("winters") / "archive"
    truth = write_winters(root, windows, seed=1, shape=(24, 32), wavelength=wavelength, lake=True, hard=False)
    return Archive(root, truth, windows, days)


def deviation_of_sum(archive: Archive, of_winter: list[int]) -> np.ndarray:
    """Standard deviation in mm, ``(y, x)``, that noise gives the sum over windows of one winter.

    The variance of least squares, 1ᵀ(AᵀWA)⁺1, with A of the windows and 1/W the variance of an interferometric phase of
    `LOOKS`, (1 − γ²)/(2Lγ²), but no more than that of any phase, π²/3.
    """
    windows = [archive.windows[index] for index in of_winter]
    dates = sorted({day for window in windows for day in window})
    spans = np.array([[start <= day < end for day in dates[:-1]] for start, end in windows], float)
    squared = np.stack([archive.truth.coherence[index] for index in of_winter]) ** 2
    variance = np.minimum((1 - squared) / (2 * LOOKS * squared), np.pi**2 / 3) / archive.truth.radians_per_mm**2
    normal = np.einsum("wi,wyx,wj->yxij", spans, 1 / variance, spans)
    return np.sqrt(np.linalg.pinv(normal, rcond=1e-9, hermitian=True).sum((-2, -1)))


def test_season_sums_are_as_far_from_the_truth_as_noise_makes_them(archive):
    """Where the snow was dry on all dates: in the first half of the winter, and when a share of it has been wet.

    The reference is the lowest ground, most of which is a lake one cycle off: of that no window keeps a hundredth.
    """
    cube, truth = open_archive(archive.root), archive.truth
    phase = Phase(1, retrieval="guneriussen", density=1000 * NEW_SNOW, uses=("coherence",))
    summed = with_derived(cube, ["cumulative_phase_swe"], phase)["features"].sel(band="cumulative_phase_swe")
    for until in (SECOND + timedelta(days) for days in archive.days):
        (known,) = np.flatnonzero(cube["end"].values.astype("datetime64[D]") == np.datetime64(until))
        of_winter = [index for index, (start, end) in enumerate(archive.windows) if start >= SECOND and end <= until]
        wet = np.any([truth.wet[day] for day in truth.wet if SECOND <= day <= until], axis=0)
        dry = ~wet & (truth.swe[until] > 50)
        errors = summed[known].values[dry] - (truth.swe[until] - truth.swe[SECOND])[dry]
        lost = np.median(errors * truth.radians_per_mm[dry])
        assert abs(lost) < 0.01 * 2 * np.pi * len(of_winter)
        scatter = (errors - lost / truth.radians_per_mm[dry]) / deviation_of_sum(archive, of_winter)[dry]
        assert dry.sum() > 30
        assert np.sqrt(np.mean(scatter**2)) == pytest.approx(1, abs=0.12)
    assert wet[truth.swe[until] > 50].mean() > 0.3


def test_they_train(archive, tmp_path):
    train(archive.root, tmp_path, "model=massbalance", "split=winters", "debug=fast", "evaluate=none")
    assert np.isfinite(json.loads((tmp_path / "run.json").read_text())["validation"]["swe"]["rmse"])
