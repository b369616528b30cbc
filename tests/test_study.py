"""Studies: what is run next, what neighbours decide, and a tiny one from end to end."""

import dataclasses
import multiprocessing

import numpy as np
import pytest

from streamrl_np import cli
from streamrl_np.experiments import configs, plots, study, study_report
from streamrl_np.experiments.results import Episodes, RunDirectoryError
from streamrl_np.experiments.study import Cell, Result

CELL = Cell("actor-critic", "RTU RTRL", 0.8, "published", 16)


def results(cell, *finals):
    return [Result(cell, seed, final, 1000, 1.0, (final,)) for seed, final in enumerate(finals)]


def plan(*known):
    return study.plan(study.memory_chain_cells(), [r for results in known for r in results])


def seeds(planned, cell=CELL):
    return sorted(seed for c, seed in planned if c == cell)


def test_the_grid_of_the_question():
    cells = study.memory_chain_cells()
    assert len(set(cells)) == len(cells) == 2 * 2 * (5 * 2 + 1) * 8
    assert len(plan()) == 5 * len(cells)
    names = {study.job_name(*run) for run in plan()}
    assert len(names) == 5 * len(cells)


def test_the_most_telling_length_of_every_line_comes_first():
    first = plan()[:33]
    assert {(c.agent, c.trace_decay) for c, _ in first} == {("actor-critic", 0.8)}
    lengths = {(c.method.split()[0], c.length) for c, _ in first}
    assert lengths == {("RTU", 64), ("GRU", 16), ("minGRU", 16), ("feedforward", 2)}
    assert {seed for _, seed in first} == {0, 1, 2}


def test_the_grid_of_the_contrast():
    cells = study.STUDIES["distractors"].cells()
    assert len(cells) == len({c.method for c in cells}) == 7, "a cell a method"
    experiment = study.job("distractors", cells[0], 0).experiment
    assert (experiment.env.distractors, experiment.cell.units) == (16, 8)
    (cell, *_) = longer = study.STUDIES["distractors-32"].cells()
    assert len(longer) == 7
    env, drawn = (
        getattr(study.job("distractors-32", cell, 0).experiment, k) for k in ("env", "cell")
    )
    assert (env.length, env.distractors, drawn.units, drawn.max_phase) == (32, 16, 32, 0.3)


@pytest.mark.parametrize(
    ("name", "lengths", "changes"),
    [
        ("memory-chain-entropy", [16], {"entropy": 0.1}),
        ("memory-chain-slow-actor", [16], {"kappa_policy": 20.0}),
        (
            "memory-chain-adaptive",
            [16, 32, 64],
            {"optimizer": "adaptive_obgd", "kappa_policy": 0.3, "kappa_value": 0.2},
        ),
    ],
)
def test_the_gated_cells_differ_from_those_of_the_grid_in_one_thing(name, lengths, changes):
    every = study.STUDIES[name].cells()
    cells = [c for c in every if c.method in ("GRU TBPTT(1)", "minGRU RTRL")]
    assert {(c.method, c.ring, c.length) for c in cells} == {
        (method, ring, length)
        for method in ("GRU TBPTT(1)", "minGRU RTRL")
        for ring in ("published", "long")
        for length in lengths
    }
    plain, other = (study.job(study_, cells[0], 0).experiment for study_ in ("memory-chain", name))
    assert plain.agent.kappa_policy == 2.0
    agent = dataclasses.replace(plain.agent, **changes)
    assert dataclasses.replace(plain, agent=agent) == other


def test_a_one_step_gradient_stands_beside_the_exact_one_where_the_mingru_begins_to_fail():
    cells = study.STUDIES["memory-chain-adaptive"].cells()
    one_step = {c for c in cells if c.method == "minGRU TBPTT(1)"}
    assert {(c.ring, c.length) for c in one_step} == {("published", 64), ("long", 64)}
    assert {c._replace(method="minGRU RTRL") for c in one_step} < set(cells)


def test_rtus_that_forget_get_a_step_size_for_each_parameter_as_well():
    cells = [c for c in study.STUDIES["memory-chain-adaptive"].cells() if c.method[:3] == "RTU"]
    assert len(cells) == len(set(cells)) == 3 * 2
    assert {(c.method, c.length) for c in cells} == {
        (method, length)
        for method in ("RTU RTRL", "RTU TBPTT(1)", "RTU frozen")
        for length in (64, 128)
    }
    assert {c.ring for c in cells} == {"published"}
    (most,) = {study.most_steps("memory-chain-adaptive", c) for c in cells if c.length == 128}
    assert most == 500_000


