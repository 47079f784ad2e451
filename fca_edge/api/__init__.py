"""What `import fca_edge` offers: every command of the command line as a function.

Files are given as a path, as an `Artefact` that `export` returned, or as several of them. What
cannot be done is an `FcaEdgeError` that says what to do about it. What was assumed, or makes a
result mean less, is an `FcaEdgeWarning`, and stands in the result as `notes` and `warnings`.
`progress`, if a function takes it, is called with a short line at each step. Nothing is printed.
"""
