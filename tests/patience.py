"""How long tests wait for what must come."""

#: Seconds. It is no promise, costs nothing where all is well, and is long enough for the slowest machine.
PATIENCE = 60
