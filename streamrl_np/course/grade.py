"""Grade a folder of submissions: each in its own box, several at once, to be gone on with.

A trusted process draws fresh inputs, knows what is right and compares. If the grader itself
fails, or cannot decide, a submission is "not graded", never a zero.
"""

import concurrent.futures
import contextlib
import csv
import dataclasses
import hashlib
import json
import multiprocessing
import os
import pathlib
import re
import secrets
import time

from ..extras import require
from ..files import write_csv
from ..processes import leave_ctrl_c_to_parent
from . import notebook, sandbox, sources, walls
from .judge import Doubtful
from .notebook import NotebookError
from .tasks import Result, judge_all

GRADED, NOT_GRADED = "graded", "not graded"
KINDS = (".ipynb", ".py")


@dataclasses.dataclass(frozen=True)
class Job:
    """One submission to grade."""

    student: str
    path: str
    assignment: str
    variant: int | None
    seed: int
    box: str
    isolated: bool


@dataclasses.dataclass
class Record:
    """What one submission came to."""

    student: str
    fingerprint: str
    seed: int
    status: str
    results: list = dataclasses.field(default_factory=list)
    errors: list = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    foreign: bool = False  # it says that it is of another assignment or variant

    @property
    def points(self):
        """Sum the points that the machine gave."""
        return sum(result.points for result in self.results)


