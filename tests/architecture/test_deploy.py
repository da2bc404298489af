"""Dashboard and alert rules ask for metrics and labels that there are, and each alert has its runbook."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler import metrics
from worker import metrics as worker_metrics
from worker import standing

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus-alerts.yml"
TRIALS = ROOT / "tests" / "support" / "alerts_test.yml"
DASHBOARD = ROOT / "deploy" / "grafana-dashboard.json"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
OF_PROMETHEUS = {"job", "instance"}
"""Labels that Prometheus gives to whatever it scrapes."""
WORDS = {
    *(
        "absent",
        "abs",
        "and",
        "by",
        "deriv",
        "histogram_quantile",
        "increase",
        "label_values",
        "max",
        "max_over_time",
    ),
    *("on", "or", "rate", "sum", "unless"),
}
"""Functions and operators of PromQL that the rules use."""
Exported = dict[str, set[str]]


def names_of(one: Any) -> list[str]:
    """Return the names under which Prometheus stores one metric of the library."""
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}[one._type]
    return [one._name + ending for ending in endings]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    """The labels of each metric a worker exports."""
    metrics.enable(tmp_path_factory.mktemp("metrics"))
    made = metrics._Process.instruments
    assert made is not None
    found: Exported = {}
    for one in made.all():
        for name in names_of(one):
            found[name] = {*one._labelnames, *(("le",) if name.endswith("_bucket") else ())}
    found[worker_metrics.ACTIVE] = {"phase"}
    found |= {name: set(labels) for name, (_, labels) in standing.GAUGES.items()}
    yield found
    metrics.disable()


def problems_of(query: str, exported: Exported) -> list[str]:
    """What a query asks for in vain: an unknown metric, a label none of its metrics has, a word we do not know."""
    bare = re.sub(r'"[^"]*"', '""', re.sub(r"\[[^\]]*\]", "", query))
    grouped = set(re.findall(r"\w+", " ".join(re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", bare))))
    outside = re.sub(r"\{[^}]*\}", "", re.sub(r"\b(by|on)\s*\([^)]*\)", r"\1", bare))
    words = set(re.findall(r"\b[A-Za-z_]\w*", outside)) - WORDS
    found = [f"no metric {word}" for word in words if word not in exported]
    for name, selectors in re.findall(r"(\w+)\{([^}]*)\}", bare):
        known = exported.get(name, set()) | OF_PROMETHEUS
        found += [
            f"{name} has no {label}" for label in re.findall(r"(\w+)\s*[=!]", selectors) if label not in known
        ]
    labels = set().union(*(exported.get(word, set()) for word in words)) | OF_PROMETHEUS
    return sorted([*found, *(f"no metric of it has {label}" for label in grouped - labels)])


def rules() -> list[dict[str, Any]]:
    """Return the alerts."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def queries() -> list[tuple[str, str]]:
    """Title and query of each panel, and of the variable."""
    board = json.loads(DASHBOARD.read_text())
    return [
        (panel["title"], target["expr"]) for panel in board["panels"] for target in panel.get("targets", ())
    ]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_is_about_metrics_that_exist(rule: dict[str, Any], exported: Exported) -> None:
    """Each metric and label of a rule is exported, and labels in its summary are left by its query."""
    assert problems_of(rule["expr"], exported) == []
    used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert used <= set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", rule["expr"]))))


def test_panels_ask_for_metrics_that_exist(exported: Exported) -> None:
    """Each metric and label of the dashboard is exported, and a legend shows labels that its query leaves."""
    assert len(queries()) > 30
    assert {title: found for title, query in queries() if (found := problems_of(query, exported))} == {}


@pytest.mark.parametrize(
    "query",
    [
        "max(reconciler_queue_wating)",
        'sum(rate(reconciler_attempts_total{end="returned"}[5m]))',
        "max by (que) (reconciler_queue_waiting)",
        "reconciler_attempt_duration_seconds > 3",
        "sum by (le) (rate(reconciler_step_due_lag_seconds_count[5m]))",
    ],
)
def test_wrong_queries_are_seen(query: str, exported: Exported) -> None:
    """A misspelt metric, a label it has not, and a histogram without its part are each seen."""
    assert problems_of(query, exported)


def test_each_alert_has_its_runbook() -> None:
    """A runbook is a section of docs/operations.md that says what it means, what to look at and what to do, in order."""
    sections = re.findall(r"^### (Reconciler\w+)\n\n(.*?)(?=^##)", OPERATIONS, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in sections] == [rule["alert"] for rule in rules()]
    for name, text in sections:
        assert re.search(r"\*\*Means\.\*\*.*\*\*Look at\*\*.*\*\*Do\b", text, re.DOTALL), name
    for rule in rules():
        assert rule["annotations"]["runbook_url"].endswith(f"/docs/operations.md#{rule['alert'].lower()}")
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}


def test_panels_do_not_overlap() -> None:
    """Each panel has a place of its own on the grid of 24 columns, an id, and says what it shows."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_each_alert_is_tried() -> None:
    """The unit tests for promtool have a case in which it fires."""
    text = TRIALS.read_text()
    assert [rule["alert"] for rule in rules() if f'alertname="{rule["alert"]}"' not in text] == []


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool of Prometheus is not installed here")
@pytest.mark.parametrize("what", [("check", "rules", str(RULES)), ("test", "rules", str(TRIALS))])
def test_prometheus_takes_the_rules(what: tuple[str, ...]) -> None:
    """The tool of Prometheus itself finds nothing wrong; each alert fires when it shall, and is quiet when all is well."""
    done = subprocess.run(["promtool", *what], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
