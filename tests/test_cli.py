import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from streamrl_np import cli, extras, networks
from streamrl_np.arrays import NonFiniteError
from streamrl_np.experiments import configs, grids, plots, runner

RUN = ["run", "memory-chain", "--quiet", "--steps", "300"]
SMALL = ["cell.units=8", "network.width=8", "env.length=4"]


def test_run_show_list(tmp_path, capsys):
    out = tmp_path / "run"
    assert cli.main([*RUN, "--out", str(out), "--set", *SMALL]) == 0
    assert "final return" in capsys.readouterr().out
    (out / "curve.png").unlink()
    assert cli.main(["show", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "memory-chain, seed 0" in shown and "episodes  60" in shown and "▁" in shown
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main(["list"]) == 0
    listed = capsys.readouterr().out
    for key in ("env.length", "agent.trace_decay", "cell.mode", "cell.r_min", "run.seed"):
        assert key in listed


def test_resume_and_more_steps(tmp_path, capsys):
    out = tmp_path / "run"
    assert cli.main([*RUN, "--out", str(out), "--set", *SMALL]) == 0
    assert cli.main(["run", "--resume", str(out), "--steps", "500", "--quiet"]) == 0
    assert "500" in capsys.readouterr().out


def test_runs_without_out_get_a_directory_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert cli.main([*RUN, "--set", *SMALL]) == 0
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == ["memory-chain-seed0", "memory-chain-seed0-2"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["run", "memory-chian"], "experiment must be one of memory-chain"),
        (["run"], "name an experiment"),
        ([*RUN, "--set", "env.lenght=4"], "no setting 'env.lenght'; did you mean 'env.length'?"),
        ([*RUN, "--set", "env.length"], "--set takes KEY=VALUE, got 'env.length'"),
        ([*RUN, "--set", "env.length=0"], "env.length must be a whole number, at least 1, got 0"),
        ([*RUN, "--set", "env.length=four"], "env.length must be a whole number, got 'four'"),
        ([*RUN, "--set", "agent.discount=1.5"], "discount must be a number in [0, 1], got 1.5"),
        ([*RUN, "--set", "cell.units=-3"], "cell.units must be a whole number, at least 1, got -3"),
        ([*RUN, "--set", "cell.r_max=0.2"], "cell.r_min must be at most r_max = 0.2"),
        ([*RUN, "--set", "normalize.rewards=maybe"], "normalize.rewards must be true or false"),
        ([*RUN, "--set", "run.stop_return=soon"], "run.stop_return must be a number or none"),
        (["run", "memory-chain", "--steps", "0"], "run.steps must be a whole number, at least 1"),
        (["run", "memory-chain", "--seed", "-1"], "run.seed must be a whole number, at least 0"),
        (["run", "--resume", "nowhere"], "nowhere holds no run"),
        (["run", "--resume", "nowhere", "--seed", "1"], "a resumed run keeps its settings"),
        (["show", "nowhere"], "nowhere holds no run"),
        (["list", "zebra"], "experiment must be one of"),
        (["list", "gym:Zebra-v0"], "there is no environment"),
        (["bench", "--repeats", "1"], "repeats must be a whole number, at least 10"),
        (
            ["bench", "--long", "1000", "--experiment", "k-memory-chain"],
            "--long is for a step at the paper's size, as it is",
        ),
        (["run", "--set", "env.length=4", "memory-chain"], "what is run stands before --set"),
        (["sweep", "--set", "env.length=4", "memory-chain"], "what is run stands before --set"),
        (["bench", "--long", "1000", "--repeats", "50"], "--long is for a step"),
        (["sweep"], "name a sweep: `sweep --help` lists them"),
        (["sweep", "popgym", "--seeds", "0-99999999999"], "seeds must be at most 10000, got"),
        (["sweep", "gym:Zebra-v0"], "there is no environment"),
        (["sweep", "search:popgym/Zebra"], "task must be one of"),
    ],
)
def test_bad_input_gets_one_sentence_and_code_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_a_directory_with_another_run_is_left_alone(tmp_path, capsys):
    out = tmp_path / "run"
    assert cli.main([*RUN, "--out", str(out), "--set", *SMALL]) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert cli.main([*RUN, "--out", str(out), "--set", *SMALL]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}


def test_a_runs_directory_that_leads_nowhere_gets_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(tmp_path / "nowhere")
    assert cli.main([*RUN, "--set", *SMALL]) == 2
    assert "runs cannot be a directory: a file is there" in capsys.readouterr().err


def test_every_sweep_is_named_in_the_help(capsys):
    with pytest.raises(SystemExit):
        cli.main(["sweep", "--help"])
    named = " ".join(capsys.readouterr().out.split())
    assert all(name in named for name in grids.SWEEPS)


