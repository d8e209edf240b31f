"""What every machine of a pool is launched with: image, disk, cards, role, metadata service, boot script, where its capacity comes from."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_aws as aws

from .. import catalogue
from ..boot import Boot, boot_script, multipart
from ..spec.pool import CapacityBlock, GpuPoolSpec, Reservation
from .account import AwsComponent
from .images import AMAZON_LINUX_ROOT, image_parameter
from .nics import network_interfaces

_LOCAL_DISKS = "/dev/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_*"
_TAGGED = ("instance", "volume", "network-interface")


def boot_of(row: catalogue.Machine, service: str, log_group: str = "") -> Boot:
    """What the boot script of a machine is told."""
    return Boot(
        gpus=row.gpus,
        fast_nics=row.fast_nics,
        nic_driver="efa" if row.fast_nics else "",
        disks=_LOCAL_DISKS if row.local_nvme_gb else "",
        # the Deep Learning images do so: docs.aws.amazon.com/dlami/latest/devguide/overview-base.html
        image_mount="/opt/dlami/nvme",
        image_unit="dlami-nvme.service",
        containers="required" if service == "batch" else "optional",
        log_driver="awslogs" if log_group else "",
        log_options={"awslogs-group": log_group, "mode": "non-blocking"} if log_group else {},
    )


def user_data(boot: Boot) -> str:
    """The boot script as EC2 takes it: multi-part, because Batch adds a part of its own, in base64."""
    return base64.b64encode(multipart(boot_script(boot)).encode("ascii")).decode("ascii")


def image_of(pool: AwsComponent, spec: GpuPoolSpec) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
    """The id of a pool's image and its root device: of the one it names (looked up), else of the newest that AWS has today.

    A wrong root device would add a second disk and leave the first as the image has it, not encrypted: so it is asked, not guessed.
    """
    opts = pulumi.InvokeOptions(parent=pool)
    if spec.image is not None:
        by_id = [{"name": "image-id", "values": [spec.image]}]
        found = aws.ec2.get_ami_output(filters=by_id, include_deprecated=True, opts=opts)
        return pulumi.Output.from_input(spec.image), found.apply(lambda image: str(image.root_device_name))
    parameter = aws.ssm.get_parameter_output(name=image_parameter(spec.service, spec.row("aws").architecture), opts=opts)
    # not a secret, though the provider marks every parameter's value as one
    return parameter.apply(lambda known: str(known.insecure_value)), pulumi.Output.from_input(AMAZON_LINUX_ROOT)


def root_disk(spec: GpuPoolSpec, device: pulumi.Input[str]) -> dict[str, Any]:
    """An encrypted gp3 disk under the account's default key, fast enough to unpack images. Texts, where the provider wants texts."""
    size = {"volume_type": "gp3", "volume_size": spec.root_disk_gib, "iops": 3000, "throughput": 500}
    ebs = {**size, "encrypted": "true", "delete_on_termination": "true"}
    return {"device_name": device, "ebs": ebs}


def bought(spec: GpuPoolSpec) -> dict[str, Any]:
    """Where the machines come from: a reservation and nothing but it, or the open market. Spot is said by what launches, not here."""
    if not isinstance(spec.capacity, Reservation | CapacityBlock):
        return {}
    target = {"capacity_reservation_id": spec.capacity.reservation}
    only = {"capacity_reservation_preference": "capacity-reservations-only", "capacity_reservation_target": target}
    block = {"instance_market_options": {"market_type": "capacity-block"}} if isinstance(spec.capacity, CapacityBlock) else {}
    return {"capacity_reservation_specification": only, **block}


def placement_group(pool: AwsComponent, spec: GpuPoolSpec, row: catalogue.Machine) -> aws.ec2.PlacementGroup | None:
    """One switch away from each other, where nodes talk over EFA. Also for a pool of one node: Batch replaces an environment, and ends its
    jobs, when a placement group comes or goes, so a second node must not bring one.

    Not for a block, whose machines are together anyway, and not for a reservation: EC2 gives a reservation's machines only to the
    placement group it was made in, and this one is ours.
    """
    if not row.fast_nics or spec.mode in ("reservation", "capacity_block"):
        return None
    return aws.ec2.PlacementGroup(
        pool.child_name("placement"), strategy="cluster", tags=pool.aws_tags("placement"), opts=pool.child_options()
    )


def launch_template(
    pool: AwsComponent,
    spec: GpuPoolSpec,
    row: catalogue.Machine,
    *,
    root_device: pulumi.Input[str],
    security_group_id: pulumi.Input[str],
    user_data: pulumi.Input[str],
    more: Mapping[str, Any],
) -> aws.ec2.LaunchTemplate:
    """The template. `more`: what one service says here and another elsewhere.

    The tags of the machines leave `expires` out: a new date would be a new template, and Batch replaces machines for that.
    """
    machine_tags = {key: value for key, value in pool.aws_tags("node").items() if key != "expires"}
    return aws.ec2.LaunchTemplate(
        pool.child_name("template"),
        block_device_mappings=[root_disk(spec, root_device)],
        network_interfaces=network_interfaces(row, security_group_id),
        metadata_options={
            "http_endpoint": "enabled",
            "http_tokens": "required",
            "http_put_response_hop_limit": 1,  # containers that need it share the host's network, or have credentials from their agent
            "instance_metadata_tags": "disabled",
        },
        instance_initiated_shutdown_behavior="terminate",  # how the boot script gives a machine back
        tag_specifications=[{"resource_type": kind, "tags": machine_tags} for kind in _TAGGED],
        update_default_version=True,
        user_data=user_data,
        tags=pool.aws_tags("template"),
        opts=pool.child_options(),
        **bought(spec),
        **more,
    )
