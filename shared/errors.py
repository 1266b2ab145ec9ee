"""What is raised rather than told: somebody upstream tries again, or somebody mends what is wrong.

Step Functions, and people, match these by their names, so the names are part of the contract.
"""


class DeploymentFault(Exception):
    """No message's fault: credentials, hosts or settings are wrong. The text says what to mend.

    Whoever sees it gives the delivery back to SQS untouched; it never rejects or dead-letters a message.
    """


class ForeignAnswer(DeploymentFault):
    """The answer about one task is not the service's: if other tasks get real answers, only this one is concerned."""


class HuaweiUnavailable(Exception):
    """Huawei Cloud answered with passing faults only, until the tries or the time were used up.

    Try again with the same input. Of a command nothing was done; a sweep may have sent the commands for some of the
    tasks, and its report says so.
    """


class PublishingFailed(Exception):
    """Not all that had to go to AWS (outcomes, a report, commands) got there. Try again with the same input."""


class CommandRejected(Exception):
    """What was called is no valid command, or a guard forbids it; trying again is of no use."""


class SweepRejected(Exception):
    """What was called is no sweep, or asks for what a sweep may not do; trying again is of no use."""
