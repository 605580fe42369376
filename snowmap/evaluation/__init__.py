"""From maps to scores, figures and files."""

from snowmap.evaluation.output import evaluate_maps, print_table

__all__ = ["evaluate_maps", "print_table"]
