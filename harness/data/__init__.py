"""Data: datasets, splits, preprocessing, patches and augmentation."""
