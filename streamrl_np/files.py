"""Files that are whole or not there, whenever the process is killed."""

import contextlib
import csv
import io
import os


def atomic_write(path, write):
    """Write a file so that it is whole or not there: ``write(file)`` goes to a neighbour first."""
    beside = path.with_name(f".{path.name}.part")
    try:
        with naming(path):
            with open(beside, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def naming(path):
    """Let an OSError name the file that it is about: of a full disk it does not by itself."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


def write_text(path, text):
    """Write a text in UTF-8, atomically."""
    atomic_write(path, lambda file: file.write(text.encode()))


def write_csv(path, header, rows):
    """Write a table as CSV, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())
