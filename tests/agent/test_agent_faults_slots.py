"""A real agent whose slots go wrong: images that do not boot, bases that were written to, disks that are full."""
