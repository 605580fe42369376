"""Many runs: their table (`runs_table`), cross-validation (`folds_table`), ablations (`ablation_table`) and studies.

`runs` finds and reads the runs, `output` writes, draws and prints every table. The test windows decide nothing here.
"""

from pathlib import Path

from snowmap.errors import SnowmapError


def summarize(folder: Path, required: bool = True) -> None:
    """Write and print the table that the runs of a sweep are for: of an ablation, else of a cross-validation.

    Args:
        folder: Of the sweep, with a run in each of its folders.
        required: Whether it is an error that there is no table to make.

    Raises:
        SnowmapError: When no run is finished, or they differ neither in ``ablation`` nor in ``split.fold`` or
            ``split.holdout``, or cannot be compared.
    """
    # what scores maps is imported where it is needed: a table of runs is there at once
    from snowmap.sweeps.output import publish
    from snowmap.sweeps.runs import configurations, read_runs

    runs = read_runs(folder).query("state == 'finished'")
    if len({settings.get("ablation") for settings in runs["settings"]}) > 1:
        from snowmap.sweeps.ablation_table import ablation_table

        publish(ablation_table(runs), folder)
    elif configurations(runs).duplicated().any():
        from snowmap.sweeps.folds_table import folds_table

        publish(folds_table(runs), folder)
    elif required:
        raise SnowmapError(
            f"the {len(runs)} finished runs in {folder} differ neither in split.fold or split.holdout nor in ablation: "
            "there is no table to make"
        )
