"""Checkpoint files: writing them whole, and what they remember of their run."""
