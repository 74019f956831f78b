"""Trials spread over workers, each exactly once. Only ``ray_tune`` knows Ray."""