def test_seeds_already_known_are_not_run_again_and_close_cells_get_ten():
    assert seeds(plan(results(CELL, 0.9, 0.9))) == [2, 3, 4]
    assert seeds(plan(results(CELL, 0.9, 0.9, 0.9, 0.9, 0.9))) == []
    assert seeds(plan(results(CELL, 0.9, 0.1, 0.9, 0.9, 0.9))) == [5, 6, 7, 8, 9]


def test_a_study_may_ask_for_ten_seeds_of_every_cell():
    cells = study.STUDIES["distractors-32"].cells()
    assert study.STUDIES["distractors-32"].seeds == 10
    known = results(cells[1], *[0.0] * 5)
    assert seeds(study.plan(cells, known, 10), cells[1]) == [5, 6, 7, 8, 9]
    assert seeds(study.plan(cells, known), cells[1]) == []


def test_neighbours_decide():
    longer, shorter, shortest = (CELL._replace(length=length) for length in (64, 8, 4))
    assert seeds(plan(results(longer, 0.9, 0.9, 0.9))) == []
    assert seeds(plan(results(longer, 0.9, 0.9))) == [0, 1, 2, 3, 4]
    assert seeds(plan(results(longer, 0.9, 0.9, 0.2))) == [0, 1, 2, 3, 4]
    assert seeds(plan(results(shorter, 0.0, 0.1), results(shortest, 0.0, 0.2))) == []
    assert seeds(plan(results(shorter, 0.0, 0.1), results(shortest, 0.0))) == [0, 1, 2, 3, 4]
    assert seeds(plan(results(shorter, *[0.0] * 5))) == [], "one shorter chain, on all its seeds"
    assert seeds(plan(results(longer, *[0.0] * 5))) == [0, 1, 2, 3, 4], "a longer one says nothing"
    five, far = results(longer, *[0.0] * 5), CELL._replace(length=256)
    assert seeds(plan(five), far) == [], "a quarter as long, though with fewer steps"
    assert seeds(plan(five), CELL._replace(length=128)) == [0, 1, 2, 3, 4], "it had fewer steps"
    other = [c._replace(ring="long") for c in (shorter, shortest)]
    assert seeds(plan(*(results(c, 0.0, 0.1) for c in other))) == [0, 1, 2, 3, 4]


def test_a_run_that_contradicts_the_neighbours_is_heard():
    longer = results(CELL._replace(length=64), 1, 1, 1)
    assert study.implied(CELL, study.group([*results(CELL, 0.9), *longer])) is True
    assert study.implied(CELL, study.group([*results(CELL, 0.9, 0.1), *longer])) is None
    assert seeds(plan([*results(CELL, 0.9), *longer])) == []
    assert seeds(plan([*results(CELL, 0.9, 0.1), *longer])) == [2, 3, 4]


def test_the_other_agent_and_the_other_trace_decay_decide_if_they_agree():
    agent, decay = CELL._replace(agent="qrc"), CELL._replace(trace_decay=0.95)
    five, none = [0.9] * 5, [0.0] * 5
    assert seeds(plan(results(agent, *five), results(decay, *five))) == []
    assert seeds(plan(results(agent, *none), results(decay, *none))) == []
    assert (
        study.implied(CELL, study.group([*results(agent, *none), *results(decay, *none)])) is False
    )
    assert seeds(plan(results(agent, *five), results(decay, *none))) == [0, 1, 2, 3, 4]
    assert seeds(plan(results(agent, *five))) == [0, 1, 2, 3, 4], "one alone says nothing"
    longer = results(decay._replace(length=64), *five)
    assert seeds(plan(results(agent, *five), longer)) == [], "decided by its own line"
    mixed = results(decay, 0.9, 0.9, 0.9, 0.9, 0.1)
    assert seeds(plan(results(agent, *five), mixed)) == [0, 1, 2, 3, 4]


