"""Who is there to work: what the workers' answers are made of."""

from longwave.jobs import presence


def said(pid: int, *queues: str) -> dict[str, object]:
    return {"host": "h", "pid": pid, "queues": list(queues), "concurrency": 2, "memory_mb": 80.0}


def test_workers_that_share_a_name_do_not_hide_each_other() -> None:
    answers = [{"w@h": said(9, "import")}, {"a@h": said(7)}, {"w@h": said(8, "email")}]
    found = presence._by_name(answers)
    assert [(one.name, one.queues) for one in found] == [
        ("a@h", []),
        ("w@h:8", ["email"]),
        ("w@h:9", ["import"]),
    ]


def test_an_answer_that_is_an_error_is_no_worker() -> None:
    assert presence._by_name([{"w@h": {"error": "no such command"}}]) == []
