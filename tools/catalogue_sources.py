"""Compare the catalogue with its sources: `python -m tools.catalogue_sources FOLDER` writes tools/catalogue_sources.txt, which is kept.

FOLDER holds git repositories with the commits of SOURCES, such as clones. Each figure of a machine gets a line: ok, DIFFERS, or the reason
why it was not compared. A test fails for a figure without a line, and for a line that DIFFERS.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from gpuyard.components import catalogue

__all__ = ["NOT_COMPARED", "OUTPUT", "SOURCES", "Figure", "figures", "main"]

OUTPUT = Path(__file__).with_name("catalogue_sources.txt")
_AZURE, _AWS, _GCP = (
    "Azure/karpenter-provider-azure@352646f",
    "aws/karpenter-provider-aws@1d92708",
    "cloudpilot-ai/karpenter-provider-gcp@417f047",
)
_GO_MAP = re.compile(r'"(?P<name>[\w.-]+)": +(?P<usd>[0-9.]+),')
NOT_COMPARED: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("aws", "regions"): "the catalogue of skypilot is a repository of 1.8 GB, read page by page",
        ("azure", "quotas"): "read by hand",
        ("gcp", "ultra"): "the catalogue of skypilot is a repository of 1.8 GB, read page by page",
    }
)
"""Source of prices -> why the script does not read it."""


class Figure(NamedTuple):
    """One figure of the catalogue: a price in a region, a quota code, or a size."""

    cloud: str
    machine: str
    what: str
    value: str
    source: str
    """Key in the catalogue's sources."""

    def __str__(self) -> str:
        return f"{self.cloud} {self.machine} {self.what} {self.value}"


class Source(NamedTuple):
    """A file that states figures."""

    repository: str
    """OWNER/NAME@COMMIT."""
    path: str
    read: Callable[[str], Mapping[tuple[str, str], str]]
    """Function that returns (machine in lower case, what) -> value from the file's text."""


def figures() -> Iterator[Figure]:
    """Yield each machine's figures that its sources state in a form that a script can read."""
    for cloud in catalogue.clouds():
        for row in catalogue.table(cloud).machines.values():
            for region, rates in sorted(row.prices.items()):
                yield from (
                    Figure(cloud, row.name, f"{mode}@{region}", _number(rate.usd_per_hour), rate.source) for mode, rate in rates.items()
                )
            if cloud == "azure":
                yield Figure(cloud, row.name, "family", str(row.quotas["on_demand"].code), "quotas")
            if cloud == "aws":
                sizes = {
                    "gpus": row.gpus,
                    "vcpus": row.vcpus,
                    "memory": row.memory_gib,
                    "nvme": row.local_nvme_gb,
                    "gbps": row.network_gbps,
                }
                yield from (
                    Figure(cloud, row.name, what, _number(value), "specs") for what, value in {**sizes, "efa": row.fast_nics}.items()
                )


def _number(value: float | None) -> str:
    return "none" if not value else f"{round(value, 3):.10g}"


def _azure_prices(text: str) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for part in text.split('initialOnDemandPrices["')[1:]:
        region = part.partition('"')[0]
        found |= {(each["name"].lower(), f"on_demand@{region}"): _number(float(each["usd"])) for each in _GO_MAP.finditer(part)}
    return found


def _aws_prices(text: str) -> dict[tuple[str, str], str]:
    return {(each["name"], "on_demand@us-east-1"): _number(float(each["usd"])) for each in _GO_MAP.finditer(text)}


def _gcp_prices(text: str) -> dict[tuple[str, str], str]:
    prices = json.loads(text)["prices"]
    return {(name, f"on_demand@{region}"): _number(usd) for region, modes in prices.items() for name, usd in modes["on_demand"].items()}


_LABELS = {
    "gpu-count": ("gpus", 1),
    "cpu": ("vcpus", 1),
    "memory": ("memory", 1024),
    "local-nvme": ("nvme", 1),
    "network-bandwidth": ("gbps", 1000),
}


def _aws_sizes(text: str) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for part in text.split("\n### `")[1:]:
        name = part.partition("`")[0]
        found |= {(name, "efa"): "none", (name, "nvme"): "none"}
        for label, number in re.findall(r"instance-([a-z-]+)\|(\d+)\|", part):
            if label in _LABELS:
                what, unit = _LABELS[label]
                found[name, what] = _number(int(number) / unit)
        if cards := re.search(r"amazonaws\.com/efa\|(\d+)\|", part):
            found[name, "efa"] = cards[1]
    return found


SOURCES: Mapping[tuple[str, str], Source] = MappingProxyType(
    {
        ("azure", "list"): Source(_AZURE, "pkg/providers/pricing/zz_generated.pricing.go", _azure_prices),
        ("aws", "list"): Source(_AWS, "pkg/providers/pricing/zz_generated.pricing_aws.go", _aws_prices),
        ("aws", "specs"): Source(_AWS, "website/content/en/preview/reference/instance-types.md", _aws_sizes),
        ("gcp", "list"): Source(_GCP, "pkg/providers/pricing/initial-prices.json", _gcp_prices),
    }
)
"""(cloud, key in its sources) -> the file with the figures."""


def main(folder: Path) -> int:
    """Write the comparison. Returns 1 if a figure differs from its source."""
    known = {key: source.read(_text(folder, source)) for key, source in SOURCES.items()}
    lines = []
    for figure in figures():
        key = (figure.cloud, figure.source)
        if key not in SOURCES:
            lines.append(f"{figure}: {NOT_COMPARED[key]}")
            continue
        stated = known[key].get((figure.machine.lower(), figure.what), "nothing")
        lines.append(f"{figure}: {'ok' if stated == figure.value else f'DIFFERS, the source states {stated}'}")
    heads = [f"# {cloud} {key}: {source.repository} {source.path}" for (cloud, key), source in SOURCES.items()]
    OUTPUT.write_text("\n".join(["# Written by tools/catalogue_sources.py", *heads, *lines]) + "\n", encoding="utf-8")
    wrong = [line for line in lines if "DIFFERS" in line]
    print("\n".join([*wrong, f"{len(lines)} figures, {len(wrong)} differ"]))
    return 1 if wrong else 0


def _text(folder: Path, source: Source) -> str:
    repository, _, commit = source.repository.partition("@")
    git = next(path for path in sorted(folder.rglob("*")) if repository.replace("/", "+") in str(path) and (path / "HEAD").is_file())
    return subprocess.run(["git", "-C", str(git), "show", f"{commit}:{source.path}"], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
