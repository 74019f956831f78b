"""Clusters: launch files for SLURM and Kubernetes, waiting for nodes, and a check of what a study will run on.

Only :mod:`harness.cluster.connection` knows Ray; what is written for a scheduler is written without it.
"""

PAUSE_SECONDS = 120
"""What a pre-empted driver gets between the signal and its end, to let running trials save a checkpoint."""
