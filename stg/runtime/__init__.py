"""The machine: files, devices, processes, signals."""
