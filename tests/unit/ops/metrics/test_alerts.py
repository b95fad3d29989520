"""Each alerting rule fires when it should and stays silent when it should, as Prometheus itself works it out."""

import json
import shutil
import subprocess
from pathlib import Path

import yaml

from tests import databases
from tests.unit.ops.metrics.test_dashboard import ALERTS, RULES

AT = "90m"
"""When a rule is looked at. Every rule has been waiting for long enough by then."""

EARLY = "30s"

Series = dict[str, str]
"""A series → its values, one a minute, in Prometheus' notation."""

HALF_OF_JOBS = {
    'longwave_jobs_total{name="work",queue="default",outcome="success",instance="a"}': "0+60x100",
    'longwave_jobs_total{name="work",queue="default",outcome="failure",instance="b"}': "0+60x100",
}
FEW_OF_JOBS = {
    'longwave_jobs_total{name="work",queue="default",outcome="success",instance="a"}': "0+60x100",
    'longwave_jobs_total{name="work",queue="default",outcome="failure",instance="b"}': "0+1x100",
    'longwave_jobs_total{name="work",queue="default",outcome="retry",instance="b"}': "0+600x100",
}
REFUSED = {
    'longwave_deliveries_total{channel="telegram",outcome="sent"}': "0+60x100",
    'longwave_deliveries_total{channel="telegram",outcome="rejected"}': "0+60x100",
}
GONE = {
    'longwave_deliveries_total{channel="telegram",outcome="sent"}': "0+10x100",
    'longwave_deliveries_total{channel="telegram",outcome="rejected"}': "0+5x100",
    'longwave_deliveries_total{channel="telegram",outcome="gone"}': "0+60x100",
    'longwave_deliveries_total{channel="telegram",outcome="throttled"}': "0+60x100",
}

CASES: dict[str, tuple[Series, Series]] = {
    # alert: (it fires, it does not)
    "LongwaveUnseen": ({}, {'longwave_info{version="1"}': "1x100"}),
    "LongwaveBeatMissing": (
        {"longwave_beat_running": "0x100"},
        {'longwave_beat_running{instance="a"}': "1x100", 'longwave_beat_running{instance="b"}': "0x100"},
    ),
    "LongwaveBrokerAway": ({"longwave_broker_up": "0x100"}, {"longwave_broker_up": "1x100"}),
    "LongwaveQueueUnserved": (
        {
            'longwave_queue_ready_jobs{queue="email"}': "7x100",
            'longwave_queue_workers{queue="email"}': "0x100",
        },
        {
            'longwave_queue_ready_jobs{queue="email"}': "0x100",
            'longwave_queue_workers{queue="email"}': "0x100",
            'longwave_queue_ready_jobs{queue="default"}': "7x100",
            'longwave_queue_workers{queue="default"}': "1x100",
        },
    ),
    "LongwaveQueueWaits": (
        {'longwave_queue_oldest_wait_seconds{queue="default"}': "400x100"},
        {
            'longwave_queue_oldest_wait_seconds{queue="default"}': "200x100",
            'longwave_queue_oldest_wait_seconds{queue="email"}': "4000x100",
            'longwave_queue_paused{queue="email"}': "1x100",
        },
    ),
    "LongwaveQueuePaused": (
        {'longwave_queue_paused{queue="email"}': "1x100"},
        {'longwave_queue_paused{queue="email"}': "0x100"},
    ),
    "LongwaveJobsFail": (HALF_OF_JOBS, FEW_OF_JOBS),
    "LongwaveDeliveriesFail": (REFUSED, GONE),
    "LongwaveDeliveriesUnknown": (
        {'longwave_deliveries_total{channel="telegram",outcome="orphaned"}': "0x80 5x20"},
        {'longwave_deliveries_total{channel="telegram",outcome="orphaned"}': "0x10 5x90"},
    ),
    "LongwaveSenderBroken": (
        {'longwave_sender_broken{sender="shop"}': "1x100"},
        {'longwave_sender_broken{sender="shop"}': "0x100"},
    ),
    "LongwaveSenderHeld": (
        {'longwave_sender_held_seconds{sender="shop"}': "5x100"},
        {'longwave_sender_held_seconds{sender="shop"}': "5x85 0x15"},
    ),
    "LongwaveDrift": (
        {'longwave_drift_jobs{kind="lost_lease"}': "2x100"},
        {
            'longwave_drift_jobs{kind="lost_lease"}': "0x100",
            'longwave_drift_jobs{kind="stale_message"}': "9x100",
        },
    ),
    "LongwaveChoreFails": (
        {'longwave_chore_failed{chore="jobs.prune.prune"}': "1x100"},
        {'longwave_chore_failed{chore="jobs.prune.prune"}': "0x100"},
    ),
    "LongwaveSchedulesFail": (
        {'longwave_schedules{state="failing"}': "1x100"},
        {'longwave_schedules{state="failing"}': "0x100", 'longwave_schedules{state="paused"}': "3x100"},
    ),
    "LongwaveScalingStale": (
        {'longwave_desired_workers_stale{group="files"}': "1x100"},
        {'longwave_desired_workers_stale{group="files"}': "0x100"},
    ),
    "LongwaveScalingAtMost": (
        {
            'longwave_desired_workers{group="files"}': "4x100",
            'longwave_desired_workers_max{group="files"}': "4x100",
            'longwave_desired_workers_stale{group="files"}': "0x100",
        },
        {
            'longwave_desired_workers{group="files"}': "3x100",
            'longwave_desired_workers_max{group="files"}': "4x100",
            'longwave_desired_workers_stale{group="files"}': "0x100",
            'longwave_desired_workers{group="send"}': "4x100",
            'longwave_desired_workers_max{group="send"}': "4x100",
            'longwave_desired_workers_stale{group="send"}': "1x100",
        },
    ),
    "LongwaveFiguresMissing": (
        {'longwave_scrape_errors_total{part="queues"}': "0+1x100"},
        {'longwave_scrape_errors_total{part="queues"}': "0x50 1x50"},
    ),
}


def firing(alert: str, at: str, count: int) -> dict[str, object]:
    """That so many alerts of this name fire then."""
    found = [{"labels": "{}", "value": count}] if count else []
    return {
        "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})',
        "eval_time": at,
        "exp_samples": found,
    }


def told(name: str, series: Series, *expected: dict[str, object]) -> dict[str, object]:
    inputs = [{"series": one, "values": values} for one, values in series.items()]
    return {"name": name, "interval": "1m", "input_series": inputs, "promql_expr_test": list(expected)}


def test_every_rule_has_a_case() -> None:
    assert CASES.keys() == {alert["alert"] for alert in ALERTS}


def test_rules_fire_after_a_while_and_not_when_all_is_well(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        databases.missing("promtool, of Prometheus, is not installed")
    tests = []
    for alert, (wrong, well) in CASES.items():
        tests.append(told(f"{alert} fires", wrong, firing(alert, AT, 1), firing(alert, EARLY, 0)))
        tests.append(told(f"{alert} does not", well, firing(alert, AT, 0)))
    cases = {"rule_files": [str(RULES)], "evaluation_interval": "30s", "tests": tests}
    file = tmp_path / "cases.yml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(cases))))
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
