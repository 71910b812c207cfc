"""The built-in world: short clips of moving shapes, made on the spot."""
