"""An identity: a role, what it may do, who may take it; with an instance profile where machines take it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

from ..base import Tags, after, refuse
from ..validation.submitters import subject_problems
from .account import Account, AwsComponent, account
from .policy import Place, PolicyError, Statement, policy_document
from .trust import Trust


class Identity(AwsComponent):
    """A role with one inline policy of named actions on named resources.

    The outputs are known once the policy is in place, so whoever uses them finds a role that works.
    """

    role_arn: pulumi.Output[str]
    role_name: pulumi.Output[str]
    instance_profile_arn: pulumi.Output[str] | None
    """None: machines do not take this role."""

    def __init__(
        self,
        name: str,
        *,
        trust: Trust,
        statements: pulumi.Input[Sequence[Statement]],
        managed: Sequence[str] = (),
        instance_profile: bool = False,
        where: Account | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Make the role. `managed`: policies of AWS by path, `service-role/Name`, where no narrower policy of ours can do.

        `where` spares the look-up of the account to a caller that has done it.
        """
        refuse(f"Identity {name}", subject_problems(trust.subjects))
        props = {"trust": trust.service or list(trust.subjects), "managed": list(managed), "instance_profile": instance_profile}
        super().__init__("Identity", name, props, tags, opts)
        place = (where or account(self)).place
        role = aws.iam.Role(
            self.child_name("role"),
            assume_role_policy=place.apply(lambda known: as_text(f"Identity {name}", lambda: trust.document(known))),
            tags=self.aws_tags("role"),
            opts=self.child_options(),
        )
        policy = aws.iam.RolePolicy(
            self.child_name("policy"),
            role=role.name,
            policy=pulumi.Output.from_input(statements).apply(lambda known: as_text(f"Identity {name}", lambda: policy_document(known))),
            opts=self.child_options(),
        )
        parts = [policy.id, *(self._attach(role, path, place) for path in managed)]
        self.role_arn, self.role_name = after(role.arn, parts), after(role.name, parts)
        self.instance_profile_arn = self._profile(parts) if instance_profile else None
        outputs = {"role_arn": self.role_arn, "role_name": self.role_name, "instance_profile_arn": self.instance_profile_arn}
        self.register_outputs(outputs)

    def _attach(self, role: aws.iam.Role, path: str, place: pulumi.Output[Place]) -> pulumi.Output[str]:
        attachment = aws.iam.RolePolicyAttachment(
            self.child_name(path.rpartition("/")[2]),
            role=role.name,
            policy_arn=place.apply(lambda known: f"arn:{known.partition}:iam::aws:policy/{path}"),
            opts=self.child_options(),
        )
        return pulumi.Output.from_input(attachment.id)

    def _profile(self, parts: Sequence[pulumi.Output[str]]) -> pulumi.Output[str]:
        profile = aws.iam.InstanceProfile(
            self.child_name("profile"), role=self.role_name, tags=self.aws_tags("profile"), opts=self.child_options()
        )
        return after(profile.arn, parts)


def as_text(subject: str, document: Callable[[], Mapping[str, Any]]) -> str:
    """A policy as IAM takes it. One that cannot be made, such as one that is too long, ends the program without a traceback."""
    try:
        return json.dumps(document())
    except PolicyError as error:
        # not `refuse`, which says that nothing was changed: in an `up` ids become known when some things are there already
        raise pulumi.RunError(f"{subject}: its policy cannot be made: {error}") from None
