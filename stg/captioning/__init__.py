"""From files to captions."""
