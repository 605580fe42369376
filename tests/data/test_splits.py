import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowmap.data.sequences import SEASON, history, season_of
from snowmap.data.splits import check_reach, make_split
from snowmap.data.splits.areas import areas, spatial
from snowmap.data.splits.dates import SPLITS, blocked, expanding, holdout_winter, rolling, winters
from snowmap.errors import SnowmapError
from snowmap.runs.selection import held_out_winter


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


class TestHoldoutWinter:
    def test_no_window_or_acquisition_of_the_winter_trains_or_validates(self):
        start, end = dates(64)
        split = holdout_winter(start, end, winter=2021)
        assert {*season_of(end)[split.test]} == {2021}
        assert split.test == np.flatnonzero(season_of(end) == 2021).tolist()
        before = [*split.train, *split.validation]
        assert not {*start[before].tolist(), *end[before].tolist()} & {*start[split.test].tolist(), *end[split.test]}
        assert {*season_of(end)[split.train]} == {2020, 2022}
        assert len(split.train) == pytest.approx(5 * len(split.validation), abs=5)

    def test_the_last_one_that_is_no_stump_by_default(self):
        assert {*season_of(dates(64)[1])[holdout_winter(*dates(64)).test]} == {2022}
        start, end = dates(52)  # two windows of 2022/23
        assert {*season_of(end)[holdout_winter(start, end).test]} == {2021}

    def test_a_winter_that_is_not_there_or_stands_alone(self):
        with pytest.raises(SnowmapError, match="of the snow year 2030/31 and of another"):
            holdout_winter(*dates(64), winter=2030)
        with pytest.raises(SnowmapError, match="of the snow year 2020/21 and of another"):
            holdout_winter(*dates(15))
        with pytest.raises(SnowmapError, match=r"split\.winter=2021 leaves 20 windows, but 20 train and 5 validate"):
            holdout_winter(*dates(52), winter=2021, train=20, validation=5)


@pytest.mark.parametrize(
    ("options", "days"), [({"name": "winters"}, 12), ({"name": "blocked", "gap": 3}, 36), ({"name": "blocked"}, 12)]
)
def test_it_is_noted_that_the_winter_of_the_test_trains_too(options, days):
    start, end = dates(64)
    split = make_split(start=start, end=end, **options)
    assert split.note == f"the winter of the test windows trains or validates, too, up to {days} days before them"
    last = max(split.train + split.validation)
    assert (start[split.test[0]] - end[last]) == np.timedelta64(days, "D")


def test_a_test_after_a_summer_needs_no_note():
    start, end = dates(64)
    winter = np.flatnonzero(season_of(end) == 2022)
    assert make_split("winters", start, end, test=len(winter)).note == ""


def test_a_buffer_that_the_net_looks_across_is_said_with_the_number(caplog):
    check_reach({"name": "spatial", "buffer": 26}, 1, 26)
    assert not caplog.text
    check_reach({"name": "spatial", "buffer": 8}, 1, 26)
    assert "split.buffer=8 is less than the 26 pixels" in caplog.text


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
        acquisitions = [{*start[subset].tolist(), *end[subset].tolist()} for subset in split.subsets.values()]
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


@st.composite
def archives(draw):
    """Windows of one to three cycles, some of which overlap, with holes between them."""
    cycles = draw(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3)), min_size=12, max_size=90))
    first = np.cumsum([{0: 0, 9: 4}.get(step, 1) for step, _ in cycles])
    start = np.datetime64("2020-03-01", "D") + 12 * first
    return start, start + 12 * np.array([length for _, length in cycles])


def acquisitions(split, start, end) -> list[set]:
    return [{*start[subset].tolist(), *end[subset].tolist()} for subset in split.subsets.values()]


OF_DATES = sorted({*SPLITS} - {"regions"})  # which is of whole archives


