"""Self-contained HTML pages: what a model saw, said, and looked at."""
