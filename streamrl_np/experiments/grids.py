"""Named sweeps: which agents on which tasks, for the tables and figures of docs/results.

A sweep is a list of arms; an arm is an experiment with some settings, to be run on several
seeds. ``sweep.json`` in a sweep's directory says which run belongs to which arm, so that a
figure can be drawn from the directory alone, finished or not.
"""

import itertools
import re
from typing import NamedTuple

from ..envs.popgym import PAPER
from ..settings import SettingError, pattern
from . import configs, sweep
from .results import hold, make_directory, read_json, write_json

INDEX = "sweep.json"


class Arm(NamedTuple):
    """One line of a figure."""

    experiment: str  # the preset's name, and the figure's panel
    label: str
    settings: dict  # of text, as on a command line

    def directory(self, seed):
        """Name a run's directory within the sweep's: ``popgym-RepeatFirstEasy/ppo-rtu/seed0``."""
        return f"{slug(self.experiment)}/{slug(self.label)}/seed{seed}"


def slug(text):
    """Turn any text into a plain file name."""
    return re.sub(r"[^\w.=,-]+", "-", text).strip("-")


MEMORYLESS = "memoryless"  # the label of the arm whose curve is the memoryless ceiling
RTRL = {}  # the presets' own
TBPTT1 = {"cell.mode": "tbptt1"}
FEEDFORWARD = {"cell.name": "feedforward"}
PPO = {"agent.name": "ppo"}
PLAIN = {"agent.optimizer": "obgd", "agent.kappa_policy": "3.0", "agent.kappa_value": "2.0"}
KAPPA = {"agent.kappa_policy": "0.1", "agent.kappa_value": "0.1"}
QRC = {  # differs from Farr 2026: λ = 0.95 and SGD with 1e-4 and 1e-5 there
    "agent.name": "qrc",
    "agent.trace_decay": "0.8",
    "agent.optimizer": "adam",
    "agent.step_size": "3e-4",
    "agent.step_size_auxiliary": "3e-5",
}


def arms(experiments, methods, common=None):
    """Cross experiments with methods (label → settings)."""
    return [
        Arm(experiment, label, {**(common or {}), **settings})
        for experiment in experiments
        for label, settings in methods.items()
    ]


def popgym_arms():
    """The five tasks of the paper: what recurrence, exact gradient and streaming each are worth."""
    methods = {
        "stream AC, RTU, RTRL": RTRL,
        "stream AC, RTU, TBPTT(1)": TBPTT1,
        MEMORYLESS: FEEDFORWARD,
        "PPO, RTU, RTRL": PPO,
        "QRC, RTU, RTRL": QRC,
    }
    return arms([f"popgym/{task}" for task in PAPER], methods)


def mujoco_arms(*names):
    """Masked MuJoCo: streaming with and without memory, and PPO, of half the paper's width.

    Plain ObGD in place of the presets' adaptive one, and with it the paper's width and depth,
    are arms of their own; and the smaller steps of the other robots on HalfCheetah.
    """
    methods = {
        "stream AC, RTU, RTRL": RTRL,
        MEMORYLESS: FEEDFORWARD,
        "PPO, RTU, RTRL": PPO,
        "stream AC, RTU, RTRL, plain ObGD": PLAIN,
        "memoryless, plain ObGD": {**FEEDFORWARD, **PLAIN},
    }
    smaller_steps = {
        "stream AC, RTU, RTRL, κ = 0.1": KAPPA,
        "memoryless, κ = 0.1": {**FEEDFORWARD, **KAPPA},
    }
    # differs from Farr 2026: width 128, two blocks
    small_network = {"network.width": "64", "network.blocks": "1"}
    experiments = [f"mujoco/{name}" for name in names]
    cheetahs = [name for name in experiments if "HalfCheetah" in name]
    return [
        *arms(experiments, methods, small_network),
        *arms(cheetahs, smaller_steps, small_network),
        *arms(experiments, {"stream AC, RTU, RTRL, width 128, plain ObGD": PLAIN}),
    ]


def cross(experiment, common, values):
    """Cross all values of some settings, key → texts, on one experiment."""
    return [
        Arm(experiment, describe(settings), {**common, **settings})
        for point in itertools.product(*values.values())
        for settings in [dict(zip(values, point, strict=True))]
    ]


def describe(settings):
    """Say settings shortly: ``r_min=0.9, discount=0.7``."""
    return ", ".join(f"{key.partition('.')[2]}={text}" for key, text in settings.items())