class TestEverySplit:
    @given(
        archive=archives(),
        name=st.sampled_from(OF_DATES),
        fold=st.integers(0, 3),
        test=st.integers(1, 9),
        gap=st.integers(0, 4),
    )
    def test_no_acquisition_is_on_two_sides_unless_the_split_says_so(self, archive, name, fold, test, gap):
        start, end = archive
        options = {"test": test} | ({} if name == "rolling" else {"fold": fold})
        options = {} if name == "holdout_winter" else options
        options |= {"gap": gap, "folds": 4} if name in ("blocked", "expanding") else {}
        try:
            split = make_split(name, start, end, shape=(20, 30), **options)
        except SnowmapError:
            return
        if name != "holdout_winter":
            assert split.test == list(range(len(start) - test, len(start)))
            assert max(split.train + split.validation) < split.test[0]
        assert split.train
        assert split.validation
        trained, validated, tested = acquisitions(split, start, end)
        shared = trained & validated or trained & tested or validated & tested
        assert not shared or "acquisitions" in split.note
        whole = {*season_of(end)[split.test]}.isdisjoint(season_of(end)[[*split.train, *split.validation]])
        assert bool(split.note) == (not whole or name in ("rolling", "spatial", "holdout_winter"))
        if split.validation_area is None:
            assert not {*split.train} & {*split.validation}

    @given(archive=archives(), name=st.sampled_from(OF_DATES), test=st.integers(1, 9))
    def test_a_winter_held_out_to_choose_the_epoch_is_whole_and_trains_nothing(self, archive, name, test):
        start, end = archive
        try:
            options = {} if name == "holdout_winter" else {"test": test}
            split = make_split(name, start, end, shape=(20, 30), **options)
        except SnowmapError:
            return
        first = held_out_winter(split, start, end)
        if first is None:
            return
        season, before = season_of(end), {*split.train, *split.validation}
        years = {int(season[i]) for i in first.validation}
        assert len(years) == 1
        assert {*first.validation} == {i for i in before if season[i] in years}
        assert not years & {int(season[i]) for i in first.train}
        assert {*first.train} <= {*split.train}
        assert first.train
        trained, validated, _ = acquisitions(first, start, end)
        assert not trained & validated
        assert first.validation_area is split.train_area

    def test_a_winter_is_held_out_only_where_there_are_two_of_a_kind(self):
        start, end = dates(64)
        assert {int(season_of(end)[i]) for i in held_out_winter(rolling(start, end), start, end).validation} == {2021}
        assert held_out_winter(winters(start, end), start, end) is None
        short = start[:34], end[:34]
        assert held_out_winter(rolling(*short, test=10), *short) is None
        assert held_out_winter(spatial(start, end, shape=(40, 50)), start, end).validation_area is not None

    @given(time=st.integers(1, 6), name=st.sampled_from(["blocked", "expanding"]), fold=st.integers(0, 3))
    def test_a_gap_as_long_as_the_sequences_keeps_them_apart(self, time, name, fold):
        start, end = dates(90)
        split = make_split(name, start, end, folds=4, fold=fold, gap=time)
        check_reach({"name": name, "gap": time}, time, 26)
        for ours, theirs in ((split.train, split.validation), (split.validation, split.train)):
            reach = [step for target in ours for step in history(end, target, time)]
            assert not {*reach} & {*theirs}
            read = {*start[reach].tolist(), *end[reach].tolist()}
            assert not read & {*start[theirs].tolist(), *end[theirs].tolist()}

    def test_a_gap_shorter_than_the_sequences_is_refused(self, caplog):
        with pytest.raises(SnowmapError, match=r"split\.gap=3 is shorter than the sequences of 4 .* give split\.gap=4"):
            check_reach({"name": "blocked", "gap": 3}, 4, 26)
        check_reach({"name": "winters", "fold": 1}, 4, 26)
        assert not caplog.text
        check_reach({"name": "expanding", "gap": 3}, SEASON, 26)
        assert "split=winters keeps whole seasons apart" in caplog.text


