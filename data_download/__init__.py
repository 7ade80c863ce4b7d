"""Open PAN / MS imagery on demand. Knows nothing of the training package: the two meet only in files."""
