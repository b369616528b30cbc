import copy
import pickle

import numpy as np
import pytest

from streamrl_np.arrays import Complex, NonFiniteError, Views, flush_denormals, require_finite

LAYOUT = {"a": (2,), "cell": {"B": Complex((2, 3)), "b": (3,)}}


@pytest.mark.parametrize("dtype, complex_", [("f4", "c8"), ("f8", "c16")])
def test_views_share_the_flat_memory(dtype, complex_):
    p = Views(LAYOUT, dtype)
    assert p.flat.shape == (2 + 12 + 3,) and p.cell.B.dtype == complex_
    p.cell.B[1, 2] = 3 + 4j
    assert list(p.flat[12:14]) == [3, 4]
    assert list(p.cell.flat[10:12]) == [3, 4], "a group is a piece of the whole"
    p.flat[-1] = 7
    assert p.cell.b[2] == 7 and p["cell.b"] is p.cell.b


def test_assignment_copies_and_checks():
    p = Views(LAYOUT)
    source = np.ones(2)
    p.a = source
    source[:] = 5
    assert (p.a == 1).all()
    p.a *= 3
    assert (p.flat[:2] == 3).all()
    with pytest.raises(ValueError, match=r"a has shape \(2,\), got \(3,\)"):
        p.a = np.ones(3)
    with pytest.raises(ValueError, match="a is real, got a complex array"):
        p.a = 1j * np.ones(2)
    with pytest.raises(AttributeError, match="one at a time"):
        p.cell = 0


def test_unknown_names_are_answered_with_the_near_one():
    with pytest.raises(AttributeError, match=r"no array .cel. here.*did you mean .cell."):
        Views(LAYOUT)["cel"]
    with pytest.raises(AttributeError, match="only a, cell"):
        Views(LAYOUT).zebra = 1


def test_wrong_dtype_and_size():
    with pytest.raises(ValueError, match="dtype must be float32, float64"):
        Views(LAYOUT, "i4")
    with pytest.raises(ValueError, match=r"flat must have shape \(17,\), got \(3,\)"):
        Views(LAYOUT, flat=np.zeros(3))


@pytest.mark.parametrize("name", ["flat", "layout", "items", "copy", "like", "name_of"])
def test_what_views_has_itself_is_no_name_for_an_array(name):
    with pytest.raises(ValueError, match=f"an array cannot be called '{name}'"):
        Views({name: (2,)})


def test_copies_share_nothing():
    p = Views(LAYOUT)
    q, zeros = p.copy(np.float32), p.like()
    p.flat[:] = 1
    assert not q.flat.any() and not zeros.flat.any() and q.flat.dtype == "f4"


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))]
)
def test_the_names_of_a_copy_look_at_its_own_memory(copied):
    p = Views(LAYOUT, "f4")
    p.flat[:] = 1
    q = copied(p)
    q.flat[:] = 7
    assert (q.a == 7).all() and (q.cell.B.real == 7).all() and q.flat.dtype == "f4"
    assert (p.flat == (7 if copied is copy.copy else 1)).all()


def test_names_of_entries():
    p = Views(LAYOUT)
    names = [p.name_of(i) for i in range(p.flat.size)]
    assert names[:4] == ["a[0]", "a[1]", "cell.B[0, 0].real", "cell.B[0, 0].imag"]
    assert names[13:] == ["cell.B[1, 2].imag", "cell.b[0]", "cell.b[1]", "cell.b[2]"]
    assert [name for name, _ in p.items()] == ["a", "cell.B", "cell.b"]
    with pytest.raises(IndexError):
        p.name_of(17)


def test_flush_denormals():
    flat = np.array([1.0, -1e-30, 1e-33, -1e-40, 0.0], np.float32)
    flush_denormals(flat)
    assert list(flat) == [1.0, np.float32(-1e-30), 0, 0, 0]


def test_require_finite_names_the_entry():
    p = Views(LAYOUT)
    require_finite("p", p)
    p.cell.B[0, 1] = complex(0, np.nan)
    with pytest.raises(NonFiniteError, match=r"the trace: cell.B\[0, 1\].imag is nan \(1 of 17"):
        require_finite("the trace", p)
    with pytest.raises(NonFiniteError, match="the TD error is inf"):
        require_finite("the TD error", np.inf)
    rows = np.zeros((3, 2))
    rows[2, 1] = np.nan
    with pytest.raises(NonFiniteError, match=r"the rows: entry 2, 1 is nan \(1 of 6"):
        require_finite("the rows", rows)


def test_no_denormal_of_a_long_vector_is_passed_over():
    flat = np.full(10_000, 1e-40, np.float32)
    flush_denormals(flat)
    assert not flat.any()
