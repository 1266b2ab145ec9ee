"""Errors that leave an invocation: the caller tries again, or somebody fixes what is wrong.

Step Functions, and people, match these by their names, so the names are part of the contract.
"""


class DeploymentFault(Exception):
    """No message's fault: credentials, hosts or settings are wrong. The text says how to fix it.

    The delivery goes back to SQS untouched: no message is rejected or dead-lettered for it.
    """


class ForeignAnswer(DeploymentFault):
    """The answer about one task is not the service's: if other tasks get real answers, only this one is concerned."""


class HuaweiUnavailable(Exception):
    """Huawei Cloud answered with transient errors only, until the tries or the time were used up.

    Try again with the same input. Of a command nothing was done; a sweep may have sent the commands for some of the
    tasks, and its report says so.
    """


class PublishingFailed(Exception):
    """Not all that had to go to AWS (outcomes, a report, commands) got there. Try again with the same input."""


class CommandRejected(Exception):
    """An invalid command, or one that a guard forbids. Never to be retried."""


class SweepRejected(Exception):
    """An invalid sweep, or one that asks for what it may not do. Never to be retried."""
