"""How far errors of neighbouring pixels go together, and what that means for sums over many pixels."""

from typing import Any

import numpy as np
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr
from jaxtyping import Float, Float64
from pyproj import CRS, Transformer
from scipy.optimize import minimize_scalar
from scipy.signal import correlate, fftconvolve


def correlation_length_m(
    standardised_errors: Float[np.ndarray, "window y x"], spacing_m: tuple[float, float]
) -> float | None:
    """Length L in m of the exponential correlation exp(−d/L) of standardised errors.

    The products of errors are averaged over all pairs of valid pixels at the same lag (by FFT), pooled over windows,
    averaged in rings of equal distance d up to half the longer side, divided by the mean square and fitted by least
    squares. Every pair of pixels weighs the same in the fit, as it does in the variance of a sum.

    Neither the mean of a window nor that of all windows is taken off: an error that a whole window shares is part of
    the error of a basin's mean. Without it L would come out short and the uncertainty of large basins too small.

    Args:
        standardised_errors: (predicted − observed)/σ of windows that were not trained on; NaN = missing.
        spacing_m: Distance of neighbouring pixels, down and across, in m; see `pixel_spacing_m`.

    Returns:
        L, between a tenth of the spacing and a hundred times the longer side; None where it is undefined: no error
        other than zero, or no two valid pixels beside each other.
    """
    height, width = standardised_errors.shape[1:]
    products, pairs = np.zeros((2, 2 * height - 1, 2 * width - 1))
    for errors in standardised_errors.astype(np.float64):
        valid = np.isfinite(errors)
        known = np.where(valid, errors, 0.0)
        products += correlate(known, known, method="fft")
        pairs += np.rint(correlate(valid.astype(np.float64), valid.astype(np.float64), method="fft"))
    distance = _distance((height, width), spacing_m)
    step, longer = min(spacing_m), max(height * spacing_m[0], width * spacing_m[1])
    near = (distance <= longer / 2) & (pairs > 0)
    ring = np.rint(distance[near] / step).astype(int)
    count, total, way = (
        np.bincount(ring, values[near]) for values in (pairs, pairs * products / np.maximum(pairs, 1), pairs * distance)
    )
    filled = count > 0
    count, total, way = count[filled], total[filled] / count[filled], way[filled] / count[filled]
    if len(count) < 2 or total[0] <= 0:
        return None

    def misfit(log_length: float) -> float:
        return float(np.sum(count * (total / total[0] - np.exp(-way / np.exp(log_length))) ** 2))

    fit: Any = minimize_scalar(misfit, bounds=(np.log(step / 10), np.log(100 * longer)), method="bounded")
    return float(np.exp(fit.x))


def sigma_of_sum(sigma: Float64[np.ndarray, "y x"], spacing_m: tuple[float, float], length_m: float | None) -> float:
    """σ of the sum over pixels, √(Σ_ij s_i s_j exp(−d_ij/L)), the double sum as a convolution by FFT.

    Args:
        sigma: σ of each term of the sum, its weight included; 0 where a pixel is not part of it.
        spacing_m: Distance of neighbouring pixels, down and across, in m.
        length_m: L in m; None for fully correlated errors, the upper bound: then it is Σ s_i.
    """
    if length_m is None:
        return float(sigma.sum())
    correlation = np.exp(-_distance(sigma.shape, spacing_m) / length_m)
    return float(np.sqrt(max(np.sum(sigma * fftconvolve(sigma, correlation, mode="same")), 0.0)))


def pixel_spacing_m(maps: xr.Dataset) -> tuple[float, float]:
    """Distance on the ellipsoid from the middle pixel's centre to the next one, down and across, in m."""
    crs, transform = CRS.from_user_input(maps.rio.crs), maps.rio.transform()
    x, y = float(maps["x"].mean()), float(maps["y"].mean())
    across, down = transform.a, transform.e
    to_degrees = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    lon, lat = to_degrees.transform([x, x, x + across], [y, y + down, y])
    ellipsoid = crs.get_geod()
    assert ellipsoid is not None
    _, _, metres = ellipsoid.inv([lon[0]] * 2, [lat[0]] * 2, lon[1:], lat[1:])
    return float(metres[0]), float(metres[1])


def _distance(shape: tuple[int, ...], spacing_m: tuple[float, float]) -> Float64[np.ndarray, "lag_y lag_x"]:
    """Distance in m at every lag that a grid of this shape has; lag 0 in the middle."""
    down, across = (step * np.arange(1 - size, size) for step, size in zip(spacing_m, shape, strict=True))
    return np.hypot(down[:, None], across)
