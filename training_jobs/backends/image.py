"""The container image of a run: one that nobody can change under it."""

from __future__ import annotations

import re

from ...problems import Problem
from ..errors import UsageError
from ..run import Run


def image_of(run: Run) -> str:
    """The image of a run: the job's own, by digest, or the target's. Raises UsageError with the line that pins it."""
    own, default = run.spec.image, run.target.default_image
    if own is not None and not re.search(r"@sha256:[0-9a-f]{64}$", own):
        fix = "pin it: gpuyard pin <job file>"
        raise UsageError(
            "the image can change under the job", [Problem("image", "not named by digest", own, "<name>@sha256:<digest>", fix)]
        )
    image = own or default
    if image is None:
        fix = "set image: in the job file and pin it: gpuyard pin <job file>; or set pins.job_image in the stack"
        raise UsageError("no image to run", [Problem("image", f"neither the job nor pool '{run.target.pool}' names one", fix=fix)])
    return image
