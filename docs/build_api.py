"""Writes the reference of the Python API from its docstrings: `make api-docs`.

python docs/build_api.py FOLDER
"""

import sys
from pathlib import Path

import pdoc

import fca_edge

if __name__ == "__main__":
    # pdoc looks at what is there; functions of this package come when they are asked for.
    for name in fca_edge.__all__:
        setattr(fca_edge, name, getattr(fca_edge, name))
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc("fca_edge", output_directory=Path(sys.argv[1]))
    print(f"{sys.argv[1]}/index.html")
