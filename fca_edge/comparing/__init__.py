"""Two sets of records side by side: what is alike, what moved, and by how much."""
