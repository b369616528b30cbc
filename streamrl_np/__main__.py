"""Start the command line, on one BLAS thread: these matrices are too small to share out."""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before NumPy is imported

if __name__ == "__main__":
    import sys

    from .cli import main

    sys.exit(main())
