# ruff: noqa: E501 (a mutant a line)
"""Mutants: one realistic mistake each, and the check that must find it.

A mutant is one place in a module's source, replaced. ``planted`` compiles the module so
changed and puts the changed code into the living functions while a context lasts.
"""

import contextlib
import importlib
import inspect
import types
from typing import NamedTuple


class Mutant(NamedTuple):
    name: str
    module: str
    old: str  # stands in the module's source once
    new: str
    check: str  # the check of the command that must fail


LAYERS, RTU, NONLINEAR = "layers", "cells.rtu", "cells.rtu_nonlinear"
MINGRU, GRU = "cells.mingru", "cells.gru"
RTU_RTRL, RTU_WAYS = "cells.rtu, rtrl", "cells.rtu, four ways, rtrl"
NETWORK, TD = "networks, rtu, rtrl", "agents.TD, beside a plain one"
AC = "agents.ActorCritic, Categorical, rtu, beside a plain one"
Q, QRC = "agents.StreamQ, beside a plain one", "agents.QRC, beside a plain one"
PPO = "agents.PPO, beside a plain one"

MUTANTS = [
    Mutant(*row)
    for row in [
        # layers
        ("W for its transpose in ∂L/∂x", LAYERS, "gx = g @ W ", "gx = g @ W.T ", "layers.linear, batch"),
        ("sign of ∂L/∂W", LAYERS, "outer(g, x, gW)", "outer(g, -x, gW)", "layers.linear"),
        ("∂L/∂W transposed", LAYERS, "np.matmul(g.T, x, out=gW), g.sum(0)", "np.matmul(x.T, g, out=gW), g.sum(0)", "layers.linear, batch"),
        ("mean for sum over the batch", LAYERS, "out=gW), g.sum(0)", "out=gW), g.mean(0)", "layers.linear, batch"),
        ("layer norm: mean of g forgotten", LAYERS, "(g - g_mean - y * gy_mean)", "(g - y * gy_mean)", "layers.layer_norm"),
        ("layer norm: deviation held still", LAYERS, "(g - g_mean - y * gy_mean)", "(g - g_mean)", "layers.layer_norm"),
        ("layer norm: sum for mean", LAYERS, "np.vecdot(g, y)[..., None] / d", "np.vecdot(g, y)[..., None]", "layers.layer_norm"),
        ("layer norm: mean of g as a sum", LAYERS, "g_mean = g.sum(-1, keepdims=True) / d", "g_mean = g.sum(-1, keepdims=True)", "layers.layer_norm"),
        ("layer norm: 1/std forgotten", LAYERS, "return inv_std * (g", "return (g", "layers.layer_norm"),
        ("layer norm: ε outside the root", LAYERS, "1.0 / np.sqrt(variance + LAYER_NORM_EPS)", "1.0 / (np.sqrt(variance) + LAYER_NORM_EPS)", "layers.layer_norm"),
        ("layer norm: ε forgotten", LAYERS, "np.sqrt(variance + LAYER_NORM_EPS)", "np.sqrt(variance)", TD),
        ("layer norm: variance over d − 1", LAYERS, "np.vecdot(centred, centred)[..., None] / d", "np.vecdot(centred, centred)[..., None] / (d - 1)", "layers.layer_norm"),
        ("leaky ReLU: no leak in the slope", LAYERS, "np.where(x > 0, g, LEAK * g)", "np.where(x > 0, g, 0 * g)", "layers.leaky_relu"),
        ("leaky ReLU: sides exchanged", LAYERS, "np.where(x > 0, g", "np.where(x < 0, g", "layers.leaky_relu"),
        ("tanh: square forgotten", LAYERS, "g * (1.0 - y * y)", "g * (1.0 - y)", "layers.tanh"),
        ("sigmoid: y forgotten", LAYERS, "g * y * (1.0 - y)", "g * (1.0 - y)", "layers.sigmoid"),
        ("softplus: wrong side", LAYERS, "g * sigmoid(x)", "g * sigmoid(-x)", "layers.softplus"),
        ("softmax: diagonal only", LAYERS, "y * (g - np.vecdot(g, y)[..., None])", "y * (1.0 - y) * g", "layers.softmax"),
        ("softmax: inner product forgotten", LAYERS, "y * (g - np.vecdot(g, y)[..., None])", "y * g", "layers.softmax"),
        ("log-softmax: exp forgotten", LAYERS, "g - np.exp(y) * g.sum", "g - y * g.sum", "layers.log_softmax"),
        ("log-softmax: mean for sum", LAYERS, "np.exp(y) * g.sum(-1", "np.exp(y) * g.mean(-1", "layers.log_softmax"),
        # the RTU's step
        ("θ missing in ∂λ/∂theta_log (published)", RTU, "1j * theta * lam", "1j * lam", RTU_RTRL),
        ("i missing in ∂λ/∂theta_log", RTU, "1j * theta * lam", "theta * lam", RTU_RTRL),
        ("ν missing in ∂λ/∂nu_log", RTU, "dlam_dnu_log = -nu * lam", "dlam_dnu_log = -lam", RTU_RTRL),
        ("sign of ∂λ/∂nu_log", RTU, "dlam_dnu_log = -nu * lam", "dlam_dnu_log = nu * lam", RTU_RTRL),
        ("∂γ/∂nu_log forgotten", RTU, "dlam_dnu_log * h_prev + dgamma_dnu_log * Bx", "dlam_dnu_log * h_prev", RTU_RTRL),
        ("sign of ∂γ/∂nu_log", RTU, "dlam_dnu_log * h_prev + dgamma_dnu_log * Bx", "dlam_dnu_log * h_prev - dgamma_dnu_log * Bx", RTU_RTRL),
        ("ν missing in ∂γ/∂nu_log", RTU, "nu * (1.0 - gamma * gamma) / gamma", "(1.0 - gamma * gamma) / gamma", RTU_RTRL),
        ("γ missing in ∂γ/∂nu_log", RTU, "nu * (1.0 - gamma * gamma) / gamma", "nu * (1.0 - gamma * gamma)", RTU_RTRL),
        ("h_t for h_{t−1}", RTU, "J_nu, J_theta = immediate_jacobian(g, h_prev, Bx)\n        layers", "J_nu, J_theta = immediate_jacobian(g, state.h, Bx)\n        layers", RTU_WAYS),
        ("h_{t−1} not copied before h changes", RTU, "h_prev = state.h.copy()", "h_prev = state.h", RTU_WAYS),
        ("γ forgotten in ∂h/∂B", RTU, "layers.outer(g.gamma, x, state.J_B)", "layers.outer(1.0 + 0.0 * g.gamma, x, state.J_B)", RTU_RTRL),
        ("sensitivities turn the other way", RTU, "carry = g.lam if", "carry = g.lam.conj() if", RTU_WAYS),
        ("sensitivities shrink, but do not turn", RTU, "carry = g.lam if", "carry = np.abs(g.lam) if", RTU_WAYS),
        ("S_ν does not decay", RTU, "carry * state.S_nu + J_nu", "state.S_nu + J_nu", RTU_WAYS),
        ("S_θ forgets the past", RTU, "carry * state.S_theta + J_theta", "J_theta", RTU_WAYS),
        ("S_B does not decay", RTU, "np.multiply(state.S_B, carry[:, None], out=state.S_B)", "np.multiply(state.S_B, 1.0, out=state.S_B)", RTU_WAYS),
        ("S_B forgets the past", RTU, "np.multiply(state.S_B, carry[:, None], out=state.S_B)", "np.multiply(state.S_B, 0.0, out=state.S_B)", RTU_WAYS),
        ("S_B takes nothing in", RTU, "np.add(state.S_B, state.J_B, out=state.S_B)", "np.add(state.S_B, 0.0, out=state.S_B)", RTU_WAYS),
        ("TBPTT(1) does not cut", RTU, "else np.zeros_like(g.lam)", "else g.lam", "cells.rtu, tbptt1"),
        ("frozen learns", RTU, 'if mode != "frozen":', 'if mode != "":', "cells.rtu, frozen"),
        ("conjugate of G dropped for ν", RTU, "(G_conj * state.S_nu).real", "(G * state.S_nu).real", RTU_RTRL),
        ("conjugate of G dropped for θ", RTU, "(G_conj * state.S_theta).real", "(G * state.S_theta).real", RTU_RTRL),
        ("imaginary for real part", RTU, "(G_conj * state.S_theta).real", "(G_conj * state.S_theta).imag", RTU_RTRL),
        ("conjugate of S_B dropped", RTU, "np.conjugate(state.S_B, out=grad.B)", "np.copyto(grad.B, state.S_B)", RTU_RTRL),
        ("conjugate on G, not on S_B", RTU, "np.conjugate(state.S_B, out=grad.B)\n    np.multiply(grad.B, G[", "np.copyto(grad.B, state.S_B)\n    np.multiply(grad.B, G_conj[", RTU_RTRL),
        ("∂L/∂x: conjugate dropped", RTU, "return ((cache.gates.gamma * G_conj) @ p.B).real", "return ((cache.gates.gamma * G) @ p.B).real", RTU_RTRL),
        ("∂L/∂x: γ forgotten", RTU, "return ((cache.gates.gamma * G_conj) @ p.B).real", "return (G_conj @ p.B).real", RTU_RTRL),
        ("features: sign of the imaginary half", RTU, "g[..., :n] + 1j * g[..., n:]", "g[..., :n] - 1j * g[..., n:]", RTU_RTRL),
        ("features: halves exchanged", RTU, "g[..., :n] + 1j * g[..., n:]", "g[..., n:] + 1j * g[..., :n]", RTU_RTRL),
        ("features: slope of tanh forgotten", RTU, "g = layers.tanh_vjp(gy, y)", "g = gy", RTU_RTRL),
        ("forward: γ forgotten", RTU, "gates.lam * h + gates.gamma * Bx", "gates.lam * h + Bx", RTU_WAYS),
        ("forward: γ = √(1 − |λ|)", RTU, "np.sqrt(-np.expm1(-2.0 * nu))", "np.sqrt(-np.expm1(-nu))", RTU_WAYS),
        ("forward: turns the other way", RTU, "np.cos(theta), np.sin(theta)", "np.cos(theta), -np.sin(theta)", RTU_WAYS),
        ("the look-ahead forgets the state", RTU, "features(hidden(gates(p), state.h, p.B @ x))", "features(hidden(gates(p), 0 * state.h, p.B @ x))", "cells.rtu, tbptt1"),
        # the RTU unrolled
        ("BPTT: λ for its conjugate", RTU, "np.where(starts[..., None], 0, gates.lam.conj())", "np.where(starts[..., None], 0, gates.lam)", "cells.rtu, unrolled"),
        ("BPTT: through an episode's start", RTU, "np.where(starts[..., None], 0, gates.lam.conj())", "np.where(starts[..., None], gates.lam.conj(), gates.lam.conj())", "cells.rtu, unrolled"),
        ("BPTT: nothing flows back", RTU, "G[t - 1] += back[t] * G[t]", "G[t - 1] += 0 * G[t]", "cells.rtu, unrolled"),
        ("BPTT: mean for sum over the batch", RTU, "(G_conj * J_nu).real.sum((0, 1))", "(G_conj * J_nu).real.mean((0, 1))", "cells.rtu, unrolled"),
        ("BPTT: γ forgotten in ∂L/∂B", RTU, "(gates.gamma * G).reshape(-1, n).T", "G.reshape(-1, n).T", "cells.rtu, unrolled"),
        ("BPTT: λ forgotten in ∂L/∂h", RTU, "back[0] * G[0]", "G[0]", "cells.rtu, unrolled"),
        ("forward unrolled: state not reset", RTU, "h_prev[t] = np.where(starts[t][:, None], 0, h)", "h_prev[t] = h", "cells.rtu, unrolled"),
        ("the past: sign", RTU, 'grad.nu_log += (G_conj * S["S_nu"])', 'grad.nu_log -= (G_conj * S["S_nu"])', "cells.rtu, its past"),
        ("the past: written, not added", RTU, 'grad.theta_log += (G_conj * S["S_theta"]).real.sum(0)', 'grad.theta_log[:] = (G_conj * S["S_theta"]).real.sum(0)', "networks, rtu unrolled, rtrl"),
        ("the past: conjugate dropped", RTU, "products[:, 1, ::2] - products[:, 0, 1::2]", "products[:, 1, ::2] + products[:, 0, 1::2]", "cells.rtu, its past"),
        # the other cells
        ("the real part's slope for the imaginary one's", NONLINEAR, "s.imag *= 1.0 - h.imag * h.imag", "s.imag *= 1.0 - h.real * h.real", "cells.rtu_nonlinear, rtrl"),
        ("i missing in ∂a/∂Im B", NONLINEAR, "state.S_B_im.imag += state.J_B", "state.S_B_im.real += state.J_B", "cells.rtu_nonlinear, rtrl"),
        ("one sensitivity not stretched", NONLINEAR, "for S in state.S_nu, state.S_theta, state.S_B_re, state.S_B_im:", "for S in state.S_nu, state.S_theta, state.S_B_re:", "cells.rtu_nonlinear, rtrl"),
        ("∂L/∂x past the activation", NONLINEAR, "    stretch(G, state.h)", "    stretch(G, 0 * state.h)", "cells.rtu_nonlinear, rtrl"),
        ("sign of the imaginary parts' product", NONLINEAR, "part += state.J_B", "part -= state.J_B", "cells.rtu_nonlinear, rtrl"),
        ("candidate: sigmoid's slope on both sides", MINGRU, "np.where(c >= 0.5, g, layers.sigmoid_vjp(g, c))", "layers.sigmoid_vjp(g, c)", "cells.mingru, rtrl"),
        ("minGRU: h_{t−1} forgotten in ∂h/∂u", MINGRU, "layers.sigmoid_vjp(c - h_prev, u)", "layers.sigmoid_vjp(c, u)", "cells.mingru, rtrl"),
        ("minGRU: carries u for 1 − u", MINGRU, 'carry = 1.0 - u if', 'carry = u if', "cells.mingru, four ways, rtrl"),
        ("minGRU: ∂L/∂x without the gate", MINGRU, "(gy * cache.J_u) @ p.W_u + (gy", "(gy", "cells.mingru, rtrl"),
        ("minGRU forward: gate the other way round", MINGRU, "(1.0 - u) * h + u * c", "u * h + (1.0 - u) * c", "cells.mingru, four ways, rtrl"),
        ("GRU: sign of ∂h/∂z", GRU, "layers.sigmoid_vjp(h_prev - c, z)", "layers.sigmoid_vjp(c - h_prev, z)", "cells.gru, rtrl"),
        ("GRU: r forgotten in ∂h/∂(U_c h)", GRU, "J_c * r])", "J_c])", "cells.gru, rtrl"),
        ("GRU: z forgotten in ∂h_t/∂h_{t−1}", GRU, "np.diag(gates.z) + (K", "(K", "cells.gru, four ways, rtrl"),
        ("GRU: J for K in S_U", GRU, "K.T[:, :, None] * h_prev", "J.T[:, :, None] * h_prev", "cells.gru, rtrl"),
        ("GRU: J for K in one step", GRU, "outer(g_U.ravel(), cache.h_prev", "outer(g.ravel(), cache.h_prev", "cells.gru, tbptt1"),
        ("GRU: the Jacobian transposed", GRU, "(jacobian @ S.reshape(n, -1))", "(jacobian.T @ S.reshape(n, -1))", "cells.gru, four ways, rtrl"),
        ("no memory: slope of tanh forgotten", "cells.feedforward", "g = layers.tanh_vjp(gy, cache.y)\n    layers", "g = gy\n    layers", "cells.feedforward, rtrl"),
        ("no memory: frozen learns", "cells.feedforward", 'if cache.mode == "frozen":', 'if cache.mode == "":', "cells.feedforward, frozen"),
        # networks
        ("dense: slope of leaky ReLU forgotten", "networks", "layers.leaky_relu_vjp(g, normed), normed", "g, normed", NETWORK),
        ("dense: ∂L/∂b never written", "networks", "gx, _, grad.b[:] = layers.linear_vjp(g, x, p.W, grad.W)", "gx, _, _ = layers.linear_vjp(g, x, p.W, grad.W)", NETWORK),
        ("blocks walked back in forward order", "networks", "zip(reversed(self.blocks), reversed(block_caches), strict", "zip(self.blocks, block_caches, strict", NETWORK),
        ("encoder counted twice", "networks", "return dense_vjp(gu, enc", "return dense_vjp(2 * gu, enc", NETWORK),
        ("the look-ahead advances the state", "networks", "self.readout(self.cell.peek(self.p.cell, self.state, u))", "self.readout(self.cell.advance(self.p.cell, self.state, u, self.mode).y)", TD),
        ("reset leaves the sensitivities", "networks", "self.state.flat[:] = 0.0", "self.state.h[:] = 0.0", NETWORK),
        ("reset leaves the hidden state", "networks", "self.state.flat[:] = 0.0", "self.state.flat[2 * self.state.h.size :] = 0.0", TD),
        ("unrolled: the past before a segment forgotten", "networks", "self.cell.sensitivity_vjp(memory, gh, grad.cell)", "self.cell.sensitivity_vjp(memory, 0 * gh, grad.cell)", "networks, rtu unrolled, rtrl"),
        # policies
        ("sign of ∇ log π", "policies", "self.one_hot(action) - layers.softmax(logits)", "layers.softmax(logits) - self.one_hot(action)", "policies.Categorical.log_prob_gradient"),
        ("sign of ∇H", "policies", "return -pi * (log_pi", "return pi * (log_pi", "policies.Categorical.entropy_gradient"),
        ("∇H without H", "policies", "(log_pi - np.vecdot(pi, log_pi)[..., None])", "(log_pi + 1.0)", "policies.Categorical.entropy_gradient"),
        ("sign of the entropy term", "policies", "g = g + entropy_weight", "g = g - entropy_weight", "policies.Categorical.gradient"),
        ("entropy's weight forgotten", "policies", "entropy_weight * self.entropy_gradient", "self.entropy_gradient", "policies.Gaussian.gradient"),
        ("Gaussian: −1 forgotten in ∂/∂σ", "policies", "(u * u - 1.0) / std", "u * u / std", "policies.Gaussian.log_prob_gradient"),
        ("Gaussian: 1/σ forgotten in ∂/∂μ", "policies", "self.moments_vjp(u / std,", "self.moments_vjp(u,", "policies.Gaussian.log_prob_gradient"),
        ("Gaussian: slope of softplus forgotten", "policies", "layers.softplus_vjp(g_std, outputs[..., self.actions :])", "g_std", "policies.Gaussian.moments"),
        ("Gaussian: σ for 1/σ in ∇H", "policies", "1.0 / std, outputs", "std, outputs", "policies.Gaussian.entropy_gradient"),
        ("Gaussian: floor under σ forgotten in log π", "policies", "u = (action - mean) / std\n        return -(", "u = (action - mean) / (std - STD_MIN)\n        return -(", "policies.Gaussian.log_prob_gradient"),
        # optimizers
        ("the trace does not decay", "optimizers", "z *= decay", "z *= 1.0", "optimizers.accumulate"),
        ("the new gradient decays too", "optimizers", "z += gradient", "z += decay * gradient", "optimizers.accumulate"),
        ("ObGD: max with 1 forgotten", "optimizers", "max(abs(delta), 1.0) * norm", "abs(delta) * norm", "optimizers.ObGD"),
        ("ObGD: |δ| forgotten", "optimizers", "max(abs(delta), 1.0) * norm", "norm", "optimizers.ObGD"),
        ("ObGD: κ forgotten", "optimizers", "max(1.0, alpha * kappa *", "max(1.0, alpha *", "optimizers.ObGD"),
        ("ObGD: ‖z‖₂ for ‖z‖₁", "optimizers", "norm = float(self.scratch @ self.ones)", "norm = float(self.scratch @ self.scratch) ** 0.5", "optimizers.ObGD"),
        ("ObGD: δ forgotten in the step", "optimizers", "np.multiply(z, alpha * delta, out=self.scratch)", "np.multiply(z, alpha, out=self.scratch)", "optimizers.ObGD"),
        ("adaptive ObGD: no bias correction", "optimizers", "np.divide(v, correction, out=scaled)", "np.divide(v, 1.0, out=scaled)", "optimizers.AdaptiveObGD"),
        ("adaptive ObGD: δ forgotten in v", "optimizers", "np.multiply(z, delta, out=scaled)", "np.multiply(z, 1.0, out=scaled)", "optimizers.AdaptiveObGD"),
        ("Adam: no bias correction of m", "optimizers", "self.step_size / (1.0 - self.beta1**t)", "self.step_size", "optimizers.Adam"),
        ("Adam: ε inside the root", "optimizers", "np.sqrt(scratch, out=scratch)\n        scratch += self.eps\n        np.divide(m", "scratch += self.eps\n        np.sqrt(scratch, out=scratch)\n        np.divide(m", "optimizers.Adam"),
        # agents
        ("γ forgotten in the critic's trace", "agents.actor_critic", "self.critic.grad.flat, gamma * lam)", "self.critic.grad.flat, lam)", AC),
        ("λ forgotten in the actor's trace", "agents.actor_critic", "self.actor.grad.flat, gamma * lam)", "self.actor.grad.flat, gamma)", AC),
        ("truncated treated as terminated", "agents.actor_critic", "discount = gamma * (not terminated)", "discount = gamma * (not (terminated or truncated))", AC),
        ("terminated treated as truncated", "agents.actor_critic", "discount = gamma * (not terminated)", "discount = gamma", AC),
        ("no reset after a truncation", "agents.actor_critic", "if terminated or truncated:", "if terminated:", AC),
        ("no reset after a termination", "agents.actor_critic", "if terminated or truncated:", "if truncated:", AC),
        ("sign(δ) forgotten", "agents.actor_critic", "tau * float(np.sign(delta))", "tau", AC),
        ("entropy bonus with the wrong sign", "agents.actor_critic", "tau * float(np.sign(delta))", "-tau * float(np.sign(delta))", AC),
        ("the critic's look-ahead advances it", "agents.actor_critic", "self.critic.peek(next_observation)", "self.critic.forward(next_observation)[0]", AC),
        ("κ of the critic for the actor", "agents.actor_critic", "alpha, kappa_pi, dtype", "alpha, kappa_v, dtype", AC),
        ("v(s) forgotten in δ", "agents.actor_critic", "float(v_next[0]) - float(v[0])", "float(v_next[0])", AC),
        ("step before the trace", "agents.actor_critic", "self.optimizer_v.step(self.critic.p.flat, self.z_v.flat, delta)", "self.optimizer_v.step(self.critic.p.flat, self.critic.grad.flat, delta)", AC),
        ("trace not reset at an episode's end", "agents.stream", "learner.trace.flat[:] = 0.0", "learner.trace.flat[:] *= 1.0", TD),
        ("h and S not reset at an episode's end", "agents.stream", "learner.network.reset()", "learner.network.reset", TD),
        ("TD: the look-ahead advances the state", "agents.td", "self.v.peek(next_observation)", "self.v.forward(next_observation)[0]", TD),
        ("TD: truncated treated as terminated", "agents.td", "gamma * (not terminated)", "gamma * (not (terminated or truncated))", TD),
        ("Q: the action taken for the greatest value", "agents.stream_q", "float(q_next.max())", "float(q_next[action])", Q),
        ("Q: no cut after a random action", "agents.stream_q", "gamma * lam * greedy", "gamma * lam", Q),
        ("Q: cut at s′ for s", "agents.stream_q", "bool(q[action] == q.max())", "bool(q[action] != q.max())", Q),
        ("QRC: the look-ahead advances the state", "agents.qrc", "self.q.state.flat[:] = self.held.flat", "self.held.flat[:] = self.q.state.flat", QRC),
        ("QRC: z_h forgotten beside −h", "agents.qrc", "(z_h - h, q_gradient)", "(-h, q_gradient)", QRC),
        ("QRC: γ forgotten in the correction", "agents.qrc", "(-z_h * discount, next_gradient)", "(-z_h, next_gradient)", QRC),
        ("QRC: β with the wrong sign", "agents.qrc", "= -cfg.beta", "= cfg.beta", QRC),
        ("QRC: z_h not reset", "agents.qrc", "self.z_h[:] = 0.0", "self.z_h[:] *= 1.0", QRC),
        ("QRC: the gradient of q(s, a) overwritten by the look-ahead", "agents.qrc", "self.q.grad, self.q_gradient = self.q_gradient, self.q.grad", "self.q_gradient = self.q.grad", QRC),
        # PPO
        ("PPO: mean forgotten", "agents.ppo", "np.where(useful, -ratio * advantage, 0) / ratio.size", "np.where(useful, -ratio * advantage, 0)", "agents.ppo.policy_loss"),
        ("PPO: ratio forgotten", "agents.ppo", "np.where(useful, -ratio * advantage, 0)", "np.where(useful, -advantage, 0)", "agents.ppo.policy_loss"),
        ("PPO: clipped on the wrong side", "agents.ppo", "ratio <= 1.0 + clip, ratio >= 1.0 - clip)", "ratio >= 1.0 - clip, ratio <= 1.0 + clip)", "agents.ppo.policy_loss"),
        ("PPO: value loss without the ½", "agents.ppo", "return error / error.size", "return 2 * error / error.size", "agents.ppo.value_loss"),
        ("PPO: values clipped where they are better", "agents.ppo", "inside | (error**2 > error_clipped**2)", "inside | (error**2 < error_clipped**2)", "agents.ppo.value_loss"),
        ("PPO: sign of the entropy bonus", "agents.ppo", "g -= cfg.entropy / ratio.size", "g += cfg.entropy / ratio.size", "agents.ppo.PPO.gradient"),
        ("PPO: truncated treated as terminated", "agents.ppo", "cut = truncated or t + 1", "cut = t + 1", PPO),
        ("PPO: terminated treated as truncated", "agents.ppo", "look = cut and not terminated", "look = cut or terminated", PPO),
        ("PPO: the next episode's value for the last one's end", "agents.ppo", "if t and not data.starts[t]:", "if t:", PPO),
        ("PPO: the last value of a rollout forgotten", "agents.ppo", "cut = truncated or t + 1 == len(data.rewards)", "cut = truncated", PPO),
        ("PPO: gradient not clipped", "agents.ppo", "scale = min(1.0, self.config.max_norm / (norm + 1e-6))", "scale = 1.0", PPO),
        ("PPO: the critic acts on without a reset", "agents.ppo", "self.judging.reset()", "self.judging.reset", PPO),
        ("PPO: memory lost where a rollout begins", "agents.ppo", "memory_pi, memory_v = self.actor.replay", "_ = self.actor.reset(), self.critic.reset()\n        memory_pi, memory_v = self.actor.replay", PPO),
        ("PPO: sensitivities lost where a rollout begins", "agents.ppo", "memory_pi, memory_v = self.actor.replay", "self.actor.state.S_B[:] = self.critic.state.S_B[:] = 0.0\n        memory_pi, memory_v = self.actor.replay", PPO),
        ("PPO: another segment's states for the actor", "agents.ppo", "take(memory_pi, chosen)", "take(memory_pi, chosen[::-1])", PPO),
        ("PPO: another segment's states for the critic", "agents.ppo", "take(memory_v, chosen)", "take(memory_v, chosen[::-1])", PPO),
        ("PPO: minibatches never shuffled", "agents.ppo", "order = self.rng.permutation(len(A) // cfg.segment)", "order = np.arange(len(A) // cfg.segment)", PPO),
        ("PPO: −1 forgotten in the divergence", "agents.ppo", "float((ratio - 1.0 - log_ratio).mean())", "float((ratio + 1.0 - log_ratio).mean())", PPO),
        ("PPO: the last minibatch's metrics for their mean", "agents.ppo", "np.mean(logs, axis=0)", "logs[-1]", PPO),
        ("PPO: advantages flow over an episode's end", "agents.rollout", "decay = gamma * lam * ~ends", "decay = gamma * lam * ~(ends & False)", PPO),
        ("PPO: γ forgotten in the advantages' decay", "agents.rollout", "decay = gamma * lam * ~ends", "decay = lam * ~ends", PPO),
    ]
]  # fmt: skip

