"""Trained networks on images that no trial has seen: predicting, averaging and exporting them."""