def around(experiment, common, values):
    """Vary each setting in turn around an experiment's own, which come first."""
    own = {key: getattr(s, f.name) for key, s, f in configs.keys(configs.build(experiment))}
    found = [Arm(experiment, "preset", common)]
    for key, texts in values.items():
        others = [text for text in texts if configs.parse(key, text, type(own[key])) != own[key]]
        found += [Arm(experiment, describe({key: t}), {**common, key: t}) for t in others]
    return found


def popgym_search(task):
    """List one task's ring, phase, λ, γ, τ, κ, … each varied in turn, on few frames."""
    values = {
        "cell.r_min": ("0.0", "0.8", "0.9", "0.95", "0.99"),
        "cell.max_phase": ("0.05", "0.5", "2.0"),
        "agent.trace_decay": ("0.0", "0.5", "0.8", "0.9", "0.95"),
        "agent.discount": ("0.0", "0.5", "0.7", "0.9", "0.99"),
        "agent.entropy": ("0.0", "0.001", "0.01", "0.05"),
        "agent.kappa_policy": ("0.1", "0.3", "1.0", "2.0", "3.0"),
        "agent.kappa_value": ("0.1", "0.3", "1.0", "2.0", "3.0"),
        "agent.optimizer": ("obgd", "adaptive_obgd"),
        "network.sparsity": ("0.0", "0.9"),
    }
    return around(f"popgym/{task}", {"run.steps": "300000"}, values)


def ppo_search(experiment):
    """List PPO's own knobs on one experiment, so that the baseline is no straw man."""
    values = {
        "agent.step_size": ("1e-4", "3e-4", "1e-3"),
        "agent.segment": ("1", "16", "64"),
        "network.sparsity": ("0.0", "0.9"),
    }
    common = {**PPO, "agent.minibatches": "8", "run.steps": "300000"}
    return cross(experiment, common, values)


def ring_arms(length):
    """MemoryChain: the ring that follows the chain's length beside the published one."""
    rings = {"ring by length": {}, "ring [0, 1]": {"cell.r_min": "0.0"}, MEMORYLESS: FEEDFORWARD}
    return arms(["memory-chain"], rings, {"env.length": str(length)})


def ppo_arms():
    """List what shows that the baseline is a good one: an easy task, and one of POPGym."""
    methods = {
        "PPO, RTU, segments of 16": PPO,
        "PPO, RTU, single steps": {**PPO, "agent.segment": "1"},
        "PPO, RTU, truncated BPTT(64)": {
            **PPO,
            **TBPTT1,
            "agent.segment": "64",
            "agent.minibatches": "8",
        },
        MEMORYLESS: {**PPO, **FEEDFORWARD},
    }
    experiments = "gym:CartPole-v1", "popgym/RepeatFirstEasy"
    return arms(experiments, methods, {"run.steps": "100000"})


SWEEPS = {
    "ring-16": lambda: ring_arms(16),
    "ring-64": lambda: ring_arms(64),
    "ppo": ppo_arms,
    "popgym": popgym_arms,
    "mujoco": lambda: mujoco_arms("Hopper-P", "HalfCheetah-P"),
    "mujoco-rest": lambda: mujoco_arms(
        "Ant-P", "Walker2d-P", "Ant-V", "HalfCheetah-V", "Hopper-V", "Walker2d-V"
    ),
}


def find(name):
    """List the arms of a sweep: a name in ``SWEEPS``, a search, or one experiment.

    ``search:popgym/TASK`` looks for the streaming agent's settings and ``search-ppo:EXPERIMENT``
    for PPO's; the name of an experiment alone is a sweep over seeds.

    Raises
    ------
    SettingError
    """
    if name in SWEEPS:
        return SWEEPS[name]()
    kind, colon, rest = name.partition(":")
    if kind == "search" and rest.startswith("popgym/"):
        return popgym_search(rest.removeprefix("popgym/"))
    if kind == "search-ppo" and colon:
        return ppo_search(rest)
    try:
        configs.preset(name)
    except SettingError:
        known = ", ".join([*SWEEPS, "search:popgym/TASK", "search-ppo:EXPERIMENT"])
        raise SettingError(
            f"sweep must be one of {known}, or an experiment's name, got {name!r}"
        ) from None
    return [Arm(name, "agent", {})]


MOST_SEEDS = 10_000


