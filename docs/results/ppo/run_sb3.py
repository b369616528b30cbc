"""Stable-Baselines3's PPO on the tasks of `sweep ppo`, beside whose curves its own are put.

    python docs/results/ppo/run_sb3.py sweeps/ppo [--seeds 0-2] [--only REGEX]

Needs stable-baselines3 and sb3-contrib (which bring PyTorch) beside this package. Each finished
run is added to curves.csv in the sweep's directory, and is not made again; then
`python -m streamrl_np plot sweeps/ppo` draws it with the sweep's own.
"""

import argparse
import re
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from streamrl_np.experiments import configs, curves, grids
from streamrl_np.experiments.results import Episodes

CARTPOLE, REPEAT_FIRST = "gym:CartPole-v1", "popgym/RepeatFirstEasy"
FRAMES = 100_000

# RL Zoo's settings of CartPole-v1 (ppo.yml)
ZOO = dict(n_steps=32, batch_size=256, gae_lambda=0.8, gamma=0.98, n_epochs=20, ent_coef=0.0)
ZOO |= dict(learning_rate=lambda left: 1e-3 * left, clip_range=lambda left: 0.2 * left)
# those that it adds for an LSTM on CartPole without velocities (ppo_lstm.yml)
LSTM = dict(lstm_hidden_size=64, enable_critic_lstm=True, ortho_init=False)
LSTM |= dict(activation_fn=torch.nn.ReLU, net_arch=dict(pi=[64], vf=[64]))
ZOO_LSTM = ZOO | dict(policy_kwargs=LSTM)
# a rollout of RepeatFirst holds whole episodes, of 51 steps; γ is that of the sweep
REPEAT = ZOO_LSTM | dict(n_steps=128, batch_size=512, n_epochs=10, gamma=0.5)


class Arm(NamedTuple):
    """One way to run one algorithm."""

    experiment: str
    label: str
    algorithm: type
    settings: dict
    envs: int = 1  # side by side
    normalize: bool = False  # observations and rewards


ARMS = [
    Arm(CARTPOLE, "SB3 PPO, RL Zoo's settings", PPO, ZOO, 8),
    Arm(CARTPOLE, "SB3 PPO, default settings", PPO, {}),
    Arm(CARTPOLE, "SB3 RecurrentPPO, RL Zoo's settings", RecurrentPPO, ZOO_LSTM, 8, True),
    Arm(REPEAT_FIRST, "SB3 RecurrentPPO, γ = 0.5", RecurrentPPO, REPEAT, 8),
]


class Diary(BaseCallback):
    """Keep when each episode ended, and its return."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def _on_step(self):
        for info in self.locals["infos"]:
            # "episode" is put there by SB3's Monitor; SB3 ends with a whole rollout, a bit late
            if "episode" in info and self.num_timesteps <= FRAMES:
                ended = info["episode"]
                self.rows.append((self.num_timesteps, len(self.rows), ended["r"], ended["l"]))
        return True


def run(arm, seed):
    """Make one run; returns its row of curves.csv."""
    env = make_vec_env(configs.build(arm.experiment).make_env, n_envs=arm.envs, seed=seed)
    if arm.normalize:
        env = VecNormalize(env, gamma=arm.settings["gamma"])
    policy = "MlpLstmPolicy" if arm.algorithm is RecurrentPPO else "MlpPolicy"
    model = arm.algorithm(policy, env, seed=seed, device="cpu", **arm.settings)
    diary, began = Diary(), time.perf_counter()
    model.learn(FRAMES, callback=diary)
    speed = FRAMES / (time.perf_counter() - began)
    step, episode, returns, length = np.array(diary.rows).T
    curve = curves.curve(Episodes(step.astype(int), episode, returns, length), FRAMES)
    final = float(returns[-curves.WINDOW :].mean())
    about = arm.experiment, arm.label, seed, "stable-baselines3", FRAMES, True
    return curves.Row(*about, speed, final, curve)


def main():
    """Make the runs that are still to make."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seeds", default="0-2")
    parser.add_argument("--only", default="", metavar="REGEX")
    args = parser.parse_args()
    torch.set_num_threads(1)
    path = args.directory / "curves.csv"
    args.directory.mkdir(parents=True, exist_ok=True)
    for seed in grids.parse_seeds(args.seeds):
        for arm in ARMS:
            rows = curves.read_rows(path) if path.exists() else []
            name = grids.Arm(arm.experiment, arm.label, {}).directory(seed)
            if re.search(args.only, name) and name not in [row.name for row in rows]:
                rows.append(run(arm, seed))
                curves.write_rows(path, rows)
                print(f"{name}: {rows[-1].final:.3g}, {rows[-1].speed:.0f} steps/s", flush=True)


if __name__ == "__main__":
    main()
