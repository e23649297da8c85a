"""Who a node is: its folder, how it joins, and how its credential is renewed."""
