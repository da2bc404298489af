"""Programs to read and to run, in order. Importing this package declares the tasks of all of them.

Their names start with digits, so that they sort; `import` cannot spell such names, `import_module` can.
"""

from importlib import import_module
from pathlib import Path

for _file in sorted(Path(__file__).parent.glob("[0-9]*.py")):
    import_module(f"{__name__}.{_file.stem}")
