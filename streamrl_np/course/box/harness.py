"""Ways to ask student code: each takes numbers and arrays, and gives numbers and arrays back.

A harness sets the student's functions up with the library around them and reports what they
did. It knows nothing of what is right.
"""

# n units, d inputs (of a cell) or width (of a network), T steps

import copy

import numpy as np

from ... import cells, layers, networks
from ...arrays import Views
from ...cells import rtu
from .student import Mistake, describe, seconds, unchanged

HARNESSES = {}
RING = 0.5, 0.95  # of the retention that a student's cell is drawn with
UNWRITTEN = 7.25  # what a gradient is filled with before student code writes it


def harness(function):
    """Register a harness under its name."""
    HARNESSES[function.__name__] = function
    return function


def answer(student, name, arguments, limit):
    """Ask student code through the harness ``name``; raises Mistake for what they did wrong."""
    what = arguments[0] if name in ("plain", "in_place") else "your code"
    with seconds(limit, what), np.errstate(all="ignore"):
        try:
            return HARNESSES[name](student, *arguments)
        except Mistake:
            raise
        except Exception as error:
            raise Mistake(f"the library stops on your functions: {describe(error)}") from error


@harness
def plain(student, name, *args):
    """Call one function that may not change its arguments."""
    return student.pure(name, *args)


@harness
def in_place(student, name, *args):
    """Call one function that works in place; gives what it returned and its arrays after."""
    result = student.call(name, *args)
    return result, [a for a in args if isinstance(a, np.ndarray)]


@harness
def value(student, name):
    """Give a value that their notebook defines, an array or a number or text."""
    if name not in student.namespace:
        raise Mistake(f"there is no {name}: was its cell deleted, renamed, or never run?")
    return student.namespace[name]


def in_library(student, owner, *names):
    """Swap functions of the library for the student's of the same names."""
    from ...swapping import swap

    return swap(owner, **{name: student.function(name) for name in names})


@harness
def dense_layer(student, x, W, b, g):
    """Run the library's dense layer on the student's functions, and pull ``g`` back through it."""
    p = Views({"W": W.shape, "b": b.shape})
    p.W, p.b, grad = W, b, p.like()
    own = student.function("linear_vjp")

    def linear_vjp(g, x, W, gW=None):
        """Write ∂L/∂W where the library wants it; theirs may call itself, and wants it nowhere."""
        gx, new, gb = own(g, x, W)
        if gW is not None:
            gW[...] = new
        return gx, new, gb

    names = ("linear", "layer_norm", "leaky_relu", "linear_vjp", "layer_norm_vjp", "leaky_relu_vjp")
    with student.standing_in(linear_vjp=linear_vjp), in_library(student, layers, *names):
        y, cache = networks.dense(x, p)
        gx = networks.dense_vjp(g, cache, p, grad)
    return y, gx, grad.W, grad.b


def rtu_views(n, d, flat):
    """Look at a flat vector as the parameters of an RTU."""
    return Views(rtu.layout(n, d), flat=flat.copy())


@harness
def rtu_gates(student, nu_log, theta_log):
    """Ask for the gates."""
    p = Views(rtu.layout(len(nu_log), 1))
    p.nu_log, p.theta_log = nu_log, theta_log
    before = p.flat.copy()
    found = student.call("gates", p)
    if not np.array_equal(before, p.flat):
        raise Mistake("gates changes the parameters: it may only read them")
    if isinstance(found, tuple) and not isinstance(found, rtu.Gates):
        raise Mistake("gates must return rtu.Gates(nu, theta, lam, gamma), a tuple with names")
    return found


@harness
def rtu_jacobian(student, gates, h_prev, Bx):
    """Ask for the immediate Jacobian."""
    return student.pure("immediate_jacobian", rtu.Gates(*gates), h_prev, Bx)


def given_parts(student, gates, by_h, by_Bx, by_theta):
    """Stand in for gates and immediate Jacobian, so that what calls them is looked at alone.

    All are numbers for these parameters: J_ν = by_h h + by_Bx Bx and J_θ = by_theta h.
    """

    def given_gates(p):
        return rtu.Gates(*(a.copy() for a in gates))

    def given_jacobian(gates, h_prev, Bx):
        return by_h * h_prev + by_Bx * Bx, by_theta * h_prev

    return student.standing_in(gates=given_gates, immediate_jacobian=given_jacobian)


