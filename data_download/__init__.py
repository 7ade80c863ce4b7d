"""Open PAN / MS imagery on demand.

This package knows nothing of the training package. The two meet only in files.
"""