def test_a_network_that_fits_no_memory_gets_a_sentence(tmp_path, monkeypatch, capsys):
    def too_large(*arguments):
        raise MemoryError("Unable to allocate 12.0 TiB")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(networks, "Network", too_large)
    assert cli.main([*RUN, "--set", *SMALL]) == 2
    assert "not enough memory: Unable to allocate 12.0 TiB" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_list_shows_the_settings_of_another_agent(capsys):
    assert cli.main(["list", "memory-chain", "--set", "agent.name=ppo"]) == 0
    assert "agent.segment" in capsys.readouterr().out


def test_what_is_measured_has_the_precision_that_was_asked_for(capsys):
    arguments = ["bench", "--repeats", "10", "--experiment", "k-memory-chain"]
    assert cli.main([*arguments, "--set", "run.dtype=float64"]) == 0
    assert "10 steps, float64" in capsys.readouterr().out
    assert cli.main(arguments) == 0
    assert "10 steps, float32" in capsys.readouterr().out


def test_a_name_with_dollars_is_no_mathematics(tmp_path):
    experiment = configs.build("memory-chain", {"env.length": "4", "run.steps": "100"})
    runner.execute(runner.begin(experiment, tmp_path / "run", r"what $\frac$ it costs"), quiet=True)
    assert cli.main(["show", str(tmp_path / "run")]) == 0


def test_a_run_that_cannot_be_drawn_is_shown(tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    assert cli.main([*RUN, "--out", str(out), "--set", *SMALL]) == 0
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(["show", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "final return" in shown and "not drawn: " in shown


def test_letters_that_a_terminal_lacks_are_replaced():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for arguments in ["list"], ["check", "--help"]:
        command = [sys.executable, "-m", "streamrl_np", *arguments]
        result = subprocess.run(command, env=environment, capture_output=True)
        assert result.returncode == 0 and b"?" in result.stdout and not result.stderr


@pytest.mark.slow
def test_bench(capsys):
    assert cli.main(["bench", "--repeats", "10"]) == 0
    printed = capsys.readouterr().out
    for word in ("forward", "peek", "vjp", "optimizer", "floor ratio", "units^", "features^"):
        assert word in printed


def test_a_long_bench(capsys):
    assert cli.main(["bench", "--long", "1000"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 10 and printed[-1].startswith("      1000 steps:")


def test_a_missing_package_gets_the_pip_command(capsys, monkeypatch):
    with pytest.raises(extras.MissingPackage, match="pip install 'no_such_package'"):
        extras.require("no_such_package")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main([*RUN, "--set", *SMALL]) == 2
    error = capsys.readouterr().err
    assert "matplotlib is not installed; get it with: python -m pip install" in error


def test_the_core_needs_numpy_alone():
    subprocess.run([sys.executable, Path(__file__).parent / "core_alone.py"], check=True)


@pytest.mark.parametrize("package", ["gymnasium", "matplotlib", "tqdm", "filelock"])
def test_a_missing_package_gets_one_sentence(package, tmp_path):
    code = f"import sys; sys.modules[{package!r}] = None; from streamrl_np import cli; "
    code += "sys.exit(cli.main(sys.argv[1:]))"
    line = [sys.executable, "-c", code, "run", "memory-chain", "--out", str(tmp_path / "run")]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"{package} is not installed; get it with: python -m pip" in done.stderr


def test_the_command_line_asks_for_one_thread():
    names = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"
    free = {key: value for key, value in os.environ.items() if key not in names}
    code = f"import os, streamrl_np.__main__; print(*[os.environ[n] for n in {names}])"
    done = subprocess.run([sys.executable, "-c", code], env=free, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "1", "1"], done.stderr


def test_a_part_of_a_package_that_is_not_there_is_missing_too():
    with pytest.raises(extras.MissingPackage, match=r"^nowhere\.part is not installed"):
        extras.require("nowhere.part")


def test_a_run_that_failed_is_told_from_bad_input(tmp_path, capsys, monkeypatch):
    def fail(run, quiet):
        run.close()
        raise NonFiniteError("the trace is nan")

    monkeypatch.setattr(runner, "execute", fail)
    assert cli.main([*RUN, "--out", str(tmp_path / "run"), "--set", *SMALL]) == 1
    assert capsys.readouterr().err == "streamrl_np: stopped: the trace is nan\n"


def test_a_value_may_hold_an_equals_sign(capsys):
    assert cli.main([*RUN, "--set", "env.length=4=5"]) == 2
    assert "env.length must be a whole number, got '4=5'" in capsys.readouterr().err


def test_a_curve_in_the_terminal_rises_with_its_values():
    assert plots.sparkline(np.arange(8.0)) == "▁▂▃▄▅▆▇█"
    assert plots.sparkline(np.arange(600.0))[::59] == "▁█"
    assert plots.sparkline([2.0, 2.0]) == "▁▁" and plots.sparkline([]) == ""
