"""From a delivery to the records that a program reads, and to its acknowledgement."""
