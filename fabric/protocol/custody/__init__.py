"""What a node holds for others: outboxes, their pace, repeats, and sessions of those who are away."""
