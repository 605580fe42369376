import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowmap.errors import SnowmapError
from snowmap.sequences import season_of
from snowmap.splits import make_split, rolling, winters


def dates(count: int) -> tuple[np.ndarray, np.ndarray]:
    start = np.datetime64("2021-01-09") + np.arange(count) * np.timedelta64(12, "D")
    return start, start + np.timedelta64(12, "D")


def test_rolling_is_the_card_s_split_of_64_windows():
    split = rolling(*dates(64))
    assert split.test == [57, 58, 59, 60, 61, 62, 63]
    assert split.validation == [5, 11, 17, 23, 29, 35, 41, 47, 53]
    assert split.train[:7] == [0, 1, 2, 3, 4, 6, 7]
    assert len(split.train) == 48


def test_rolling_names_its_windows():
    start, end = dates(13)
    named = rolling(start, end).named(start, end)
    assert named["train"][0] == "2021-01-09_to_2021-01-21"
    assert named["validation"] == ["2021-03-10_to_2021-03-22"]
    assert len(named["test"]) == 7


@given(count=st.integers(1, 90), train=st.integers(1, 7), validation=st.integers(1, 3), test=st.integers(1, 9))
def test_every_window_is_in_exactly_one_part_and_the_test_comes_last(count, train, validation, test):
    if count < train + validation + test:
        with pytest.raises(SnowmapError, match=f"archive has {count}"):
            rolling(*dates(count), train=train, validation=validation, test=test)
        return
    split = rolling(*dates(count), train=train, validation=validation, test=test)
    assert sorted(split.train + split.validation + split.test) == list(range(count))
    assert len(split.test) == test
    assert max(split.train + split.validation) < min(split.test)
    assert split.validation


def test_an_unknown_split_is_named():
    with pytest.raises(SnowmapError, match=r"split\.name=rollin is unknown; known are rolling"):
        make_split("rollin", *dates(20))


def test_a_part_of_nothing_is_refused():
    with pytest.raises(SnowmapError, match="at least 1"):
        rolling(*dates(20), validation=0)


class TestWinters:
    def dates(self, count=64):
        start = np.datetime64("2021-01-09", "D") + 12 * np.arange(count)
        return start, start + 12

    @pytest.mark.parametrize(("fold", "year"), [(0, 2020), (1, 2021), (2, 2022)])
    def test_one_snow_year_validates_and_no_acquisition_is_on_two_sides(self, fold, year):
        start, end = self.dates(67)
        split = winters(start, end, fold=fold)
        assert split.test == list(range(60, 67))
        season = season_of(end)
        assert {int(season[i]) for i in split.validation} == {year}
        assert year not in {int(season[i]) for i in split.train}
        acquisitions = [{*start[part].tolist(), *end[part].tolist()} for part in split.parts.values()]
        assert not acquisitions[0] & acquisitions[1]
        assert not acquisitions[0] & acquisitions[2]
        assert not acquisitions[1] & acquisitions[2]
        assert len(split.train) + len(split.validation) >= 60 - 4

    def test_a_fold_that_is_not_there_is_answered_with_those_that_are(self):
        start, end = self.dates()
        with pytest.raises(SnowmapError, match=r"there are 0 \(2020/21\), 1 \(2021/22\), 2 \(2022/23\)"):
            winters(start, end, fold=3)
        with pytest.raises(SnowmapError, match="at least two snow years"):
            winters(start[:20], end[:20])
