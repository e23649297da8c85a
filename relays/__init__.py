"""A relay and what surrounds it: its process, the supervisor, topology files, the authority, the command line."""
