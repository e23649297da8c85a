"""What sources that ask servers over HTTP have in common: how they ask, when, and what they took already."""
