"""The split of an area: a rectangle of the map validates, the same windows train outside of it."""

from collections.abc import Sequence

import numpy as np

from snowmap.data.sequences import Dates
from snowmap.data.splits.split import Area, Split, check_fold, note_of_test
from snowmap.errors import SnowmapError


def spatial(
    start: Dates,
    end: Dates,
    *,
    shape: Sequence[int],
    rows: int = 2,
    columns: int = 2,
    fold: int = 0,
    buffer: int = 8,
    test: int = 7,
) -> Split:
    """A rectangle of the map validates: the same windows train outside of it and validate inside.

    The test windows are scored inside the rectangle, too: they are new in time and in space.

    Args:
        start: First day of each window, sorted.
        end: Last day of each window.
        shape: Height and width of the grid.
        rows: Rectangles from north to south.
        columns: Rectangles from west to east.
        fold: Which rectangle validates, from 0, row by row. The rectangles of all folds cover the map once.
        buffer: Pixels around the rectangle, in rows and columns, that belong to neither area.
        test: Windows at the end of the archive that are kept for the test.

    Raises:
        SnowmapError: When there are too few windows, no such fold, or no pixel is left to train on.
    """
    if len(start) <= test:
        raise SnowmapError(f"split.test={test} leaves no window of the {len(start)} to train")
    train_area, validation_area = areas(shape, rows, columns, fold, buffer)
    before, tested = np.arange(len(start) - test), np.arange(len(start) - test, len(start))
    notes = ["the same windows, and so the same acquisitions, train and validate: apart in space, not in time"]
    notes += note_of_test(start, end, before, tested)
    scored = (validation_area, validation_area)
    return Split(before.tolist(), before.tolist(), tested.tolist(), train_area, *scored, "; ".join(notes))


def areas(shape: Sequence[int], rows: int, columns: int, fold: int, buffer: int) -> tuple[Area, Area]:
    """Training area and validation area of `spatial`, whose arguments these are.

    Raises:
        SnowmapError: When there is no such rectangle, or no pixel is left to train on.
    """
    if rows * columns < 2 or rows > shape[0] or columns > shape[1]:
        raise SnowmapError(
            f"split.rows={rows}, split.columns={columns}: the map of {shape[0]} × {shape[1]} pixels needs at least two "
            "rectangles of at least a pixel"
        )
    check_fold(fold, rows * columns)
    row, column = divmod(fold, columns)
    y = np.linspace(0, shape[0], rows + 1).round().astype(int)[row : row + 2]
    x = np.linspace(0, shape[1], columns + 1).round().astype(int)[column : column + 2]
    validation, train = np.zeros(shape, dtype=bool), np.ones(shape, dtype=bool)
    validation[y[0] : y[1], x[0] : x[1]] = True
    train[max(0, y[0] - buffer) : y[1] + buffer, max(0, x[0] - buffer) : x[1] + buffer] = False
    if not train.any():
        raise SnowmapError(f"split.buffer={buffer} leaves no pixel of the {shape[0]} × {shape[1]} to train on")
    return train, validation
