"""All that can be set: frozen dataclasses, one file a concern. No torch."""
