"""STIX 2.1: bundles become intel, and what a reader may see of it becomes bundles again. Others build on its tables."""
