"""The Mermaid flowchart of a yard: its groups and arrows, and names that Mermaid would interpret."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

from gpuyard.components.planning import render
from gpuyard.components.planning.diagram import diagram
from gpuyard.components.planning.plan import make_plan
from tests.helpers.mermaid import labels, pictures

from .conftest import L4, Fake, MakeYard, dev, make_bucket, make_jobs, make_pool

NOW = datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC)
LINE = re.compile(r'flowchart LR|  subgraph \w+\["[\w .,:/()+#;-]+"\]|    n\d+\["[\w .,:/()+#;-]+"\]|  end|  n\d+ --> n\d+')


def roles() -> None:
    make_pool("l4", L4)
    make_pool("l4-spot", {**L4, "max_nodes": 1, "capacity": "spot"})
    make_bucket()
    make_jobs(pools=["l4", "l4-spot", "elsewhere"])
    Fake("Identity", "l4-spot-node", {"trust": "ec2.amazonaws.com"})


def test_the_groups_and_arrows_of_a_yard(yard: MakeYard) -> None:
    assert diagram(make_plan(yard(roles), NOW)) == [
        "flowchart LR",
        '  subgraph GpuPool["pools"]',
        '    n0["l4: 0..2 g6.12xlarge, us-east-1a, batch, on demand"]',
        '    n1["l4-spot: 0..1 g6.12xlarge, us-east-1a, batch, spot"]',
        "  end",
        '  subgraph JobService["job services"]',
        '    n2["train: jobs from people and 0 pipelines"]',
        "  end",
        '  subgraph Bucket["buckets"]',
        '    n3["runs: s3, encrypted, versioned, on_destroy delete"]',
        "  end",
        '  subgraph Identity["roles"]',
        '    n4["l4-spot-node: for ec2.amazonaws.com"]',
        "  end",
        "  n2 --> n0",
        "  n2 --> n1",
        "  n4 --> n1",
    ]


def test_markdown_has_the_diagram_in_a_fence(yard: MakeYard) -> None:
    plan = make_plan(yard(dev), NOW)
    assert "\n```mermaid\n" + "\n".join(diagram(plan)) + "\n```\n" in render.markdown(plan)
    assert "mermaid" not in render.markdown(make_plan(yard(lambda: None), NOW))


def test_text_that_mermaid_html_or_a_fence_would_interpret_is_escaped(yard: MakeYard) -> None:
    def program() -> None:
        make_pool("l4", L4)
        Fake("Network", "net", {"zones": [], "cidr": 'x"]\n```<img src=x>%%{init}%% click n0 #quot;'})

    lines = diagram(make_plan(yard(program), NOW))
    assert [line for line in lines if not LINE.fullmatch(line)] == []


def test_mermaid_draws_every_name_in_a_browser(yard: MakeYard, tmp_path: Path) -> None:
    """The stock stacks' kinds, and a label full of Mermaid's, HTML's and Markdown's own characters."""

    def hostile() -> None:
        make_pool("l4", L4)
        Fake("Network", "net", {"zones": [], "cidr": 'x"]\n```<img src=x>%%{init}%% click n0 #quot; &amp; end'})

    plans = [make_plan(yard(program), NOW) for program in (roles, dev, hostile)]
    drawn = pictures(["\n".join(diagram(plan)) for plan in plans], tmp_path)
    assert [svg[:5] for svg in drawn] == ["<svg "] * 3, drawn
    assert {"pools", "l4-spot: 0..1 g6.12xlarge, us-east-1a, batch, spot", "l4-spot-node: for ec2.amazonaws.com"} <= set(labels(drawn[0]))
    assert (drawn[0].count('marker-end="'), "<img" in drawn[2]) == (3, False)
