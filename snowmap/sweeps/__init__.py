"""Many runs: their table (`runs_table`), cross-validation (`folds_table`), ablations (`ablation_table`) and studies.

`runs` finds and reads the runs, `comparison` puts them in order, `output` writes and draws every table. The test
windows decide nothing here.
"""

from pathlib import Path

from snowmap.errors import SnowmapError


def summarize(folder: Path, required: bool = True) -> None:
    """Write and print the table that the runs of a sweep are for: of an ablation, else of a cross-validation.

    Args:
        folder: Of the sweep, with a run in each of its folders.
        required: Whether it is an error that there is no table to make.

    Raises:
        SnowmapError: When the runs differ neither in ``ablation`` nor in ``split.fold``, or cannot be compared.
    """
    # what scores maps is imported where it is needed: a table of runs is there at once
    from snowmap.sweeps.ablation_table import compare_ablations
    from snowmap.sweeps.folds_table import cross_validate
    from snowmap.sweeps.runs import configurations, find_finished_runs

    runs = find_finished_runs(folder)
    if len({run.config.get("ablation") for run in runs}) > 1:
        compare_ablations(folder, runs)
    elif any(len(group) > 1 for group in configurations(runs).values()):
        cross_validate(folder, runs)
    elif required:
        raise SnowmapError(
            f"the {len(runs)} runs in {folder} differ neither in split.fold nor in ablation: there is no table to make"
        )
