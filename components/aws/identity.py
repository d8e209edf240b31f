"""An IAM role with its permissions and trust policy, and an instance profile if machines use it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pulumi
import pulumi_aws as aws

from ...plain_data import PlainMapping
from ..base import Tags, after, refuse
from ..validation.submitters import subject_problems
from .account import Account, AwsComponent, look_up_account
from .policy import ArnScope, PolicyError, Statement, policy_document
from .trust import PEOPLE, Trust

__all__ = ["Identity", "as_text"]


class Identity(AwsComponent):
    """A role with one inline policy of named actions on named resources.

    The outputs are known only after the policy exists, so a resource that uses them never sees a role without permissions.
    """

    role_arn: pulumi.Output[str]
    role_name: pulumi.Output[str]
    instance_profile_arn: pulumi.Output[str] | None
    """None if machines do not use this role."""

    def __init__(
        self,
        name: str,
        *,
        trust: Trust,
        statements: pulumi.Input[Sequence[Statement]],
        managed: Sequence[str] = (),
        instance_profile: bool = False,
        account: Account | None = None,
        tags: Tags | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Create the role. `managed`: paths of AWS managed policies, such as `service-role/Name`, for services that need one.

        `account`: the account, if the caller already looked it up.
        """
        refuse(f"Identity {name}", subject_problems(trust.subjects, PEOPLE))
        props = {"trust": trust.service or list(trust.subjects), "managed": list(managed), "instance_profile": instance_profile}
        super().__init__("Identity", name, props, tags, opts)
        scope = (account or look_up_account(self)).arn_scope
        role = aws.iam.Role(
            self.child_name("role"),
            assume_role_policy=scope.apply(lambda known: as_text(f"Identity {name}", lambda: trust.document(known))),
            tags=self.aws_tags("role"),
            opts=self.child_options(),
        )
        policy = aws.iam.RolePolicy(
            self.child_name("policy"),
            role=role.name,
            policy=pulumi.Output.from_input(statements).apply(lambda known: as_text(f"Identity {name}", lambda: policy_document(known))),
            opts=self.child_options(),
        )
        parts = [policy.id, *(self._attach(role, path, scope) for path in managed)]
        self.role_arn, self.role_name = after(role.arn, parts), after(role.name, parts)
        self.instance_profile_arn = self._profile(parts) if instance_profile else None
        outputs = {"role_arn": self.role_arn, "role_name": self.role_name, "instance_profile_arn": self.instance_profile_arn}
        self.register_outputs(outputs)

    def _attach(self, role: aws.iam.Role, path: str, scope: pulumi.Output[ArnScope]) -> pulumi.Output[str]:
        attachment = aws.iam.RolePolicyAttachment(
            self.child_name(path.rpartition("/")[2]),
            role=role.name,
            policy_arn=scope.apply(lambda known: f"arn:{known.partition}:iam::aws:policy/{path}"),
            opts=self.child_options(),
        )
        return pulumi.Output.from_input(attachment.id)

    def _profile(self, parts: Sequence[pulumi.Output[str]]) -> pulumi.Output[str]:
        profile = aws.iam.InstanceProfile(
            self.child_name("profile"), role=self.role_name, tags=self.aws_tags("profile"), opts=self.child_options()
        )
        return after(profile.arn, parts)


def as_text(subject: str, document: Callable[[], PlainMapping]) -> str:
    """Return a policy as JSON. Raises pulumi.RunError, without a traceback, if the policy is invalid, for example too long."""
    try:
        return json.dumps(document())
    except PolicyError as error:
        # not `refuse`, which says that nothing was changed: in an `up`, ids become known after some resources exist
        raise pulumi.RunError(f"{subject}: its policy is not valid: {error}") from None
