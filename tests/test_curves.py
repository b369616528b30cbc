"""What becomes of finished runs: curves, figures and tables."""

import numpy as np
import pytest

from streamrl_np.experiments import configs, curves, curves_report, grids, plots, runner

SMALL = {"cell.units": "4", "network.width": "6", "env.length": "4"}


def finished(tmp_path, returns):
    """Lay a finished run with these returns where a sweep would have made it."""
    (arm,) = grids.find("memory-chain")
    path = tmp_path / arm.directory(0)
    experiment = configs.build("memory-chain", {**SMALL, "run.steps": str(5 * len(returns))})
    runner.execute(runner.begin(experiment, path, "memory-chain"), quiet=True)
    rows = [f"{5 * i + 5},{i},{r},5\n" for i, r in enumerate(returns)]
    (path / "episodes.csv").write_text("step,episode,return,length\n" + "".join(rows))
    grids.write_index(tmp_path, "memory-chain", [arm], [0])


def line(*finals):
    """Make an arm with these final returns."""
    some = np.array(finals)[:, None] * np.linspace(0.5, 1.0, curves.POINTS)
    return curves.Line("agent", len(finals), 0, 1000, some, np.array(finals))


def drawn(monkeypatch, tmp_path, experiment, *arms):
    """Draw some arms and return the axes."""
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
    curves_report.draw_experiment("title", experiment, list(arms), tmp_path / "x.png")
    return figures[0].axes[0]


def test_the_final_return_is_of_the_last_hundred_episodes(tmp_path):
    finished(tmp_path, [0.0] * 300 + [1.0] * 75 + [0.5] * 25)
    ((row,), damaged) = curves.rows(tmp_path)
    assert not damaged and row.final == pytest.approx(0.875)
    assert "| memory-chain | agent | 1 | 2000 | 0.875 |" in curves_report.table(
        curves.lines_of([row])
    )


def test_a_figure_shows_the_interquartile_mean(monkeypatch, tmp_path):
    arm = line(0.0, 0.1, 0.3, 2.0, 9.0)
    axes = drawn(monkeypatch, tmp_path, "memory-chain", arm)
    assert np.allclose(axes.lines[0].get_ydata(), curves.iqm(arm.curves))
    assert axes.lines[0].get_xdata()[[0, -1]].tolist() == [10, 1000]


def test_published_numbers_stand_on_the_scale_of_the_returns(monkeypatch, tmp_path):
    low, high = curves.RANGES["popgym/ConcentrationEasy"]
    axes = drawn(monkeypatch, tmp_path, "popgym/ConcentrationEasy", line(0.1))
    marks = [line.get_ydata()[0] for line in axes.lines if line.get_marker() in (">", "s")]
    assert marks == pytest.approx([low + 0.42 * (high - low), low + 0.78 * (high - low)])


def test_the_ceiling_is_the_interquartile_mean_too(monkeypatch, tmp_path):
    arm = line(0.0, 0.1, 0.3, 2.0, 9.0)._replace(label=grids.MEMORYLESS)
    axes = drawn(monkeypatch, tmp_path, "memory-chain", arm)
    (ceiling,) = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert ceiling.get_ydata()[0] == pytest.approx(curves.iqm(arm.finals))


def test_the_last_fifth_stands_in_the_table():
    arm = line(1.0)._replace(curves=np.linspace(0.0, 1.0, curves.POINTS)[None, :])
    assert "| 1.000 | 0.904 |" in curves_report.table({"memory-chain": [arm]})


def test_a_run_that_was_not_finished_is_still_to_be_made(tmp_path):
    row = "memory-chain,agent,{},f,100,{},1.0,1.0," + " ".join(["1"] * curves.POINTS) + "\n"
    header = "experiment,arm,seed,settings,steps,finished,speed,final,curve\n"
    (tmp_path / "curves.csv").write_text(header + row.format(0, 1) + row.format(1, 0))
    settings, made = curves.known(tmp_path)
    assert made == {"memory-chain/agent/seed0"}
    assert settings == {f"memory-chain/agent/seed{i}": "f" for i in range(2)}
