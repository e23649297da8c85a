"""Message Fabric beside what else one would take for the same job: in the same run, in turn, over the same loopback."""
