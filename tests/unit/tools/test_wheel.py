"""The wheel contains only the package gpuyard, with its data files and no other files of the checkout."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from hatchling.builders.wheel import WheelBuilder

CHECKOUT = Path(__file__).resolve().parents[3]


def test_the_contents_of_the_wheel() -> None:
    files = [PurePosixPath(file.distribution_path) for file in WheelBuilder(str(CHECKOUT)).recurse_included_files()]
    assert {file.parts[0] for file in files} == {"gpuyard"}
    on_disk = {
        path.relative_to(CHECKOUT).as_posix() for room in ("components", "training_jobs") for path in (CHECKOUT / room).rglob("*.py*")
    } | {path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "components" / "catalogue").glob("*.yaml")}
    on_disk |= {path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "stacks" / "templates").rglob("*.txt")}
    assert {str(file) for file in files} >= {f"gpuyard/{name}" for name in on_disk if "__pycache__" not in name}
    assert not [file for file in files if file.name.startswith("Pulumi.")]
