"""Datasets, one file each. The file's name is the dataset's name."""
