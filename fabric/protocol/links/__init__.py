"""A node and its links: handshake, parents, transfer of messages, and distribution of what is signed."""