@harness
def rtu_advance(student, flat, n, d, state_flat, x, mode, given):
    """Advance once, with gates and Jacobian ``given``; the state after, y and h_prev."""
    p, state = rtu_views(n, d, flat), Views(rtu.state_layout(n, d), flat=state_flat.copy())
    input_ = x.copy()
    with given_parts(student, *given):
        cache = student.call("advance", p, state, input_, mode)
    if not np.array_equal(p.flat, flat):
        raise Mistake("advance changes the parameters: only the state may change")
    if not np.array_equal(input_, x):
        raise Mistake("advance changes its argument x in place: make a new array")
    words = "advance must return a rtu.Cache"
    return (
        state.flat,
        np.asarray(field(cache, "y", words)),
        np.asarray(field(cache, "h_prev", words)),
    )


def field(cache, name, words):
    """Read a field of what student code returned."""
    if not hasattr(cache, name):
        given = f"a {type(cache).__name__}"
        given = "nothing: is a `return` missing?" if cache is None else given
        raise Mistake(f"{words}; it returned {given}")
    return getattr(cache, name)


@harness
def rtu_vjp(student, flat, n, d, state_flat, gates, x, h_prev, y, gy):
    """Pull ``gy`` back through a step that was taken for them; the gradient and ∂L/∂x."""
    p, state = rtu_views(n, d, flat), Views(rtu.state_layout(n, d), flat=state_flat.copy())
    cache, grad = rtu.Cache(rtu.Gates(*gates), x, h_prev, y), p.like()
    grad.flat[:] = UNWRITTEN
    before = copy.deepcopy((tuple(cache), gy))
    gx = student.call("vjp", p, state, cache, gy, grad)
    for name, array in grad.items():
        if np.all(array.view(np.float64) == UNWRITTEN):
            raise Mistake(f"vjp does not write grad.{name}: write into it, grad.{name}[:] = …")
    if not np.array_equal(state.flat, state_flat):
        raise Mistake("vjp changes the state: it may only read it")
    if not unchanged(before, (tuple(cache), gy)):
        raise Mistake("vjp changes the cache or gy in place: make new arrays")
    return grad.flat, gx


@harness
def rtu_rtrl(student, flat, n, d, xs, gys, given):
    """Give the gradient over a sequence by real-time recurrent learning."""
    p, state, grad = rtu_views(n, d, flat), Views(rtu.state_layout(n, d)), rtu_views(n, d, flat)
    total = np.zeros_like(flat)
    with given_parts(student, *given):
        for x, gy in zip(xs, gys, strict=True):
            cache = student.call("advance", p, state, x, "rtrl")
            student.call("vjp", p, state, cache, gy, grad)
            total += grad.flat
    return total


@harness
def rtu_bptt(student, flat, n, d, xs, gys, given):
    """Give the gradient over a sequence by backpropagation through time."""
    p, grad = rtu_views(n, d, flat), rtu_views(n, d, flat)
    grad.flat[:] = UNWRITTEN
    with given_parts(student, *given):
        student.call("bptt", p, xs, gys, grad)
    if np.all(grad.flat == UNWRITTEN):
        raise Mistake("bptt does not write grad: write into it, grad.B[:] = …")
    return grad.flat


@harness
def rtu_network(student, seed, xs, g):
    """Give a library network's gradient after some steps, its RTU made of the student's."""
    names = ("gates", "immediate_jacobian", "advance", "vjp")
    cell = cells.Config(units=4, r_min=0.5, r_max=0.95)
    rng = np.random.default_rng(seed)
    network = networks.Network(
        xs.shape[1], 2, networks.Config(width=5, sparsity=0.0), cell, rng, np.float64
    )
    with in_library(student, rtu, *names):
        for x in xs:
            output, cache = network.forward(x)
        network.vjp(cache, g)
    return output, network.grad.flat


