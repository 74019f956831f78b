"""Means, intervals and tests, on frames and arrays: no files, no formatting."""
