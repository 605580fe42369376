"""Nets with what their outputs mean: heads, training, transfer, calibration."""
