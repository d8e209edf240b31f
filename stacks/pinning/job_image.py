"""Find the container image of jobs by digest: the user's image, the pinned image, or AWS's own image if it can run the jobs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..settings import StackSettings

__all__ = ["TAGGED", "by_digest", "job_image"]

TAGGED = re.compile(
    r"(?P<host>(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?)"
    r"/(?P<name>[a-z0-9._/-]+):(?P<tag>[\w][\w.-]{0,127})"
)
"""An image in ECR by tag. gpuyard can look up its digest."""
_IN_ARTIFACT_REGISTRY = re.compile(
    r"(?P<region>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>[a-z0-9.:-]+)/(?P<repository>[a-z0-9-]+)/(?P<name>[a-z0-9._/-]+)"
    r":(?P<tag>[\w][\w.-]{0,127})"
)
_IN_AZURE = re.compile(r"(?P<host>[a-z0-9]{5,50}\.azurecr\.io)/(?P<name>[a-z0-9._/-]+):(?P<tag>[\w][\w.-]{0,127})")
_DIGEST = re.compile(r"[^\s@]@sha256:[0-9a-f]{64}$")
_BUILD_ONE = "build one (images/README.md) and pin it with --job-image, or name an image in each job"


def job_image(settings: StackSettings, region: str, given: str | None) -> tuple[str | None, str | None]:
    """Return the image (by digest) for jobs that name no image, and a note for the user.

    `given` comes first, then the pinned image, then AWS's own image. None: no known image can run the jobs of all pools; the note says why.
    """
    from gpuyard.components.aws import job_images

    if given or settings.pins.job_image:
        return (by_digest(given) if given else settings.pins.job_image), None
    if settings.cloud != "aws":
        return None, f"no job image is pinned: {settings.cloud} has no image that can run jobs; {_BUILD_ONE}"
    wanted = {(spec.service, spec.row("aws").architecture) for spec in settings.pools.values() if spec.service != "vms"}
    for service, architecture in sorted(wanted):
        image = job_images.job_image(service, architecture)
        if image is None or image.lacks:
            why = f"lacks {image.lacks}" if image else f"for {architecture} is not known"
            return None, f"no job image is pinned: AWS's own for {service} {why}; {_BUILD_ONE}"
    images = (job_images.job_image(service, architecture) for service, architecture in wanted)
    found = {job_images.reference(image, region) for image in images if image}
    if len(found) != 1 or None in found:
        return None, f"no job image is pinned: AWS has no image for all pools in {region}; {_BUILD_ONE}" if wanted else None
    [tagged] = (each for each in found if each)
    return by_digest(tagged), f"the job image is AWS's own, {tagged}"


def by_digest(image: str, key: str = "--job-image") -> str:
    """Return the image by digest. Look up the current digest of a tag in a registry of AWS, Google or Azure.

    Raises UsageError for a tag in another registry.
    """
    from gpuyard.problems import Problem
    from gpuyard.training_jobs.errors import UsageError

    if _DIGEST.search(image):
        return image
    for pattern, look_up in ((TAGGED, _ecr), (_IN_ARTIFACT_REGISTRY, _artifact_registry), (_IN_AZURE, _azure_registry)):
        if tagged := pattern.fullmatch(image):
            return look_up(tagged)
    allowed = (
        "name@sha256:<64 hex digits>, ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG, REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME:TAG "
        "or REGISTRY.azurecr.io/NAME:TAG"
    )
    fix = f"`docker buildx imagetools inspect {image}` shows its digest"
    raise UsageError("the job image cannot be pinned", [Problem(key, "digest cannot be looked up", image, allowed, fix)])


def _ecr(tagged: re.Match[str]) -> str:
    from gpuyard.training_jobs.clouds.aws import aws_clients

    body = {"registryId": tagged["account"], "repositoryName": tagged["name"], "imageIds": [{"imageTag": tagged["tag"]}]}
    [found] = aws_clients(tagged["region"]).call("ecr", "describe_images", body)["imageDetails"]
    return f"{tagged['host']}/{tagged['name']}@{found['imageDigest']}"


def _artifact_registry(tagged: re.Match[str]) -> str:
    from urllib.parse import quote

    from gpuyard.training_jobs.clouds.gcp import gcp_clients

    repository = f"projects/{tagged['project']}/locations/{tagged['region']}/repositories/{tagged['repository']}"
    path = f"v1/{repository}/packages/{quote(tagged['name'], safe='')}/tags/{tagged['tag']}"
    found = gcp_clients(tagged["project"], tagged["region"]).read("artifactregistry", path)
    return f"{tagged[0].rpartition(':')[0]}@{found['version'].rpartition('/')[2]}"


def _azure_registry(tagged: re.Match[str]) -> str:
    """Return the tag's digest. Exchange an Entra token for a token of the registry, because the registry accepts no other.

    Source: github.com/Azure/acr/blob/main/docs/AAD-OAuth.md, read on 2026-12-01.
    """
    from gpuyard.training_jobs.clouds.azure import azure_clients
    from gpuyard.training_jobs.clouds.azure_credentials import default_credential

    base, azure = f"https://{tagged['host']}", azure_clients()
    entra = default_credential().get_token("https://containerregistry.azure.net/.default").token
    asked = {"grant_type": "access_token", "service": tagged["host"], "access_token": entra}
    refresh = azure.call("POST", f"{base}/oauth2/exchange", form=asked, audience=None).json()["refresh_token"]
    scope = f"repository:{tagged['name']}:metadata_read"
    wanted = {"grant_type": "refresh_token", "service": tagged["host"], "scope": scope, "refresh_token": refresh}
    token = azure.call("POST", f"{base}/oauth2/token", form=wanted, audience=None).json()["access_token"]
    path = f"{base}/acr/v1/{tagged['name']}/_tags/{tagged['tag']}"
    found = azure.call("GET", path, audience=None, headers={"Authorization": f"Bearer {token}"}).json()
    return f"{tagged[0].rpartition(':')[0]}@{found['tag']['digest']}"
