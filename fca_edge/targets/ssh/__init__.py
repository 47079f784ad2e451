"""A board over SSH: connection, what it has, its runtimes, and the target itself."""
