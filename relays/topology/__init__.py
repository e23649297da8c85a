"""Topology files: read, prove, draw. The validator is imported when a file is read, never by the model."""
