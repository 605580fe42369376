"""Connected components of an unwrapping: between two of them lies an unknown number of cycles."""

import numpy as np
import xarray as xr


def in_largest_component(cube: xr.Dataset) -> xr.DataArray:
    """The bands of a Cube, with an unwrapped phase in the largest connected component of each window alone.

    A reference in one component says nothing of the phase in another. The largest is that with most pixels of the study
    area; 0 is none. Numbers differ from window to window: the band `component` becomes 1 inside the largest, else 0.
    """
    numbers, largest = cube["features"].sel(band="component", drop=True), []
    for window in numbers:  # one after the other: the Cube may be larger than the memory
        inside = window.values[cube["mask"].values]
        present, counts = np.unique(inside[inside > 0], return_counts=True)
        largest.append(present[counts.argmax()] if present.size else np.nan)
    kept = numbers == xr.DataArray(largest, dims="window")
    unwrapped = cube["band"].isin(["unwrapped_phase", "displacement"])
    features = cube["features"].where(kept | ~unwrapped)
    return xr.where(cube["band"] == "component", kept.astype(np.float32), features).transpose(*features.dims)
