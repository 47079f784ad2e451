"""What was measured, as tables and documents: for a terminal, a notebook, a page or a program."""