@harness
def td_agent(student, seed, xs, rewards, ends):
    """Give a library TD agent's parameters after some transitions, on the student's functions."""
    from ... import optimizers
    from ...agents import td
    from ...swapping import swap

    accumulate, obgd_step = student.function("accumulate"), student.function("obgd_step")

    def step(optimizer, w, z, delta):
        alpha = obgd_step(w, z, delta, optimizer.step_size, optimizer.kappa)
        return alpha, 0.0

    size, cell = networks.Config(width=4), cells.Config(units=3)
    agent = td.TD(2, np.random.default_rng(seed), network=size, cell=cell, dtype=np.float64)
    with swap(td, accumulate=accumulate), swap(optimizers.ObGD, step=step):
        for t in range(len(rewards)):
            agent.act(xs[t])
            agent.update(xs[t], 0, rewards[t], xs[t + 1], bool(ends[t]), False)
    return agent.v.p.flat


def small_agent(seed, policy, units, width, r_min, dtype):
    """Make an actor and a critic of some size."""
    from ...agents.actor_critic import ActorCritic

    rng = np.random.default_rng(seed)
    size, cell = networks.Config(width=width), cells.Config(units=units, r_min=r_min)
    return ActorCritic(3, policy, rng, network=size, cell=cell, dtype=dtype)


def made_up_gradient(outputs, action, entropy_weight):
    """Stand in for the policy's derivative, so that the update is looked at alone."""
    return np.cos(outputs + action) + 10.0 * entropy_weight * np.sin(outputs)


@harness
def agent_updates(student, seed, weights, xs, actions, rewards, following, ends, cuts):
    """Give parameters and traces after each of some transitions by the student's ``update``."""
    from ...policies import Categorical

    policy = Categorical(2)
    policy.gradient = made_up_gradient
    agent = small_agent(seed, policy, 3, 4, 0.9, np.float64)
    agent.actor.p.flat[:], agent.critic.p.flat[:] = weights
    history = []
    for t in range(len(rewards)):
        agent.act(xs[t])
        end, cut = bool(ends[t]), bool(cuts[t])
        step = (xs[t], int(actions[t]), float(rewards[t]), following[t], end, cut)
        student.call("update", agent, *step)
        history.append({name: views.flat.copy() for name, views in agent.parts().items()})
    return tuple(history)


@harness
def agent_start(student, seed, temperature):
    """Make an agent that lives until the next one is made: the student's update and policy."""
    from ...policies import Categorical

    class Theirs(Categorical):
        """A softmax at a temperature, with the student's derivatives."""

        def sample(self, logits, rng):
            return super().sample(logits / logits.dtype.type(temperature), rng)

        def log_prob_gradient(self, logits, action):
            return student.call("log_prob_gradient", logits, action)

        def entropy_gradient(self, logits):
            return student.call("entropy_gradient", logits)

    student.agent = small_agent(seed, Theirs(2), 24, 16, 0.9, np.float32)
    student.function("update")
    return True


@harness
def agent_act(student, observation):
    """Let the agent act."""
    return student.agent.act(observation)


@harness
def agent_learn(student, *transition):
    """Let the agent learn from a transition."""
    student.call("update", student.agent, *transition)
    return True


@harness
def entry(student, name, key):
    """Give one entry of a dict that their notebook defines."""
    found = value(student, name)
    if not isinstance(found, dict):
        raise Mistake(f"{name} must be a dict, it is a {type(found).__name__}")
    if key not in found:
        raise Mistake(f'{name} has no entry "{key}"')
    return found[key] if isinstance(found[key], str) else str(found[key])


def own_views(student, function, *args, flat=None):
    """Make Views in a layout of the student's."""
    layout = student.call(function, *args)
    if not isinstance(layout, dict):
        raise Mistake(f"{function} must return a dict of names to shapes")
    try:
        return Views(layout, flat=None if flat is None else flat.copy())
    except TypeError:
        raise Mistake(
            f"{function}: each name wants a shape, a tuple such as (n,) or Complex((n, d))"
        ) from None