def find_submissions(directory):
    """List the submissions: files, or folders that hold one.

    Returns
    -------
    found : dict
        Student to path. A folder with none or several files maps to the folder itself.
    ignored : list of str
        Names of what is no submission.
    """
    if not directory.is_dir():
        raise sources.CourseError(f"{directory} is not a directory")
    entries = [p for p in sorted(directory.iterdir()) if not p.name.startswith(".")]
    files = [p for p in entries if is_submission(p)]
    folders = [p for p in entries if p.is_dir() and not p.is_symlink() and p.name != "__MACOSX"]
    names = [name for p in files for name in {p.stem, p.name}] + [p.name for p in folders]
    found = {p.stem if names.count(p.stem) == 1 else p.name: p for p in files}
    for folder in folders:
        inside = handed_in(folder)
        found[folder.name] = inside[0] if len(inside) == 1 else folder
    if not found:
        raise sources.CourseError(f"{directory} holds no .ipynb and no .py file")
    names = [readable(student) for student in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise sources.CourseError(f"{directory} holds two files that read as {twice}: rename one")
    found = dict(zip(names, found.values(), strict=True))
    return found, [p.name for p in entries if p not in (*files, *folders)]


def readable(name):
    """Write a file name as text: bytes that are no UTF-8, as in old archives, become %XX."""
    raw = os.fsencode(name)
    return raw.decode("utf-8", "backslashreplace").replace("\\x", "%")


def is_submission(path):
    """Whether a path is a notebook or a Python file, by its name."""
    return path.suffix.lower() in KINDS and (path.is_file() or path.is_symlink())


def handed_in(folder):
    """List the files in a student's folder, without what a computer adds by itself."""
    paths = [p for p in sorted(folder.rglob("*")) if is_submission(p)]
    hidden = {p for p in paths for part in p.relative_to(folder).parts if part.startswith(".")}
    return [p for p in paths if p not in hidden and "__MACOSX" not in p.parts]


def read(path):
    """Read a submission that :func:`find_submissions` found; Doubtful if it is not one file."""
    if path.is_dir() and not path.is_symlink():
        names = [str(p.relative_to(path)) for p in handed_in(path)]
        held = f"it holds {', '.join(names)}" if names else "it holds none"
        raise Doubtful(f"the folder must hold one notebook or Python file, {held}")
    return notebook.read_submission(path)


def grade_one(job):
    """Grade one submission.

    Returns
    -------
    Record
    """
    began, path = time.perf_counter(), pathlib.Path(job.path)
    assignment = sources.find(job.assignment)
    limits = sandbox.LIMITS | assignment.limits
    record = Record(job.student, fingerprint(path), job.seed, GRADED)
    session = None
    try:
        cells, foreign = read(path), notebook.foreign(path, assignment, job.variant)
        session = sandbox.Session(
            lambda: sandbox.Worker(pathlib.Path(job.box), limits, job.isolated), cells, limits
        )
        record.results = list(judge_all(assignment, session.ask, job.seed, job.variant))
        record.errors, record.foreign = foreign + session.errors, bool(foreign)
    except NotebookError as error:
        record.errors = [str(error)]
        record.results = [
            Result(task.name, 0, task.points, (str(error),))
            for task in assignment.tasks
            if task.judge
        ]
    except Exception as error:  # of the grader's own, or of the machine
        kind = "" if isinstance(error, sandbox.BrokenEnvironment | Doubtful) else "grader: "
        record.status = f"{NOT_GRADED}: {kind}{type(error).__name__}: {one_line(error)}"
        record.results = []
    finally:
        if session is not None:
            session.close()
    record.seconds = time.perf_counter() - began
    return record


def one_line(error):
    """Cut an error's words to a line."""
    return " ".join(str(error).split())[:300]


def fingerprint(path):
    """Name the content of a submission, so that an unchanged one is not graded again."""
    try:
        if path.is_dir():
            return ",".join(f"{p.name}:{p.stat().st_size}" for p in handed_in(path))
        if not path.is_file() or path.stat().st_size > notebook.MOST_BYTES:
            return f"{path.name}:{path.stat().st_size if path.exists() else 0}"
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:  # a link that leads nowhere, a file that may not be read: not graded
        return "unreadable"


def self_test(assignment, variant, box, isolated, directory):
    """Grade the solution and the blank release; raise BrokenEnvironment unless 100 % and 0."""
    for kind, wanted in (("solutions", assignment.points), ("release", 0)):
        path = pathlib.Path(box).parent / f"{pathlib.Path(box).name}-{kind}.ipynb"
        notebook.write(path, sources.make(kind, assignment, variant, directory))
        try:
            seed = secrets.randbits(32)
            job = Job(kind, str(path), assignment.name, variant, seed, str(box), isolated)
            record = grade_one(job)
        finally:
            path.unlink()
        if record.status != GRADED:
            raise sandbox.BrokenEnvironment(record.status)
        if record.points != wanted:
            lines = [line for result in record.results for line in result.lines]
            raise sandbox.BrokenEnvironment(
                f"the environment is broken: the {kind} score {record.points} of"
                f" {assignment.points} points, not {wanted} ({(record.errors + lines)[:3]})"
            )


def grade(assignment, submissions, out, variant=None, isolated=True, workers=None, quiet=False,
          directory=sources.DEFAULT):  # fmt: skip
    """Grade a folder; writes ``out`` and, beside it, feedback and records.

    Parameters
    ----------
    assignment : Assignment
    submissions, out : pathlib.Path
    variant : int, optional
    isolated : bool
        False runs student code without walls.
    workers : int, optional
        Submissions at once; as many as there are processors.
    quiet : bool
        No progress bar.
    directory : pathlib.Path
        Of the assignments' sources.

    Returns
    -------
    list of Record

    Raises
    ------
    CourseError
        If there is nothing to grade, or ``out`` cannot be where it is to be.
    BrokenEnvironment
        If the self-test fails; nothing is graded then.
    """
    tqdm = require("tqdm")
    found, _ = find_submissions(submissions)
    records_path = out.with_name(f"{out.stem}_records.jsonl")
    key = {"assignment": assignment.name, "variant": variant}
    check_out(out, submissions, records_path, assignment)
    read_marks(out)  # or refuse now
    done = read_records(records_path, key)
    with walls.make_box(assignment.withheld) as box:
        self_test(assignment, variant, box, isolated, directory)
        jobs = [
            Job(student, str(path), assignment.name, variant, secrets.randbits(32), str(box),
                isolated)
            for student, path in found.items()
            if student not in done or done[student].fingerprint != fingerprint(path)
        ]  # fmt: skip
        end_last_line(records_path)
        with records_path.open("a", encoding="utf-8") as log:
            bar = tqdm.tqdm(total=len(jobs), disable=quiet or not jobs, unit="submission")
            for record in run(jobs, workers or os.cpu_count() or 1):
                done[record.student] = record
                if record.status == GRADED:
                    log.write(json.dumps(key | dataclasses.asdict(record)) + "\n")
                    log.flush()
                bar.update()
            bar.close()
    records, fresh = [done[student] for student in found], {job.student for job in jobs}
    write_feedback(out.with_name(f"{out.stem}_feedback"), assignment, records, fresh)
    write_grades(out, assignment, records, read_marks(out))
    return records


def run(jobs, workers):
    """Grade jobs several at once; yields a record as each is done."""
    if workers == 1 or len(jobs) < 2:
        yield from map(grade_one, jobs)
        return
    context = multiprocessing.get_context("spawn")
    workers = min(workers, len(jobs))
    with concurrent.futures.ProcessPoolExecutor(workers, context, leave_ctrl_c_to_parent) as pool:
        pending = {pool.submit(grade_one, job): job for job in jobs}
        try:
            for future in concurrent.futures.as_completed(pending):
                yield outcome(future, pending[future])
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)  # those that have begun are let end
            raise


def outcome(future, job):
    """Make the record of a job that is done, or whose process died."""
    try:
        return future.result()
    except concurrent.futures.process.BrokenProcessPool as error:
        return Record(job.student, "", job.seed, f"{NOT_GRADED}: {one_line(error)}")


