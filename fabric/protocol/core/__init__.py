"""What a core takes and gives: events in, a Ready out, faults, and the time that it believes."""
