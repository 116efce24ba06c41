"""The order in which rows of a ragged batch run, against a description by plain loops."""

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgate.kernels.cpu.schedule import Schedule, uniform_schedule

hypothesis.settings.register_profile("fastgate", deadline=None, derandomize=True, max_examples=80)

lengths_of = st.lists(st.integers(0, 6), max_size=8)
parts_of = st.integers(1, 5)
orders = st.booleans()


def make(lengths, spare, batch_first, parts):
    """A schedule with `spare` steps beyond the longest sequence."""
    T = max(lengths, default=0) + spare
    return Schedule(np.array(lengths, np.int64), T, batch_first, parts), T


def walk(schedule):
    """Yield (row, part, rank, step) as the driver walks: part after part, step after step, the ranks still running."""
    row = 0
    for part in schedule.parts:
        assert part.row == row
        for step, active in enumerate(part.active):
            for rank in range(part.first, part.first + active):
                yield row, part, rank, step
                row += 1
        assert part.row + part.rows == row


def row_of(schedule):
    return {(rank, step): row for row, _, rank, step in walk(schedule)}


def any_schedule(test):
    test = given(lengths=lengths_of, spare=st.integers(0, 2), batch_first=orders, parts=parts_of)(test)
    return hypothesis.settings(hypothesis.settings.get_profile("fastgate"))(test)


@any_schedule
def test_every_valid_element_is_covered_once_in_both_directions(lengths, spare, batch_first, parts):
    schedule, T = make(lengths, spare, batch_first, parts)
    B = len(lengths)
    place = (lambda n, t: n * T + t) if batch_first else (lambda n, t: t * B + n)
    valid = sorted(place(n, t) for n in range(B) for t in range(lengths[n]))
    for direction in (0, 1):
        assert sorted(schedule.user_rows(direction)) == valid
    assert schedule.rows == len(valid)
    assert schedule.is_ragged == (len(valid) < B * T)


@any_schedule
def test_a_row_reads_the_step_of_its_sequence(lengths, spare, batch_first, parts):
    schedule, T = make(lengths, spare, batch_first, parts)
    B = len(lengths)
    forward, reverse = schedule.user_rows(0), schedule.user_rows(1)
    for row, _, rank, step in walk(schedule):
        n = schedule.order[rank]
        last = lengths[n] - 1
        expected = (n * T + step, n * T + last - step) if batch_first else (step * B + n, (last - step) * B + n)
        assert (forward[row], reverse[row]) == expected


@any_schedule
def test_ranks_fall_in_length_and_ties_keep_their_order(lengths, spare, batch_first, parts):
    schedule, _ = make(lengths, spare, batch_first, parts)
    assert list(schedule.order) == sorted(range(len(lengths)), key=lambda n: (-lengths[n], n))
    assert [schedule.lengths[r] for r in range(len(lengths))] == [lengths[n] for n in schedule.order]


@any_schedule
def test_active_counts_the_ranks_still_running(lengths, spare, batch_first, parts):
    schedule, _ = make(lengths, spare, batch_first, parts)
    for part in schedule.parts:
        own = schedule.lengths[part.first : part.first + part.ranks]
        assert part.active.dtype == np.int64
        assert part.active.tolist() == [int((own > step).sum()) for step in range(own.max(initial=0))]
        assert part.rows == own.sum()


@any_schedule
def test_parts_are_contiguous_not_empty_and_balanced(lengths, spare, batch_first, parts):
    schedule, _ = make(lengths, spare, batch_first, parts)
    B = len(lengths)
    assert len(schedule.parts) == max(1, min(parts, B))
    first = 0
    for part in schedule.parts:
        assert part.first == first
        assert part.ranks >= 1 or B == 0
        # Sequences are not cut, so nobody can be nearer to an equal share than one sequence.
        assert part.rows <= schedule.rows / len(schedule.parts) + max(lengths, default=0)
        first += part.ranks
    assert first == B


@any_schedule
def test_canonical_order_is_by_step_then_rank_whatever_the_parts(lengths, spare, batch_first, parts):
    schedule, _ = make(lengths, spare, batch_first, parts)
    rows = row_of(schedule)
    assert schedule.canonical.tolist() == [rows[key] for key in sorted(rows, key=lambda key: (key[1], key[0]))]
    whole, _ = make(lengths, spare, batch_first, 1)
    for direction in (0, 1):
        expected = whole.user_rows(direction)[whole.canonical]
        assert np.array_equal(schedule.user_rows(direction)[schedule.canonical], expected)


@any_schedule
def test_state_before_each_canonical_row(lengths, spare, batch_first, parts):
    schedule, _ = make(lengths, spare, batch_first, parts)
    B, rows = len(lengths), row_of(schedule)
    steps = sorted(rows, key=lambda key: (key[1], key[0]))
    expected = [rank if step == 0 else B + rows[rank, step - 1] for rank, step in steps]
    assert schedule.canonical_before.tolist() == expected


@any_schedule
def test_final_states_by_sequence(lengths, spare, batch_first, parts):
    schedule, _ = make(lengths, spare, batch_first, parts)
    B, rows, order = len(lengths), row_of(schedule), schedule.order.tolist()
    rank_of = [order.index(n) for n in range(B)]
    assert schedule.rank_of.tolist() == rank_of
    kept = [rank_of[n] if lengths[n] == 0 else B + rows[rank_of[n], lengths[n] - 1] for n in range(B)]
    assert schedule.final.tolist() == kept
    # To and fro: a state starts in [0, B) and changes halves with every step.
    assert schedule.final_of_two.tolist() == [rank_of[n] + (B if lengths[n] % 2 else 0) for n in range(B)]


@pytest.mark.parametrize(("B", "T"), [(0, 0), (0, 4), (3, 0), (1, 1), (4, 3)])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("parts", [1, 3])
def test_uniform_schedule_is_that_of_equal_lengths(B, T, batch_first, parts):
    uniform = uniform_schedule(B, T, batch_first, parts)
    plain = Schedule(np.full(B, T, np.int64), T, batch_first, parts)
    assert not uniform.is_ragged
    assert [part[:4] for part in uniform.parts] == [part[:4] for part in plain.parts]
    for direction in (0, 1):
        assert np.array_equal(uniform.user_rows(direction), plain.user_rows(direction))


def test_lengths_are_not_modified_or_kept():
    lengths = np.array([2, 0, 3])
    schedule = Schedule(lengths, 3, True, 2)
    lengths[:] = 1
    assert schedule.lengths.tolist() == [3, 2, 0]
