"""The kind `http`: what posts JSON, NDJSON or CloudEvents to a control point, over HTTP with tokens."""
