"""Snow that the phase tells exactly, for the baselines that read it."""

import numpy as np
import xarray as xr

from snowmap.data.sequences import season_of
from snowmap.physics import density_guyennon
from tests.cubes import dry_phase, make_cube


def snow_told_by_phase(sign: int = 1) -> xr.Dataset:
    """A Cube of two seasons whose phase is the change of its SWE exactly; no snow on the lowest ground."""
    cube = make_cube(windows=60)
    step = np.linspace(0, 20, 17)[None, None] * (1 + np.arange(60)[:, None, None] % 3)  # mm
    season = season_of(cube["end"].values)
    swe = np.stack([step[season[: i + 1].tolist().index(season[i]) : i + 1].sum(axis=0) for i in range(60)])
    cube["swe"].values[:] = swe / 10
    cube["hs"].values[:] = swe / density_guyennon(cube["end"].values)[:, None, None] * 100
    cube["features"].loc[{"band": "incidence"}] = 38.0
    cube["features"].loc[{"band": "coherence"}] = 1.0
    cube["features"].loc[{"band": "elevation"}] = np.linspace(1500, 1501, 17)  # nearly flat
    cube["features"].loc[{"band": "unwrapped_phase"}] = sign * dry_phase(cube, step) + 2.0
    return cube
