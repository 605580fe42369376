"""From maps to scores, figures and files."""

from snowmap.evaluation.files import evaluate_maps
from snowmap.evaluation.printing import print_table

__all__ = ["evaluate_maps", "print_table"]
