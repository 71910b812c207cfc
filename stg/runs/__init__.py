"""What lies on disk: runs, models, checkpoints."""