EQUIVALENT = [
    (Mutant("the largest logit not subtracted", LAYERS, "e = np.exp(x - x.max(-1, keepdims=True))", "e = np.exp(x)", "layers.softmax"),
     "softmax does not change when all logits do; the subtraction only keeps exp from overflowing"),
    (Mutant("γ² for 1 − |λ|²", RTU, "nu * (1.0 - gamma * gamma) / gamma", "nu * np.exp(-2.0 * nu) / gamma", RTU_RTRL),
     "1 − γ² is |λ|² = exp(−2ν) by definition"),
    (Mutant("entropy's gradient taken when its weight is 0", "policies", "if entropy_weight:", "if True:", "policies.Categorical.gradient"),
     "0 times it is added; the test only saves the time"),
    (Mutant("the look-ahead by way of a step whose state is put back", "agents.td", "v_next = self.v.peek(next_observation)", "v_next = (lambda held, output: (self.v.state.flat.__setitem__(slice(None), held), output)[1])(self.v.state.flat.copy(), self.v.forward(next_observation)[0])", TD),
     "what matters is that the state is what it was; peek only does it without the copy"),
    (Mutant("∂L/∂x from G conj(B) for conj(G) B", RTU, "return ((cache.gates.gamma * G_conj) @ p.B).real", "return ((cache.gates.gamma * G) @ p.B.conj()).real", RTU_RTRL),
     "the real part of a complex number is that of its conjugate"),
]  # fmt: skip


