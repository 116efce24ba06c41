"""The order in which rows of a ragged batch run, against a description by plain loops."""

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgate.kernels.cpu import schedule as module
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
        own = schedule.lengths[part.first : part.last]
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
        assert part.last > part.first or B == 0
        # Sequences are not cut, so nobody can be nearer to an equal share than one sequence.
        assert part.rows <= schedule.rows / len(schedule.parts) + max(lengths, default=0)
        first = part.last
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
def test_stretches_are_the_whole_in_pieces(lengths, spare, batch_first, parts):
    """The same rows in the same order, whether or not the schedule is cut."""
    whole, _ = make(lengths, spare, batch_first, parts)
    for direction in (0, 1):
        expected = whole.canonical_user_rows(direction).tolist()
        for steps in (1, 2, 7):
            pieces = list(whole.stretches(direction, steps))
            rows = [first + row for own, first in pieces for row in own.canonical_user_rows(direction)]
            assert rows == expected
            assert all(np.array_equal(own.order, whole.order) for own, _ in pieces)
            assert len(pieces) == max(1, -(-max(lengths, default=0) // steps))


def test_equal_stretches_share_their_schedule():
    pieces = list(uniform_schedule(3, 20, True, 1).stretches(0, 6))
    assert len({id(own) for own, _ in pieces}) == 2  # the last one is shorter


@any_schedule
def test_chunks_end_with_a_step_unless_that_is_larger(lengths, spare, batch_first, parts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", 4)
        schedule, T = make(lengths, spare, batch_first, parts)
        cuts, steps = schedule.chunks, schedule.steps_of_chunk
        assert cuts[0] == 0
        assert cuts[-1] == schedule.rows
        sizes = np.diff(cuts)
        assert ((sizes > 0) & (sizes <= 4)).all()
        ends = {sum(min(n, t) for n in lengths) for t in range(0, T + steps, steps)}
        assert ends <= set(cuts.tolist())  # so it can be cut into stretches there
        assert len(cuts) <= len(ends) or len(lengths) > 4


@any_schedule
def test_begins_group_steps_up_to_a_number_of_rows(lengths, spare, batch_first, parts):
    schedule, _ = make(lengths, spare, batch_first, parts)
    for number, part in enumerate(schedule.parts):
        for rows in (1, 5):
            begins = schedule.begins(number, rows)
            for begin in np.unique(begins):
                own = np.flatnonzero(begins == begin)
                assert own[0] == begin
                assert own.tolist() == list(range(begin, begin + own.size))
                assert part.active[own].sum() <= rows or own.size == 1
                if own[-1] + 1 < begins.size:  # no room for the next step
                    assert part.active[own].sum() + part.active[own[-1] + 1] > rows


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
