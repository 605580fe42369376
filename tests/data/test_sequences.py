import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowmap.data.sequences import SEASON, added_days, check_time, gap_days, history, samples, season_of, season_starts
from snowmap.errors import SnowmapError


def dates(count: int = 64, first: str = "2021-01-09", lost: tuple[int, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    cycles = np.setdiff1d(np.arange(count + len(lost)), lost)
    start = np.datetime64(first, "D") + 12 * cycles
    return start, start + 12


def test_a_snow_year_begins_on_the_first_of_september():
    days = np.array(
        ["2021-08-31", "2021-09-01", "2021-12-31", "2022-01-01", "2022-08-31", "2022-09-01"], "datetime64[D]"
    )
    assert season_of(days).tolist() == [2020, 2021, 2021, 2021, 2021, 2022]


def test_season_starts_are_the_first_windows_that_end_in_september_or_later():
    start, end = dates()
    ends = end[season_starts(start, end)]
    assert ends.astype(str).tolist() == ["2021-09-06", "2022-09-01"]


def test_an_archive_that_begins_in_winter_or_after_a_long_gap_marks_no_bare_ground():
    start, end = dates(5)
    assert not season_starts(start, end).any()
    start, end = dates(20, first="2021-07-01", lost=tuple(range(4, 12)))
    assert season_of(end)[4] > season_of(end)[3]
    assert not season_starts(start, end).any()


def test_gaps_are_counted_in_days():
    start, end = dates(6, lost=(2, 3, 5))
    assert gap_days(start, end).tolist() == [0, 0, 24, 12, 0, 0]


def test_a_day_of_several_windows_is_added_once():
    start, end = dates(6, lost=(2,))
    assert added_days(start, end).tolist() == [12] * 6
    day = np.datetime64("2021-01-09") + np.array([[0, 12], [12, 24], [0, 24], [17, 29], [36, 48], [24, 48]])
    assert added_days(*day.T).tolist() == [12, 12, 0, 5, 12, 0]
    assert gap_days(*day.T).tolist() == [0, 0, 0, 0, 7, 0]


def test_history_is_the_season_or_the_last_windows():
    _, end = dates()
    first = int(np.flatnonzero(season_of(end) == 2021)[0])
    assert history(end, first + 3, SEASON) == tuple(range(first, first + 4))
    assert history(end, first + 3, 6) == tuple(range(first - 2, first + 4))
    assert history(end, 1, 6) == (0, 1)


@given(
    targets=st.sets(st.integers(0, 63), min_size=1),
    hidden=st.sets(st.integers(0, 63)),
    time=st.one_of(st.integers(1, 12), st.just(SEASON)),
    every=st.booleans(),
)
def test_every_target_is_supervised_and_no_hidden_one_ever(targets, hidden, time, every):
    _, end = dates()
    found = samples(end, sorted(targets), time, maps_every_step=every, allowed=targets - hidden)
    supervised = [
        step
        for sample in found
        for step, shown in zip(sample.steps[-len(sample.supervised) :], sample.supervised, strict=True)
        if shown
    ]
    assert set(supervised) == targets
    for sample in found:
        assert list(sample.steps) == list(range(sample.steps[0], sample.steps[-1] + 1))
        assert sample.steps[-1] in targets
    if every and time == SEASON:  # each season once
        assert len(supervised) == len(targets)
        assert len(found) == len({int(season_of(end)[target]) for target in targets})


def test_a_length_that_no_season_has_is_refused():
    start, end = dates()
    check_time(30, start, end)
    check_time(SEASON, start, end)
    check_time(64, end, end)  # single acquisitions know no season
    with pytest.raises(SnowmapError, match=r"data\.time=65 is longer than the series, which has 64 dates"):
        check_time(65, end, end)
    with pytest.raises(
        SnowmapError, match=r"data\.time=65 is longer than the longest season of the archive \(30 of 64"
    ):
        check_time(65, start, end)
    with pytest.raises(SnowmapError, match=r"ask for at most 30, or data\.time=season"):
        check_time(31, start, end)