def parse_seeds(text):
    """Read a list of seeds: ``0-9`` or ``0,3,5-7``.

    Raises
    ------
    SettingError
    """
    seeds = set()
    for part in text.split(","):
        found = re.fullmatch(r"(\d{1,18})(?:-(\d{1,18}))?", part.strip())
        if not found or (found[2] and int(found[2]) < int(found[1])):
            raise SettingError(f"seeds must look like 0-9 or 0,3,5-7, got {text!r}")
        if int(found[2] or found[1]) - int(found[1]) >= MOST_SEEDS:
            raise SettingError(f"seeds must be at most {MOST_SEEDS}, got {text!r}")
        seeds |= set(range(int(found[1]), int(found[2] or found[1]) + 1))
        if len(seeds) > MOST_SEEDS:
            raise SettingError(f"seeds must be at most {MOST_SEEDS}, got {text!r}")
    return sorted(seeds)


def jobs(arms, seeds, settings=None):
    """Make the jobs of a sweep, a seed of every arm before the next seed of any.

    Parameters
    ----------
    arms : sequence of Arm
    seeds : sequence of int
    settings : dict of str, optional
        Laid over every arm's own.

    Returns
    -------
    list of streamrl_np.experiments.sweep.Job
    """
    made = []
    for seed in seeds:
        for arm in arms:
            told = {**arm.settings, **(settings or {}), "run.seed": str(seed)}
            try:
                configs.require_name(arm.experiment, told)
                experiment = configs.build(arm.experiment, told)
            except SettingError as error:
                words = f"{arm_of(arm.directory(seed))}: {error}"
                if len(arms) > 1:
                    words += "; --only chooses the arms that a setting is for"
                raise SettingError(words) from None
            made.append(sweep.Job(arm.directory(seed), experiment, arm.experiment))
    return made


def choose(name, only):
    """List the arms of a sweep whose name contains the regular expression ``only``."""
    wanted = pattern("only", only)
    named = {arm_of(arm.directory(0)): arm for arm in find(name)}
    chosen = [arm for name, arm in named.items() if wanted.search(name)]
    if not chosen:
        raise SettingError(f"only must match one of {', '.join(named)}, got {only!r}")
    return chosen


def arm_of(name):
    """Cut the seed off a run's name."""
    return name.rpartition("/")[0]


def write_index(directory, name, arms, seeds):
    """Write or extend ``sweep.json``: the sweep's arms in order, and which run belongs to which."""
    path = make_directory(directory) / INDEX
    with hold(directory, wait=True):
        runs = read_json(path, "runs")["runs"] if path.exists() else {}
        for arm in arms:
            for seed in seeds:
                about = {"experiment": arm.experiment, "label": arm.label, "seed": seed}
                runs[arm.directory(seed)] = about
        order = [(arm.experiment, arm.label) for arm in find(name)]
        write_json(path, {"sweep": name, "arms": order, "runs": runs})


def run(name, directory, seeds, pool, settings=None, only="", quiet=False, known=None, made=()):
    """Run a sweep, or what is left of it.

    Parameters
    ----------
    name : str
    directory : pathlib.Path
    seeds : sequence of int
    pool : callable
        Opens a pool; see :mod:`streamrl_np.experiments.sweep`.
    settings : dict of str, optional
        Laid over every arm's own.
    only : str
        A regular expression that an arm's name must contain.
    quiet : bool
    known : dict of str, optional
        The runs that the directory knows: a run's name to the fingerprint of its settings.
    made : collection of str
        Those of them that need not be made.

    Returns
    -------
    summaries, failures : dict
        By the run's directory within the sweep's.

    Raises
    ------
    SettingError
        If ``only`` matches no arm, a setting is wrong, or an arm has run with other settings.
    """
    chosen = choose(name, only)
    todo = jobs(chosen, seeds, settings)  # every setting is checked before anything is written
    settings_of = {arm_of(name): settings for name, settings in (known or {}).items()}
    for job in todo:
        same = configs.fingerprint(job.experiment)
        if settings_of.get(arm_of(job.name), same) != same:
            raise SettingError(
                f"{directory} holds runs of {arm_of(job.name)} with other settings: "
                "name another directory with --out"
            )
    todo = [job for job in todo if job.name not in made]
    for env in dict.fromkeys(job.experiment.env for job in todo):
        env.make().close()  # one that is not there is named before anything is written
    write_index(directory, name, chosen, seeds)
    return sweep.execute(todo, directory, pool, quiet)