def test_what_a_cell_runs_with():
    experiment = study.job("memory-chain", CELL._replace(ring="long", length=128), 3).experiment
    assert experiment.run.steps == 500_000 and experiment.run.seed == 3
    assert experiment.cell.r_min == pytest.approx(0.9768, abs=1e-4)
    assert experiment.agent.kappa_policy == 2.0 and experiment.agent.kappa_value == 2.0
    gru = CELL._replace(agent="qrc", method="GRU TBPTT(1)", trace_decay=0.95)
    experiment = study.job("memory-chain", gru, 0).experiment
    assert (experiment.cell.name, experiment.cell.mode) == ("gru", "tbptt1")
    assert (experiment.agent.name, experiment.agent.trace_decay) == ("qrc", 0.95)
    assert (experiment.cell.r_min, experiment.run.steps) == (0.0, 300_000)
    memoryless = CELL._replace(method="feedforward", ring="none", length=256)
    assert study.job("memory-chain", memoryless, 0).experiment.run.steps == 100_000


def test_what_the_tables_rest_on():
    experiment = study.job("memory-chain", CELL, 0).experiment
    assert (experiment.run.stop_return, experiment.agent.discount) == (0.9, 0.999)
    assert [r.solved for r in results(CELL, 0.5, 0.51)] == [False, True], "above, not at"
    assert study.unanimous(results(CELL, *[0.0] * 4)) is None
    assert study.unanimous(results(CELL, *[0.0] * 5)) is False
    assert study_report.entry(CELL, study.group(results(CELL, 0.9, 0.1))).endswith("<br>+0.50")


def test_the_figure_joins_full_cells_and_circles_what_neighbours_decide():
    row = [CELL._replace(length=length) for length in (64, 2, 4, 8, 16, 32)]
    known = [results(CELL._replace(length=32), *[0.9] * 4), results(CELL, *[0.9] * 5)]
    axes = plots.new_figure()[1]
    by_cell = study.group([r for runs in known for r in runs])
    joined = study_report.draw_row(axes, row, by_cell, "k", aside=1.0)
    assert list(joined.get_xdata()[np.isfinite(joined.get_ydata())]) == [16]
    dashes, *marks = [line for line in axes.lines if line is not joined]
    assert list(dashes.get_xdata()[np.isfinite(dashes.get_ydata())]) == [16, 32]
    circles = [line for line in marks if line.get_markerfacecolor() == "none"]
    where = [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in circles]
    assert where == [(2, 0.9), (4, 0.9), (8, 0.9)], "64 steps are open"


def test_wilson_interval():
    """Against values of the textbook formula: 0 of 5 and 8 of 10."""
    assert study_report.wilson(0, 5) == pytest.approx((0.0, 0.43449), abs=1e-4)
    assert study_report.wilson(5, 5) == pytest.approx((0.56551, 1.0), abs=1e-4)
    assert study_report.wilson(8, 10) == pytest.approx((0.49016, 0.94331), abs=1e-4)


def test_rows_survive_the_file(tmp_path):
    path = tmp_path / "runs.csv"
    assert study.read(path) == []
    rows = results(CELL, 0.25, -0.5)
    for row in reversed(rows):
        study.add(path, row)
    assert study.read(path) == rows


def test_a_tiny_study_runs_resumes_and_draws(tmp_path):
    shrink = {"run.steps": "300", "network.width": "4", "cell.units": "3"}
    options = dict(only="actor-critic_(rtu-rtrl|feedforward)_0.8_(long|none)_L(2|4)_n192_s0")
    out, runs = tmp_path / "out", tmp_path / "runs"

    def go():
        failures = study.run("memory-chain", out, runs, 2, quiet=True, shrink=shrink, **options)
        study_report.draw("memory-chain", out)
        return failures

    assert go() == {}
    made = study.read(out / "runs.csv")
    assert len(made) == 4 and {r.steps for r in made} == {300}
    written = {path.name: path.read_bytes() for path in out.glob("[!.]*")}
    assert set(written) == {"runs.csv", "table.md", "solve-rate.png"}
    assert "feedforward" in written["table.md"].decode()
    assert go() == {}
    assert written["runs.csv"] == (out / "runs.csv").read_bytes(), "nothing was run again"


