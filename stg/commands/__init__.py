"""What the commands do between their options and the library: one file a command."""
