"""Figures from plain frames, one kind a module, in the style of :mod:`harness.report.figures.style`."""
