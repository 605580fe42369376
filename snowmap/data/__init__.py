"""The Cube and all that makes Batches of it: splits, sequences, features, normalisation."""
