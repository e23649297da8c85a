"""How threads and the connection's thread reach each other, and the state of the connection."""
