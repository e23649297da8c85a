"""The kind `taxii`: STIX objects of collections of a TAXII 2.1 server."""
