"""What goes into a bundle as it stands: stand-alone files, for Python 3.7 and NumPy 1 as well."""
