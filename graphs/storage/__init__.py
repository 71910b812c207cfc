"""Video graphs in one LMDB file."""
