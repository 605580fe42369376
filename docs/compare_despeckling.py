"""Prints the table of filters in docs/despeckling.md: `python docs/compare_despeckling.py`.

scikit-image, which is no dependency of snowmap, is in the table where it is installed.
"""

from collections.abc import Callable

import numpy as np
import torch

from snowmap.data.radar.despeckle import boxcar, lee, ppb

LOOKS = (1.0, 4.4)
SIZE = 256


def scene() -> np.ndarray:
    """Power: fields of −20 to −5 dB, a line 3 px wide that is 6 dB darker than its ground, a slope, bright points."""
    db = np.empty((SIZE, SIZE))
    half = SIZE // 2
    db[:half, :half], db[:half, half:] = -15, -10
    db[half:, :half] = -18
    db[half:, half:] = np.linspace(-20, -5, half)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    db[(np.abs(columns - rows // 4 - 20) < 2) & (rows < half)] = -21
    db[half + 20 :: 25, 15:half:25] = 5
    return 10 ** (db / 10)


def homogeneous(truth: np.ndarray) -> list[np.ndarray]:
    """Two fields, 20 px from anything else."""
    half = SIZE // 2
    fields = [np.zeros(truth.shape, bool) for _ in range(2)]
    fields[0][20 : half - 20, half + 20 : SIZE - 20] = True
    fields[1][20 : half - 20, 75 : half - 20] = True
    return fields


def scores(filtered: np.ndarray, truth: np.ndarray) -> list[float]:
    """Looks in homogeneous fields, edge preservation, RMSE in dB, RMSE within 3 px of the edge, bias in dB."""
    looks = np.mean([filtered[field].mean() ** 2 / filtered[field].var() for field in homogeneous(truth)])
    error = 10 * np.log10(filtered / truth)
    half = SIZE // 2
    edge = np.s_[10 : half - 10, half - 3 : half + 3]
    # of the 5 dB between the upper fields: from the last pixel of one to the first of the other
    step = 10 * np.log10(filtered[10 : half - 10, half].mean() / filtered[10 : half - 10, half - 1].mean())
    field = homogeneous(truth)[0]
    bias = 10 * np.log10(filtered[field].mean() / truth[field].mean())
    rmse, beside = (float(np.sqrt(np.mean(part**2))) for part in (error, error[edge]))
    return [float(looks), step / 5, rmse, beside, bias]


def non_local_means(power: np.ndarray, looks: float) -> np.ndarray:
    """Scikit-image's, on dB, where speckle is additive; of the same windows, with the spread of the dB of speckle."""
    from skimage.restoration import denoise_nl_means  # pyright: ignore[reportMissingImports]

    db = 10 * np.log10(power)
    spread = float((10 * np.log10(np.random.default_rng(1).gamma(looks, 1 / looks, 10**5))).std())
    smooth = denoise_nl_means(db, 7, 10, h=0.8 * spread, sigma=spread, fast_mode=True)
    offset = 10 * np.log10(np.random.default_rng(2).gamma(looks, 1 / looks, 10**5)).mean()  # the mean of dB is too low
    return 10 ** ((smooth - offset) / 10)


def table(iterations: tuple[int, ...] = (4, 25)) -> str:
    """Each filter on one simulated image for each number of looks, PPB with each number of iterations."""
    truth = scene()
    heads = ["filter", "looks", "edge", "RMSE", "RMSE at the edge", "bias"]
    rows = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for looks in LOOKS:
        power = (truth * np.random.default_rng(0).gamma(looks, 1 / looks, truth.shape)).astype(np.float32)
        tensor = torch.from_numpy(power)
        filters: dict[str, Callable[[], np.ndarray]] = {
            "none": lambda power=power: power,
            "boxcar": lambda tensor=tensor: boxcar(tensor, 7).numpy(),
            "lee": lambda tensor=tensor, looks=looks: lee(tensor, looks, 7).numpy(),
            "ppb": lambda tensor=tensor, looks=looks: ppb(tensor, looks).numpy(),
            **{
                f"ppb, {count} iterations": lambda tensor=tensor, looks=looks, count=count: ppb(
                    tensor, looks, iterations=count
                ).numpy()
                for count in iterations
            },
            "non-local means of scikit-image, on dB": lambda power=power, looks=looks: non_local_means(power, looks),
        }
        for name, work in filters.items():
            try:
                filtered = work()
            except ImportError:
                continue
            looks_after, edge, rmse, beside, bias = scores(filtered, truth)
            rows.append(
                f"| {looks:g} looks: {name} | {looks_after:.0f} | {edge:.2f} | {rmse:.2f} dB | {beside:.2f} dB "
                f"| {bias:+.2f} dB |"
            )
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
