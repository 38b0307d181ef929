"""Trials: who is told when that one ends, and what happens when it does."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from ifarm.audit import writes
from ifarm.core.actors import Role
from ifarm.core.context import unit_of_work
from ifarm.core.events import record_event
from ifarm.notifications.services import NotificationService
from ifarm.notifications.words import Channel
from ifarm.permissions.models import Membership
from ifarm.permissions.services import job_actor
from ifarm.subscriptions.lifecycle import begin, begin_trial, end, zone_of_tenant
from ifarm.subscriptions.models import Subscription, TrialNotice
from ifarm.subscriptions.words import SubscriptionStatus

MILESTONES: Final = (0, 1, 3)
"""Days before the end at which the owners are told, once each."""

_WORDS: Final = {
    0: "Your trial of iFarm ends today",
    1: "Your trial of iFarm ends tomorrow",
    3: "Your trial of iFarm ends within three days",
}


def check_trial(tenant_id: UUID, now: datetime) -> int | None:
    """Begin the trial of a new tenant, tell of its end, end it; any number of times. Gives the milestone that was told.

    Days left are whole days in the tenant's time zone: on the last day, none. After a stop only the nearest milestone
    is told. With a plan chosen, the plan begins on the day the trial ends; without, the tenant is closed.
    """
    with unit_of_work(tenant_id):
        actor = job_actor(tenant_id)
        subscription = begin_trial(actor)
        if subscription.status != SubscriptionStatus.TRIAL:
            return None
        zone = zone_of_tenant()
        last_day = subscription.trial_ends_at.astimezone(zone).date()
        stays = bool(subscription.plan) and not subscription.ends_with_period
        told = None if stays else _tell(subscription, (last_day - now.astimezone(zone).date()).days)
        if now >= subscription.trial_ends_at:
            if stays:
                begin(actor, subscription, last_day)
            else:
                end(actor, subscription, SubscriptionStatus.EXPIRED)
        return told


def _tell(subscription: Subscription, days: int) -> int | None:
    days_left = max(days, 0)
    reached = [milestone for milestone in MILESTONES if days_left <= milestone]
    if not reached:
        return None
    milestone = min(reached)
    known = TrialNotice.objects.filter(subscription=subscription, days_left=milestone)
    if known.exists():  # the caller holds the subscription's lock
        return None
    writes.insert(
        job_actor(subscription.tenant_id), TrialNotice(subscription=subscription, days_left=milestone)
    )
    owners = Membership.objects.filter(role=Role.OWNER, is_active=True).select_related("user").order_by("id")
    for owner in owners:
        for channel in Channel:
            NotificationService.send_notification(
                owner.user,
                "trial_expiring",
                _WORDS[milestone],
                "Choose a plan to go on. Without one, nobody can work here after that; nothing is deleted.",
                channel,
                key=f"trial_expiring:{subscription.id}:{milestone}",
            )
    ends = subscription.trial_ends_at
    record_event("trial_ending", subscription, milestone=milestone, days_left=days_left, trial_ends_at=ends)
    return milestone
