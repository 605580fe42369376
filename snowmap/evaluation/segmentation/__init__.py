"""Scores, intervals, figures and report of class maps."""
