"""What is raised rather than told: somebody upstream tries again, or somebody mends the deployment."""


class DeploymentFault(Exception):
    """No message's fault: credentials, hosts or settings are wrong. The text says what to mend.

    Whoever sees it gives the delivery back to SQS untouched; it never rejects or dead-letters a message.
    """
