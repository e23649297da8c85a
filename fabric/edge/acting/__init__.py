"""Executing actions: handlers, their results, and the ledger that lets none begin twice."""
