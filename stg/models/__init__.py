"""From graph and features to a memory, and on to words."""
