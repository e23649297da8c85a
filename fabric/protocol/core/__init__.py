"""What a core takes and gives: events in, a Ready out, faults, and which time it goes by."""
