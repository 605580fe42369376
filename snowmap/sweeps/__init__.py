"""What many runs tell together: `cross_validation` over folds, and `sar_ablation`: what InSAR adds.

Both look at validation windows alone; the test windows are not touched.
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
    from snowmap.sweeps.cross_validation import cross_validate
    from snowmap.sweeps.jobs import configurations, find_jobs
    from snowmap.sweeps.sar_ablation import compare_ablations

    jobs = find_jobs(folder)
    if len({job.config.get("ablation") for job in jobs}) > 1:
        compare_ablations(folder, jobs)
    elif any(len(group) > 1 for group in configurations(jobs).values()):
        cross_validate(folder, jobs)
    elif required:
        raise SnowmapError(
            f"the {len(jobs)} runs in {folder} differ neither in split.fold nor in ablation: there is no table to make"
        )