def check_out(out, submissions, records_path, assignment):
    """Raise CourseError where grades would overwrite others, or be taken for a submission."""
    if out.is_dir():
        raise sources.CourseError(f"{out} is a directory: name a file with --out")
    if submissions.resolve() in out.resolve().parents:
        raise sources.CourseError(f"{out} lies among the submissions: name a file elsewhere")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise sources.CourseError(f"{out} cannot be written: {error}") from None
    others = {data["assignment"] for data in lines_of(records_path)} - {assignment.name}
    if others:
        raise sources.CourseError(
            f"{out} holds grades of {', '.join(sorted(others))}: name another file with --out"
        )


def read_records(path, key):
    """Read what an earlier run has graded, of this assignment and variant."""
    done = {}
    for data in lines_of(path):
        if all(data.pop(name, None) == value for name, value in key.items()):
            results = data.pop("results")
            results = [Result(**r | {"lines": tuple(r["lines"])}) for r in results]
            done[data["student"]] = Record(**data, results=results)
    return done


def lines_of(path):
    """Read the records of a file, but for a line that a stopped run left unfinished."""
    fields = {field.name for field in dataclasses.fields(Record)} | {"assignment", "variant"}
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                data = json.loads(line)
                if isinstance(data, dict) and data.keys() == fields:
                    yield data


def end_last_line(path):
    """Step a file of lines to where the next may begin, if a stopped run left one unfinished."""
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")


def read_marks(path):
    """Read what a person may have put into an earlier grades.csv: student to column to text.

    Raises
    ------
    CourseError
        If the file is none that this command wrote, or no longer.
    """
    if not path.exists() or not path.stat().st_size:
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        return {row["student"]: row for row in rows if row["status"] is not None}
    except (KeyError, ValueError, csv.Error):
        raise sources.CourseError(
            f"{path} is no table of grades with commas between its columns: name another file"
            " with --out"
        ) from None


def write_grades(path, assignment, records, marks):
    """Write a row a student and a column a task.

    What a person grades stays as ``marks`` have it, and so does a row that is not graded, and
    every column that is not ours.
    """
    columns = ["student", "points", "of", *(task.name for task in assignment.tasks), "status"]
    added = dict.fromkeys(name for row in marks.values() for name in row if name not in columns)
    added.pop(None, None)  # cells beyond the last column
    rows = []
    for record in sorted(records, key=lambda record: record.student):
        row = dict(marks.get(harmless(record.student), {}))
        if record.status == GRADED:
            row |= {result.task: result.points for result in record.results}
            row["points"] = record.points
        row |= {"student": harmless(record.student), "of": assignment.points}
        row["status"] = record.status
        rows.append([row.get(name, "") for name in (*columns, *added)])
    write_csv(path, (*columns, *added), rows)


def harmless(text):
    """Keep a spreadsheet from reading a name as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def write_feedback(directory, assignment, records, fresh):
    """Write a page a student: points, and what is wrong in words.

    A page of a student who is not among the ``fresh`` stays, with what a person added to it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    pages = {directory / page_name(record.student): record for record in records}
    old = {
        page: page.read_text(encoding="utf-8", errors="replace") for page in directory.glob("*.md")
    }
    for page, text in old.items():  # one may be of no submission any more
        if page not in pages and text.startswith(title(assignment) + "\n"):
            page.unlink()
    for page, record in pages.items():
        text = feedback(assignment, record)
        if page not in old or (record.student in fresh and not old[page].startswith(text)):
            page.write_text(text, encoding="utf-8", errors="replace")


def page_name(student):
    """Name a student's page."""
    name = re.sub(r"[^\w.@ -]", "_", student)
    if name != student:  # two may come to the same
        name += f"-{hashlib.sha256(student.encode()).hexdigest()[:6]}"
    return f"{name}.md"


def feedback(assignment, record):
    """Write one student's page."""
    lines = [title(assignment), "", f"Student: {verbatim(record.student)}", ""]
    if record.status != GRADED:
        reason = "The grader could not decide; this says nothing about your work."
        return "\n".join([*lines, "Not graded yet. " + reason, ""])
    lines += [f"**{record.points} of {assignment.points} points**", ""]
    if record.errors:
        lines += ["While your cells ran:", "", *(f"- {verbatim(e)}" for e in record.errors), ""]
    for result in record.results:
        lines.append(f"## {result.task}: {result.points} of {result.of}")
        lines += ["", *([f"- {verbatim(line)}" for line in result.lines] or ["Right."]), ""]
    for task in assignment.tasks:
        if task.judge is None:
            lines += [f"## {task.name}: of {task.points}", "", "A person reads this.", ""]
    return "\n".join(lines)


def title(assignment):
    """Give the first line of a page."""
    return f"# {assignment.name}: {assignment.title}"


def verbatim(text):
    """Write one line as code, so that nothing that student code may have said is markup."""
    text = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{pad}{text}{pad}{fence}"
