"""Files that are whole or not there, whenever the process is killed."""

import csv
import io
import os


def atomic_write(path, write):
    """Write a file so that it is whole or not there: ``write(file)`` goes to a neighbour first."""
    beside = path.with_name(f".{path.name}.part")
    try:
        with open(beside, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:  # a full disk names no file by itself
        beside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


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
