"""Evaluation: sliding-window inference, exact surface distances, per-case rows."""
