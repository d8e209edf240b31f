"""Mail about a yard's jobs, stopped pools and idle machines: alert policies, a notification channel for each address, a Pub/Sub topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
from pulumi_gcp import monitoring, pubsub

from ...plain_data import PlainDict
from ..base import this_stack
from ..notify_base import NotifyBase, mail_suffix
from ..spec import NotifySpec
from .gpu_pool import GpuPool
from .job_service import JobService
from .labels import STACK_LABEL, label_value
from .project import GcpComponent, ProjectLookup
from .replacement_limit import stop_filter

__all__ = ["Notify", "job_filter", "run_extractor"]

# It publishes to the topic, and Google makes it with the first Pub/Sub channel: cloud.google.com/monitoring/support/notification-options
_PUBLISHER = "serviceAccount:service-{number}@gcp-sa-monitoring-notification.iam.gserviceaccount.com"
_RATE_S = 300  # at most one mail of a policy in this time, the shortest that log conditions accept
_IDLE: PlainDict = {
    "comparison": "COMPARISON_LT",
    "threshold_value": 0.05,
    "duration": "3600s",
    "aggregations": [{"alignment_period": "300s", "per_series_aligner": "ALIGN_MAX", "cross_series_reducer": "REDUCE_MAX"}],
}
"""Machines are idle if all of them use less than 5 % CPU for an hour."""
_ENDS: Mapping[str, str] = {"failed": "a job failed", "stopped": "a job stopped and can be resumed"}


class Notify(NotifyBase[JobService, GpuPool], GcpComponent):
    """Mail about jobs that are `failed` or `stopped` (resumable), about pools that stopped (`blocked`), and about `idle` machines.

    A job counts as failed if one of its nodes reports it in its log. A job whose container never starts is not reported. `idle` means that
    all machines of a `vms` pool use less than 5 % CPU for an hour. The same messages go to a Pub/Sub topic, for other receivers.
    """

    topic_id: pulumi.Output[str]
    """projects/P/topics/NAME, for further subscriptions."""

    _output_names = ("topic_id",)

    def _make(self, spec: NotifySpec, jobs: JobService, pools: Sequence[GpuPool]) -> None:
        """Make the channels and alert policies."""
        self._channels = [self._mail(address) for address in spec.email]
        self.topic_id = self._publish()
        if jobs.has_jobs:
            for event in spec.on:
                if event in _ENDS:
                    self._alert_about_jobs(event, jobs)
        workflows = [pool.workflow_id for pool in pools if pool.workflow_id is not None]
        if "blocked" in spec.on and workflows:
            self._alert_about_stops(workflows)
        if "idle" in spec.on:
            for pool in pools:
                if pool.spec.service == "vms":
                    self._alert_about_idle_machines(pool)

    def _mail(self, address: str) -> pulumi.Output[str]:
        return pulumi.Output.from_input(self._channel(mail_suffix(address), "email", {"email_address": address}).id)

    def _publish(self) -> pulumi.Output[str]:
        """Make the topic and its channel. Return the topic's id."""
        topic = pubsub.Topic(self.child_name("topic"), labels=self.gcp_labels("topic"), opts=self.child_options())
        channel = self._channel("topic", "pubsub", {"topic": topic.id})
        number = ProjectLookup(self).number
        pubsub.TopicIAMMember(
            self.child_name("publisher"),
            topic=topic.id,
            role="roles/pubsub.publisher",
            member=number.apply(lambda known: _PUBLISHER.format(number=known)),
            opts=self.child_options(depends_on=[channel]),
        )
        self._channels.append(channel.id)
        return pulumi.Output.from_input(topic.id)

    def _channel(self, suffix: str, kind: str, labels: PlainDict) -> monitoring.NotificationChannel:
        return monitoring.NotificationChannel(
            self.child_name(suffix),
            type=kind,
            display_name=f"{self.child_name(suffix)} of {this_stack()}",
            labels=labels,
            user_labels=self.gcp_labels(suffix),
            opts=self.child_options(),
        )

    def _alert_about_jobs(self, event: str, jobs: JobService) -> None:
        condition = {"filter": jobs.run_url.apply(lambda url: job_filter(url, event)), "label_extractors": run_extractor()}
        text = f"{_ENDS[event]}: ${{log.extracted_label.run}}; type `gpuyard status ${{log.extracted_label.run}}`"
        self._policy(event, _ENDS[event], {"condition_matched_log": condition}, text)

    def _alert_about_stops(self, workflows: Sequence[pulumi.Output[str]]) -> None:
        found = pulumi.Output.all(*workflows).apply(stop_filter)
        extractors = {"message": "EXTRACT(textPayload)"}
        condition = {"condition_matched_log": {"filter": found, "label_extractors": extractors}}
        self._policy("blocked", "a pool has stopped", condition, "${log.extracted_label.message}")

    def _alert_about_idle_machines(self, pool: GpuPool) -> None:
        labels = {STACK_LABEL: label_value(this_stack()), "name": label_value(pool.child_name("node"))}
        metric = 'metric.type="compute.googleapis.com/instance/cpu/utilization" AND resource.type="gce_instance"'
        chosen = " AND ".join([metric, *(f'metadata.user_labels.{key}="{value}"' for key, value in labels.items())])
        text = f"machines of pool {pool.logical_name} run and do nothing"
        self._policy(f"{pool.logical_name}-idle", text, {"condition_threshold": {**_IDLE, "filter": chosen}}, text)

    def _policy(self, suffix: str, title: str, condition: PlainDict, text: str) -> None:
        """Make an alert policy that sends `text` to every channel."""
        is_log = "condition_matched_log" in condition
        limit = {"alert_strategy": {"notification_rate_limit": {"period": f"{_RATE_S}s"}}} if is_log else {}
        monitoring.AlertPolicy(
            self.child_name(suffix),
            display_name=f"gpuyard {this_stack()}: {title}",
            combiner="OR",
            conditions=[{"display_name": title, **condition}],
            documentation={"subject": f"gpuyard {this_stack()}: {title}", "content": text, "mime_type": "text/markdown"},
            notification_channels=self._channels,
            user_labels=self.gcp_labels(suffix),
            opts=self.child_options(),
            **limit,
        )


def job_filter(run_bucket: str, event: str) -> str:
    """Return the filter of Cloud Logging for the line with which a node reports its end (training_jobs/launch/node_description.py).

    `run_bucket`: the run bucket's URL, so that other yards of the project do not match. `event`: failed or stopped.
    """
    line = f"^gpuyard: {run_bucket}/gpuyard/runs/[^ ]+ {event} with exit code "
    return f'resource.type="ml_job" AND jsonPayload.message=~"{line}"'


def run_extractor() -> dict[str, str]:
    """Return the extractor of the run's name for the mail: cloud.google.com/logging/docs/alerting/log-based-alerts, read on 2026-12-01."""
    return {"run": 'REGEXP_EXTRACT(jsonPayload.message, "/gpuyard/runs/([^ ]+) ")'}
