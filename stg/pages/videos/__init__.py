"""Pages of captioned videos."""