class TestBlocked:
    def test_one_block_validates_between_two_gaps(self):
        split = blocked(*dates(57), folds=5, fold=2, gap=2)
        assert split.validation == list(range(20, 30))
        assert split.train == [*range(18), *range(32, 48)]
        assert split.test == list(range(50, 57))

    def test_the_folds_hold_every_window_once(self):
        found = [window for fold in range(5) for window in blocked(*dates(64), fold=fold).validation]
        assert found == list(range(56))  # the last one before the test is its gap

    def test_without_a_gap_shared_acquisitions_are_left_out_all_the_same(self):
        split = blocked(*dates(57), folds=5, fold=2, gap=0)
        assert split.train == [*range(19), *range(31, 49)]
        start = np.datetime64("2021-01-09") + np.arange(57) * np.timedelta64(24, "D")  # every other cycle is missing
        assert blocked(start, start + 12, folds=5, fold=2, gap=0).train == [*range(20), *range(30, 50)]


class TestExpanding:
    def test_the_past_trains_and_grows(self):
        splits = [expanding(*dates(57), folds=4, fold=fold) for fold in range(4)]
        assert [split.train for split in splits] == [list(range(last)) for last in (9, 19, 29, 39)]
        assert splits[0].validation == list(range(10, 20))
        assert splits[3].validation == list(range(40, 49))


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("blocked", {"fold": 9}, r"split\.fold=9 is not possible; there are 0, 1, 2, 3, 4"),
        ("expanding", {"fold": 4}, r"split\.fold=4 is not possible; there are 0, 1, 2, 3"),
        ("spatial", {"fold": -1}, r"split\.fold=-1 is not possible; there are 0, 1, 2, 3"),
        ("blocked", {"folds": 1}, r"split\.folds=1, .* at least two blocks"),
        ("expanding", {"folds": 40}, r"split\.folds=40 needs at least 41 windows before the 7 test windows, .* has 23"),
        ("blocked", {"gap": 30}, r"split\.fold=0 leaves no window to train; give a smaller split\.gap"),
        ("blocked", {"fold": 4, "gap": 6}, r"split\.fold=4 leaves no window to validate; give a smaller split\.gap"),
        ("spatial", {"rows": 1, "columns": 1}, "at least two rectangles"),
        ("spatial", {"columns": 31}, "of 20 × 30 pixels"),
        ("spatial", {"buffer": 30}, r"split\.buffer=30 leaves no pixel"),
        ("spatial", {"test": 30}, r"split\.test=30 leaves no window of the 30"),
    ],
)
def test_a_split_that_cannot_be_made_names_the_key(name, options, told):
    with pytest.raises(SnowmapError, match=told):
        make_split(name, *dates(30), shape=(20, 30), **options)


class TestSpatial:
    def test_the_same_windows_are_on_both_sides_and_that_is_said(self):
        split = spatial(*dates(20), shape=(20, 30))
        assert split.train == split.validation == list(range(13))
        assert split.test == list(range(13, 20))
        assert "same acquisitions" in split.note

    @given(rows=st.integers(1, 4), columns=st.integers(2, 4), buffer=st.integers(0, 6))
    def test_the_folds_tile_the_map_and_the_buffer_belongs_to_neither(self, rows, columns, buffer):
        shape = (23, 37)
        found = [areas(shape, rows, columns, fold, buffer) for fold in range(rows * columns)]
        assert (np.sum([held for _, held in found], axis=0) == 1).all()
        for train, held in found:
            y, x = np.nonzero(held)
            away = [
                np.abs(np.arange(size)[:, None] - np.unique(found)).min(axis=1)
                for size, found in zip(shape, (y, x), strict=True)
            ]
            distance = np.maximum(away[0][:, None], away[1])
            np.testing.assert_array_equal(train, distance > buffer)
