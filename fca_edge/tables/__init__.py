"""Tables that fit a terminal, a page of Markdown or a cell of a notebook."""
