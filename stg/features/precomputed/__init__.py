"""Features that others have extracted."""