@harness
def cell_facts(student, n, d, seed):
    """Give drawn parameters of the student's cell, their retention, and the number of features."""
    once, again = draw_cell(student, n, d, seed), draw_cell(student, n, d, seed)
    if not np.array_equal(once.flat, again.flat):
        raise Mistake("init: the same rng draws other parameters the second time: use rng alone")
    kept = student.call("retention", once)
    if np.shape(kept) != (n,):
        raise Mistake(f"retention must return one number a unit, ({n},), not {np.shape(kept)}")
    count = student.call("feature_count", n)
    if not isinstance(count, int | np.integer):
        raise Mistake(f"feature_count must return a whole number, not a {type(count).__name__}")
    return {
        "flat": once.flat,
        "arrays": {name: np.array(array) for name, array in once.items()},
        "retention": np.array(kept, float),
        "features": int(count),
    }


def draw_cell(student, n, d, seed):
    """Draw parameters by the student's ``init``."""
    p = own_views(student, "layout", n, d)
    config = cells.Config(units=n, r_min=RING[0], r_max=RING[1])
    drawn = student.call("init", np.random.default_rng(seed), n, d, config)
    if not isinstance(drawn, dict) or set(drawn) != set(p.layout):
        raise Mistake("init must return a dict with the names that layout has")
    for name, array in drawn.items():
        try:
            setattr(p, name, array)
        except (ValueError, AttributeError) as error:
            raise Mistake(f"init: {error}") from error
    return p


def walk(student, flat, n, d, xs, mode, visit):
    """Advance the student's cell through a sequence; collect what ``visit`` returns."""
    p = own_views(student, "layout", n, d, flat=flat)
    state = own_views(student, "state_layout", n, d, mode)
    found = []
    for t, x in enumerate(xs):
        given = np.array(x)
        found.append(visit(p, state, given, t))
        if not np.array_equal(given, x):
            raise Mistake("x is changed in place, by advance, peek or vjp: make a new array")
    return found


@harness
def cell_features(student, flats, n, d, xs, mode="frozen"):
    """Give the features of every step, for each of several parameter vectors."""

    def visit(p, state, x, t):
        return features_of(student.call("advance", p, state, x, mode))

    return np.array([walk(student, flat, n, d, xs, mode, visit) for flat in flats])


def features_of(cache):
    """Read y of what the student's ``advance`` returned."""
    return np.array(field(cache, "y", "advance must return a cache with a field y"))


@harness
def cell_last_features(student, flats, flat, n, d, xs):
    """Give the features of the last step, taken with each of several parameter vectors."""
    kept = []

    def visit(p, state, x, t):
        if t < len(xs) - 1:
            student.call("advance", p, state, x, "frozen")
        else:
            kept.append(state)

    walk(student, flat, n, d, xs, "frozen", visit)
    found = []
    for other in flats:
        p, state = own_views(student, "layout", n, d, flat=other), kept[0].copy()
        found.append(features_of(student.call("advance", p, state, np.array(xs[-1]), "frozen")))
    return np.array(found)


@harness
def cell_peeks(student, flat, n, d, xs):
    """Give what peek says and what advance then gives, every step."""

    def visit(p, state, x, t):
        before = state.flat.copy()
        peeked = np.array(student.call("peek", p, state, x))
        if not np.array_equal(before, state.flat):
            raise Mistake("peek changes the state: it may only look")
        return peeked, np.array(student.call("advance", p, state, x, "rtrl").y)

    pairs = walk(student, flat, n, d, xs, "rtrl", visit)
    return tuple(np.array(part) for part in zip(*pairs, strict=True))


@harness
def cell_gradients(student, flat, n, d, xs, gys, mode):
    """Give the student's gradient of gy · y, and its ∂L/∂x, after every step in a mode."""

    def visit(p, state, x, t):
        cache, grad = student.call("advance", p, state, x, mode), p.like()
        grad.flat[:] = UNWRITTEN
        gx = student.call("vjp", p, state, cache, gys[t], grad)
        for name, array in grad.items():
            if np.all(array.view(np.float64) == UNWRITTEN):
                raise Mistake(f"vjp does not write grad.{name}: write into it, grad.{name}[:] = …")
        return grad.flat.copy(), gx

    return tuple(walk(student, flat, n, d, xs, mode, visit))
