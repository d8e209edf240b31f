"""The EC2 launch template of a pool: image, disk, network cards, role, metadata service, boot script, capacity."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, NamedTuple

import pulumi
import pulumi_aws as aws

from ...plain_data import PlainDict
from .. import catalogue
from ..boot import Boot, boot_script, multipart
from ..spec.capacity import CapacityBlock, Reservation
from ..spec.pool import GpuPoolSpec
from .identity import Identity
from .images import AMAZON_LINUX_ROOT, image_parameter
from .nics import batch_nic_layout, network_interfaces, nic_layout

if TYPE_CHECKING:
    from .gpu_pool import GpuPool

__all__ = ["PreparedMachines", "boot_of", "capacity_options", "prepare_batch_machines", "prepare_group_machines", "root_disk", "user_data"]

_LOCAL_DISKS = "/dev/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_*"
_TAGGED = ("instance", "volume", "network-interface")


class PreparedMachines(NamedTuple):
    """The launch template of a pool, its machine image and its placement group."""

    template: aws.ec2.LaunchTemplate
    image: pulumi.Output[str]
    """Id of the machine image."""
    placement: pulumi.Input[str] | None
    """Name of the placement group."""


def prepare_batch_machines(pool: GpuPool) -> PreparedMachines:
    """Make the launch template and the placement group of a `batch` pool. Its compute environment sets image, machine type and role."""
    image, root_device = _image(pool)
    placement = _placement_group(pool)
    cards = network_interfaces(batch_nic_layout(pool.machine), pool.security_group_id)
    interfaces = {"network_interfaces": cards} if cards else {}  # without, the compute environment has the security group
    template = _launch_template(pool, root_device, user_data(boot_of(pool.machine, "batch")), **interfaces)
    return PreparedMachines(template, image, placement)


def prepare_group_machines(pool: GpuPool, role: Identity, log_group: pulumi.Output[str]) -> PreparedMachines:
    """Make the launch template and the placement group of a `vms` pool, whose containers log to `log_group`."""
    image, root_device = _image(pool)
    placement = _placement_group(pool)
    data = log_group.apply(lambda group: user_data(boot_of(pool.machine, "vms", group)))
    template = _launch_template(
        pool,
        root_device,
        data,
        image_id=image,
        instance_type=pool.machine.name,
        iam_instance_profile={"arn": role.instance_profile_arn},
        network_interfaces=network_interfaces(nic_layout(pool.machine), pool.security_group_id),
        **({"placement": {"group_name": placement}} if placement else {}),
    )
    return PreparedMachines(template, image, placement)


def boot_of(row: catalogue.Machine, service: str, log_group: str = "") -> Boot:
    """Return the settings of a machine's boot script."""
    return Boot(
        gpus=row.gpus,
        fast_nics=row.fast_nics,
        nic_driver="efa" if row.fast_nics else "",
        disks=_LOCAL_DISKS if row.local_nvme_gb else "",
        # the Deep Learning images mount the local disks there: docs.aws.amazon.com/dlami/latest/devguide/overview-base.html
        image_mount="/opt/dlami/nvme",
        image_unit="dlami-nvme.service",
        containers="required" if service == "batch" else "optional",
        log_driver="awslogs" if log_group else "",
        log_options={"awslogs-group": log_group, "mode": "non-blocking"} if log_group else {},
    )


def user_data(boot: Boot) -> str:
    """Return the boot script as EC2 user data: base64 of a multipart text, because Batch adds another part."""
    return base64.b64encode(multipart(boot_script(boot)).encode("ascii")).decode("ascii")


def root_disk(spec: GpuPoolSpec, device: pulumi.Input[str]) -> PlainDict:
    """Return an encrypted gp3 disk under the account's default key. The provider requires booleans as strings."""
    size = {"volume_type": "gp3", "volume_size": spec.root_disk_gib, "iops": 3000, "throughput": 500}
    ebs = {**size, "encrypted": "true", "delete_on_termination": "true"}
    return {"device_name": device, "ebs": ebs}


def capacity_options(spec: GpuPoolSpec) -> PlainDict:
    """Return the options that limit the pool to its reservation or capacity block. On-demand and spot pools have none."""
    if not isinstance(spec.capacity, Reservation | CapacityBlock):
        return {}
    target = {"capacity_reservation_id": spec.capacity.reservation}
    only = {"capacity_reservation_preference": "capacity-reservations-only", "capacity_reservation_target": target}
    block = {"instance_market_options": {"market_type": "capacity-block"}} if isinstance(spec.capacity, CapacityBlock) else {}
    return {"capacity_reservation_specification": only, **block}


def _image(pool: GpuPool) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
    """Return the id and the root device of the pool's image, by default of AWS's newest image.

    The root device is looked up, because a wrong device name would add a second disk and leave the root disk unencrypted.
    """
    opts = pulumi.InvokeOptions(parent=pool)
    if pool.spec.image is not None:
        by_id = [{"name": "image-id", "values": [pool.spec.image]}]
        found = aws.ec2.get_ami_output(filters=by_id, include_deprecated=True, opts=opts)
        return pulumi.Output.from_input(pool.spec.image), found.apply(lambda image: str(image.root_device_name))
    parameter = aws.ssm.get_parameter_output(name=image_parameter(pool.spec.service, pool.machine.architecture), opts=opts)
    # `value` would be a secret, because the provider marks every parameter's value as one
    return parameter.apply(lambda known: str(known.insecure_value)), pulumi.Output.from_input(AMAZON_LINUX_ROOT)


def _placement_group(pool: GpuPool) -> pulumi.Input[str] | None:
    """Return the name of the machines' placement group: a new cluster placement group for machines with EFA, else None.

    A pool of one node has a placement group too: if a later change of `max_nodes` added one, Batch would replace the environment and
    terminate its jobs.

    A capacity block needs no placement group, because its machines are close to each other anyway. A reservation needs the placement group
    in which it was created; the spec names it.
    """
    if isinstance(pool.spec.capacity, Reservation):
        return pool.spec.capacity.placement_group
    if not pool.machine.fast_nics or pool.spec.mode == "capacity_block":
        return None
    group = aws.ec2.PlacementGroup(
        pool.child_name("placement"), strategy="cluster", tags=pool.aws_tags("placement"), opts=pool.child_options()
    )
    return pulumi.Output.from_input(group.name)


def _launch_template(pool: GpuPool, root_device: pulumi.Input[str], data: pulumi.Input[str], **more: Any) -> aws.ec2.LaunchTemplate:
    """Make the template. Machines do not get the tag `expires`: a new date would change the template, and Batch would replace machines."""
    machine_tags = {key: value for key, value in pool.aws_tags("node").items() if key != "expires"}
    return aws.ec2.LaunchTemplate(
        pool.child_name("template"),
        block_device_mappings=[root_disk(pool.spec, root_device)],
        metadata_options={
            "http_endpoint": "enabled",
            "http_tokens": "required",
            "http_put_response_hop_limit": 1,  # containers that need credentials use the host's network or get them from the ECS agent
            "instance_metadata_tags": "disabled",
        },
        instance_initiated_shutdown_behavior="terminate",  # the boot script shuts an unhealthy machine down, which must terminate it
        tag_specifications=[{"resource_type": kind, "tags": machine_tags} for kind in _TAGGED],
        update_default_version=True,
        user_data=data,
        tags=pool.aws_tags("template"),
        opts=pool.child_options(),
        **capacity_options(pool.spec),
        **more,
    )
