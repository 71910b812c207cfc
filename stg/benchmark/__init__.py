"""A test bench for captioners and video language models: who does what to whom, and in which order."""
