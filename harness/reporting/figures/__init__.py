"""Figures from plain frames, one kind a module, in the style of :mod:`harness.reporting.figures.style`."""
