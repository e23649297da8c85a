"""The audit log (SPEC 9.10): what is in it, how its entries are chained, and who signs how far it goes."""
