"""The kind `poll`: records from an API that answers with JSON, a page at a time."""
