"""`fabric bench`: test records through a running tree, from one control point to others, and what became of them."""
