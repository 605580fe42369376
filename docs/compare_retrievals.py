"""Prints the table of retrievals in docs/data.md: `python docs/compare_retrievals.py`."""

import numpy as np

from snowmap.physics import (
    SENTINEL_1_WAVELENGTH,
    phase_of_swe,
    phase_of_swe_leinss,
    phase_of_swe_oveisgharan,
)

DENSITIES = (100, 200, 300, 400)
INCIDENCES = (20, 30, 40, 50, 60)


def table() -> str:
    """Mm of SWE for one cycle of phase at Sentinel-1's wavelength, which at another one grow in proportion to it."""
    heads = ["incidence", *(f"`guneriussen`, {density} kg m⁻³" for density in DENSITIES), "`leinss`", "`oveisgharan`"]
    rows = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for angle in INCIDENCES:
        phases = [
            *(phase_of_swe(1.0, angle, density / 1000, SENTINEL_1_WAVELENGTH) for density in DENSITIES),
            phase_of_swe_leinss(1.0, angle),
            phase_of_swe_oveisgharan(1.0, angle),
        ]
        rows.append(f"| {angle}° | " + " | ".join(f"{2 * np.pi / phase:.1f}" for phase in phases) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
