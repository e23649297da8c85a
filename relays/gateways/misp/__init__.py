"""The kind `misp`: events of a MISP instance, one record for each event and for each of its attributes."""