def test_no_run_begins_after_the_minutes_given(tmp_path, monkeypatch):
    clock, began = [0.0], []

    def take_ten_minutes(jobs, runs, pool, quiet, finished, following):
        while jobs:
            began.extend([clock[0] / 60] * len(jobs))  # all of them begin at once
            clock[0] += 600
            jobs = following(0)
        return {}, {}

    monkeypatch.setattr(study.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(study.sweep, "execute", take_ten_minutes)
    study.run("memory-chain", tmp_path, tmp_path, workers=2, minutes=15)
    assert began == [0, 0, 10, 10]


def test_every_run_is_chosen_by_all_that_ended_before(tmp_path, monkeypatch):
    begun = []

    def make(jobs, runs, pool, quiet, finished, following):
        assert len(jobs) == 2, "as many as there are workers"
        jobs = [*jobs, *following(1)]
        while jobs:
            seed = jobs.pop(0).experiment.run.seed
            begun.append(seed)
            study.add(tmp_path / "runs.csv", results(CELL, *[0.9 if seed else 0.0] * 10)[seed])
            jobs += following(len(jobs))
        return {}, {}

    monkeypatch.setattr(study.sweep, "execute", make)
    study.run("memory-chain", tmp_path, tmp_path, 2, only="actor-critic_rtu-rtrl_0.8_published_L16")
    assert begun == list(range(10)), "ten, since the first fails and others do not"


def test_the_command(tmp_path, capsys):
    study.add(tmp_path / "runs.csv", results(CELL, 0.9)[0])
    arguments = ["study", "memory-chain", "--out", str(tmp_path)]
    assert cli.main([*arguments, "--list", "--only", "rtu-rtrl_0.8_published_L16_"]) == 0
    listed = capsys.readouterr().out.split()
    assert "actor-critic_rtu-rtrl_0.8_published_L16_n192_s1" in listed
    assert "actor-critic_rtu-rtrl_0.8_published_L16_n192_s0" not in listed
    assert cli.main([*arguments, "--draw"]) == 0
    assert "1/1<br>0.21–1.00<br>+0.90" in (tmp_path / "table.md").read_text()
    assert cli.main(["study", "zebra"]) == 2
    known = ", ".join(study.STUDIES)
    assert f"study must be one of {known}" in capsys.readouterr().err
    for wrong, words in (
        (["--only", "("], "must be a regular expression, got"),
        (["--only", "zebra"], "only must fit a run of memory-chain, and 'zebra' fits none"),
        (["--minutes", "nan"], "minutes must be a number above 0, got nan"),
        (["--draw", "--out", str(tmp_path / "none")], "none holds no finished runs"),
        (["--draw", "--only", "L16"], "--only is for making runs, not for --list or --draw"),
        (["--list", "--workers", "2", "--minutes", "3"], "--workers and --minutes is for making"),
    ):
        assert cli.main([*arguments, *wrong]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, words",
    [
        ("<<<<<<< ours\n", "its first line is not agent,"),
        ("", "its first line is not agent,"),
        (",".join(study.COLUMNS) + "\nactor-critic,RTU RTRL,0.8,lo", "line 2, is damaged"),
        (
            ",".join(study.COLUMNS) + "\nactor-critic,RTU RTRL,0.8,long,x,1,1,1,1,1,1\n",
            "line 2, is damaged",
        ),
    ],
)
def test_a_damaged_file_is_named_and_left_alone(text, words, tmp_path, capsys):
    path = tmp_path / "runs.csv"
    path.write_text(text)
    for flag in "--list", "--draw", "--quiet":
        assert cli.main(["study", "memory-chain", "--out", str(tmp_path), flag]) == 2
        assert words in capsys.readouterr().err
    with pytest.raises(RunDirectoryError, match="is damaged"):
        study.add(path, results(CELL, 0.9)[0])
    assert path.read_text() == text


def test_bytes_that_are_no_text_are_a_damaged_file(tmp_path, capsys):
    (tmp_path / "runs.csv").write_bytes(b"\xff\xfe")
    assert cli.main(["study", "distractors", "--list", "--out", str(tmp_path)]) == 2
    assert "runs.csv is damaged" in capsys.readouterr().err


def test_a_file_where_runs_should_go_is_named_at_once(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    where = "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "file")
    assert cli.main(["study", "distractors", "--quiet", *where]) == 2
    assert "file cannot be a directory: a file is there" in capsys.readouterr().err


def add_forty(path, seeds):
    for seed in seeds:
        study.add(path, Result(CELL, seed, 0.5, 1, 1.0, (0.5,)))


def test_two_processes_keep_each_others_rows(tmp_path):
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "runs.csv"
    both = [context.Process(target=add_forty, args=(path, range(i, 80, 2))) for i in (0, 1)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert [r.seed for r in study.read(path)] == list(range(80))


def test_a_run_that_lost_episodes_is_a_failure_and_no_row(tmp_path):
    shrink = {"run.steps": "300", "network.width": "4", "cell.units": "3"}
    options = dict(only="actor-critic_rtu-rtrl_0.8_long_L2_n192_s[01]", quiet=True, shrink=shrink)
    runs = tmp_path / "runs"
    assert study.run("memory-chain", tmp_path / "first", runs, **options) == {}
    (episodes,) = runs.glob("*s0/episodes.csv")
    lines = episodes.read_text().splitlines(keepends=True)
    episodes.write_text("".join(lines[:-1]))
    failures = study.run("memory-chain", tmp_path / "second", runs, **options)
    ((name, failure),) = failures.items()
    assert name.endswith("_s0") and "has lost episodes" in failure
    assert [r.seed for r in study.read(tmp_path / "second" / "runs.csv")] == [1]


def test_no_neighbour_speaks_for_what_is_claimed():
    claimed = CELL._replace(ring="long")
    longer = claimed._replace(length=64)
    assert seeds(plan(results(longer, 0.9, 0.9, 0.9)), claimed) == [0, 1, 2, 3, 4]
    assert study.implied(claimed, study.group(results(longer, 0.9, 0.9, 0.9))) is True


def test_the_study_with_more_steps_differs_in_nothing_else():
    cells = study.STUDIES["memory-chain-500k"].cells()
    assert set(cells) <= set(study.memory_chain_cells())
    short, long = (study.job(f"memory-chain{s}", cells[0], 3).experiment for s in ("", "-500k"))
    assert (short.run.steps, long.run.steps) == (300_000, 500_000)
    assert configs.replace(long, {"run.steps": "300000"}) == short


def test_a_result_holds_the_curve_and_the_last_return_of_its_run():
    n = 200
    episodes = Episodes(np.arange(n), np.arange(n), np.arange(n) / n, np.full(n, 17))
    summary = {"final_return": 0.123456, "steps": 3400, "seconds": 2.5}
    found = study.result(CELL, 4, summary, episodes)
    assert found[:5] == (CELL, 4, 0.1235, 3400, 2.5)
    parts = (np.arange(n) / n).reshape(study.CURVE_POINTS, -1).mean(1)
    assert found.curve == tuple(round(float(part), 3) for part in parts)


def test_the_other_agents_own_trace_decay_comes_second():
    late = {
        (agent, decay): study.lateness(CELL._replace(agent=agent, trace_decay=decay), 0, 0)
        for agent in ("actor-critic", "qrc")
        for decay in (0.8, 0.95)
    }
    others = late["actor-critic", 0.95], late["qrc", 0.8]
    assert late["actor-critic", 0.8] < late["qrc", 0.95] < min(others)


def test_a_run_that_was_made_again_replaces_its_row(tmp_path):
    for final in 0.25, 0.75:
        study.add(tmp_path / "runs.csv", study.Result(CELL, 0, final, 1000, 1.0, (final,)))
    assert [r.final_return for r in study.read(tmp_path / "runs.csv")] == [0.75]


def test_what_neighbours_decide_stands_in_the_table():
    shorter, longer = CELL._replace(length=8), CELL._replace(length=64)
    for known, words in (
        (results(longer, 0.9, 0.9, 0.9), "*all*"),
        (results(shorter, *[0.0] * 5), "*none*"),
        (results(longer, 0.9, 0.9), ""),
    ):
        assert study_report.entry(CELL, study.group(known)) == words


@pytest.mark.parametrize("failures", [{}, {"a_run": "it stopped"}])
def test_the_command_hands_all_on_and_says_what_failed(failures, tmp_path, capsys, monkeypatch):
    asked = []
    study.add(tmp_path / "runs.csv", results(CELL, 0.9)[0])
    monkeypatch.setattr(study, "run", lambda *arguments: asked.extend(arguments) or failures)
    options = ["--runs", str(tmp_path / "runs"), "--workers", "3", "--minutes", "2.5"]
    options += ["--only", "L16", "--quiet", "--out", str(tmp_path)]
    assert cli.main(["study", "memory-chain", *options]) == len(failures)
    assert asked == ["memory-chain", tmp_path, tmp_path / "runs", 3, 2.5, "L16", True]
    assert ("a_run failed: it stopped" in capsys.readouterr().err) == bool(failures)
