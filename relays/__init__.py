"""A running relay and what surrounds it: the loop, the spool, topology files, the supervisor, the command line."""
