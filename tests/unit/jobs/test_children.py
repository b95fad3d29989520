"""What a worker's dead children held: who frees it, and when."""

from longwave.jobs.children import LostWork

Freed = list[tuple[str, bool]]


def lost_work(freed: Freed, *, is_over: bool = False) -> LostWork:
    def hand_over(prefix: str, *, is_crash: bool) -> None:
        freed.append((prefix, is_crash))
        if prefix == "host:1:ab.2.":
            raise OSError("the database is away")

    return LostWork(hand_over, lambda: is_over)


def test_what_no_child_is_forked_for_is_freed_when_the_worker_has_stopped_and_counts_as_a_crash() -> None:
    freed: Freed = []
    lost = lost_work(freed)
    lost.add("host:1:ab.1.")
    lost.free()
    assert freed == [("host:1:ab.1.", True)]


def test_what_the_next_child_frees_is_left_to_it_alone() -> None:
    freed: Freed = []
    lost = lost_work(freed)
    lost.add("host:1:ab.1.")
    lost.bequeath()
    lost.add("host:1:ab.3.")
    lost.free()
    assert freed == [("host:1:ab.3.", True)]


def test_children_that_the_worker_cuts_off_have_not_crashed() -> None:
    freed: Freed = []
    lost = lost_work(freed, is_over=True)
    lost.add("host:1:ab.1.")
    lost.free()
    assert freed == []


def test_what_cannot_be_freed_keeps_nothing_else_from_being_freed() -> None:
    freed: Freed = []
    lost = lost_work(freed)
    for number in (1, 2, 3):
        lost.add(f"host:1:ab.{number}.")
    lost.free()
    assert [prefix for prefix, _ in freed] == ["host:1:ab.1.", "host:1:ab.2.", "host:1:ab.3."]
