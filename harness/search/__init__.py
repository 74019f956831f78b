"""What a search has suggested, and what came of it. Only this room knows Optuna."""