@contextlib.contextmanager
def planted(mutant):
    """Put the mistake into the package while the context lasts."""
    module = importlib.import_module(f"streamrl_np.{mutant.module}")
    source = inspect.getsource(module)
    assert source.count(mutant.old) == 1, f"stands {source.count(mutant.old)} times in {module}"
    changed = types.ModuleType(module.__name__)
    changed.__dict__.update(__package__=module.__package__, __file__=module.__file__)
    text = source.replace(mutant.old, mutant.new)
    exec(compile(text, module.__file__, "exec"), changed.__dict__)
    living, theirs = functions(module), functions(changed)
    swapped = {f: f.__code__ for name, f in living.items() if f.__code__ != theirs[name].__code__}
    assert swapped, "nothing changed"
    try:
        for name, f in living.items():
            if f in swapped:
                f.__code__ = theirs[name].__code__
        yield
    finally:
        for f, code in swapped.items():
            f.__code__ = code


def functions(owner, prefix=""):
    """List the functions and methods that a module defines, by their path in it."""
    found = {}
    for name, value in vars(owner).items():
        if isinstance(value, types.FunctionType) and value.__module__ == module_of(owner):
            found[prefix + name] = value
        elif isinstance(value, type) and value.__module__ == module_of(owner) and not prefix:
            found |= functions(value, f"{name}.")
    return {n: f for n, f in found.items() if not n.rpartition(".")[2].startswith("__")
            or n.endswith("__init__")}  # fmt: skip


def module_of(owner):
    """Name the module that a module or class belongs to."""
    return owner.__name__ if isinstance(owner, types.ModuleType) else owner.__module__
