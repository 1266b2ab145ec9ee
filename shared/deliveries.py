"""One SQS delivery from end to end: read, plan, execute, settle, publish, and only then acknowledge.

All the messages of a delivery are handled together, but each is acknowledged for itself: one that is bad, expired or
unlucky never harms its neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, assert_never

from shared.commands import Command, InvalidCommand, read_command
from shared.envelopes import open_envelope, read_delivery
from shared.errors import DeploymentFault
from shared.execution import Service, execute
from shared.planning import plan
from shared.publishing import FAILURE_REASON, Parcel, Publisher, before_publishing, dead_letter, remainder_message
from shared.redelivery import seconds_until_redelivery
from shared.settlement import Done, GoesOn, LeftOpen, Settlement, Undone, expire, reject, settle, settle_late
from shared.traces import NO_TRACE, Trace, trace_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shared.deadline import Deadline
    from shared.envelopes import Incoming
    from shared.findings import Findings
    from shared.outcomes import Outcome
    from shared.pace import Pace
    from shared.patience import Patience
    from shared.publishing import Queues
    from shared.settings import QueueFunctionSettings
    from shared.telemetry import Telemetry


class Accepted(NamedTuple):
    """A command to carry out. `is_late`: only to be read, for what an earlier delivery may have done of it."""

    command: Command
    is_late: bool

    @property
    def as_planned(self) -> Command:
        """The command as it is planned: one that is late may no longer be sent."""
        return self.command.model_copy(update={"dry_run": True}) if self.is_late else self.command


class Named(NamedTuple):
    """What the command of a message is called in logs, its trace, and the attributes that are no part of one."""

    command_id: str
    trace: Trace
    left_out: tuple[tuple[str, str], ...]


class Deliveries:
    """Handles deliveries of one queue; made once a warm process."""

    def __init__(
        self,
        *,
        settings: QueueFunctionSettings,
        service: Service,
        publisher: Publisher,
        queues: Queues,
        pace: Pace,
        patience: Patience,
        telemetry: Telemetry,
    ) -> None:
        self._settings = settings
        self._service = service
        self._publisher = publisher
        self._queues = queues
        self._pace = pace
        self._patience = patience
        self._telemetry = telemetry

    def handle(self, event: Any, *, deadline: Deadline) -> dict[str, list[dict[str, str]]]:
        """Handle one delivery and answer with the messages that SQS is to deliver again.

        Raises `DeploymentFault` when it kept every one of the messages from being handled, so that Lambda counts an
        error and slows down; one that left some handled is logged.
        """
        messages = read_delivery(event, now=self._patience.now())
        try:
            return self._handle(messages, deadline)
        except DeploymentFault:
            raise
        except Exception as error:
            # A defect of ours beyond the edge of one record: all go back, as soon as any other that is given back.
            self._telemetry.not_acknowledged(
                dict.fromkeys((each.message_id for each in messages), type(error).__name__),
                {},
                {each.message_id: each.trace for each in messages},
            )
            self._redeliver_soon(messages, deadline=deadline)
            raise

    def _handle(self, messages: tuple[Incoming, ...], deadline: Deadline) -> dict[str, list[dict[str, str]]]:
        parcels, accepted, named = self._read_all(messages)
        targets = sum(len(each.command.asked) for each in accepted.values())
        findings = execute(
            plan(
                commands=[each.as_planned for message, each in accepted.items() if not message.is_repeat],
                repeats=[each.as_planned for message, each in accepted.items() if message.is_repeat],
            ),
            service=self._service,
            pace=self._pace,
            deadline=before_publishing(deadline, targets=targets),
            patience=self._patience,
        )
        self._telemetry.hide((), listed=findings.whole.values())
        for command_id, trace, left_out in named.values():  # not before all targets are hidden
            self._telemetry.attributes_left_out(command_id, left_out, trace=trace)
        self._telemetry.defects(findings.errors)
        self._telemetry.asked(calls=findings.calls, throttles=findings.throttles)
        parcels += [self._settle(message, each, findings) for message, each in accepted.items()]
        faults = list(findings.faults)
        del findings  # as large as the list of targets, and no longer needed
        published = self._publisher.publish(parcels, deadline=deadline)
        self._tell(parcel for parcel in parcels if parcel.message_id not in published.failed)
        withheld = {parcel.message_id: parcel.withheld for parcel in parcels if parcel.withheld}
        not_acknowledged = withheld | dict(published.failed)
        self._telemetry.not_acknowledged(
            not_acknowledged,
            {message_id: each.command_id for message_id, each in named.items()},
            {message_id: each.trace for message_id, each in named.items()},
        )
        self._redeliver_soon([each for each in messages if each.message_id in not_acknowledged], deadline=deadline)
        faults += [published.fault] if published.fault else []
        for fault in faults:
            self._telemetry.deployment_fault(fault)
        if faults and len(not_acknowledged) == len(messages):
            raise faults[0]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in not_acknowledged]}

    def _read_all(
        self, messages: tuple[Incoming, ...]
    ) -> tuple[list[Parcel], dict[Incoming, Accepted], dict[str, Named]]:
        """Part the messages into those that can be answered at once and the commands to carry out.

        The third part names each command by the id of its message, as far as that could be read.
        """
        now = self._patience.now()
        parcels: list[Parcel] = []
        accepted: dict[Incoming, Accepted] = {}
        named: dict[str, Named] = {}
        for queued in messages:
            message = queued
            try:
                opened = open_envelope(queued)
                named[queued.message_id] = Named(opened.command_id, opened.trace, opened.left_out)
                message = queued._replace(sent_at=opened.sent_at)  # a dead letter is as old as its sender says
                defaults = self._settings.defaults(command_id=opened.command_id, requested_at=opened.sent_at)
                command = read_command(opened.payload, defaults=defaults._replace(trace=opened.trace))
                named[queued.message_id] = Named(command.command_id, trace_of(command), opened.left_out)
                self._telemetry.hide([command])
                self._settings.guard(command)
                if not command.has_expired(now):
                    accepted[message] = Accepted(command, is_late=False)
                elif queued.is_repeat and queued.sent_at < command.expires_at:
                    # It was valid in SQS before, so an earlier delivery may have carried it out.
                    accepted[message] = Accepted(command, is_late=True)
                else:
                    parcels.append(self._parcel(message, expire(command, now=now)))
            except InvalidCommand as invalid:
                self._telemetry.hide_rejected(opened.suspect, invalid.errors)
                rejection = reject(invalid.known, invalid.errors, body=message.body, now=now)
                trace = trace_of(rejection)
                named[queued.message_id] = Named(rejection.command_id, trace, opened.left_out)
                reason = f"rejected: {invalid}"
                # The body stays as it is, and may hold neither the id nor the trace.
                parcels.append(
                    self._to_dead_letters(
                        message, (rejection,), message.body, reason, command_id=rejection.command_id, trace=trace
                    )
                )
            except Exception as error:  # noqa: BLE001 - the edge of one record, which goes back to SQS
                parcels.append(self._broken(message, error))
        return parcels, accepted, named

    def _settle(self, message: Incoming, accepted: Accepted, findings: Findings) -> Parcel:
        now = self._patience.now()
        try:
            if accepted.is_late:
                return self._parcel(message, settle_late(accepted.command, findings, now=now))
            settlement = settle(
                accepted.command,
                findings,
                now=now,
                max_attempts=self._settings.max_attempts,
                jitter=self._patience.uniform(0.0, 1.0),
                is_repeat=message.is_repeat,
            )
            return self._parcel(message, settlement)
        except Exception as error:  # noqa: BLE001 - the edge of one record, which goes back to SQS
            return self._broken(message, error)

    def _parcel(self, message: Incoming, settlement: Settlement) -> Parcel:
        """Give what is to be published and sent for a settled command."""
        match settlement:
            case Done(outcomes):
                return Parcel(message.message_id, outcomes, send=None, withheld=None)
            case GoesOn(outcomes, remainder, delay_seconds):
                again = remainder_message(remainder.to_message(), delay_seconds=delay_seconds)
                if again is None:
                    return Parcel(message.message_id, outcomes, send=None, withheld=_TOO_LARGE)
                send = (self._settings.command_queue_url, again)
                return Parcel(message.message_id, outcomes, send, withheld=None, remainder=remainder)
            case Undone(outcomes, left, failure_reason):
                return self._to_dead_letters(message, outcomes, left.to_message(), failure_reason)
            case LeftOpen(outcomes):
                return Parcel(message.message_id, outcomes, send=None, withheld="not an error of the command")
        assert_never(settlement)

    def _to_dead_letters(
        self,
        message: Incoming,
        outcomes: Sequence[Outcome],
        body: str,
        reason: str,
        *,
        command_id: str | None = None,
        trace: Trace = NO_TRACE,
    ) -> Parcel:
        letter = dead_letter(body, reason=reason, sent_at=message.sent_at, command_id=command_id, trace=trace)
        if letter is None:
            return Parcel(message.message_id, outcomes, send=None, withheld=_TOO_LARGE)
        return Parcel(message.message_id, outcomes, (self._settings.dead_letter_queue_url, letter), withheld=None)

    def _tell(self, parcels: Iterable[Parcel]) -> None:
        """Tell of what is out."""
        for parcel in parcels:
            self._telemetry.outcomes_published(parcel.outcomes)
            match parcel.send:
                case (_, message) if parcel.remainder is not None:
                    self._telemetry.remainder_sent(parcel.remainder, message.delay_seconds)
                case (_, letter):
                    final = parcel.outcomes[-1]
                    reason = letter.attributes[FAILURE_REASON]
                    self._telemetry.set_aside(final.command_id, reason, trace=trace_of(final))
                case None:
                    pass

    def _redeliver_soon(self, messages: Sequence[Incoming], *, deadline: Deadline) -> None:
        """Have SQS deliver messages that are given back sooner than the queue's visibility time-out says.

        It comes last, and its failure is only logged: the messages then wait for that time-out.
        """
        longest = self._settings.visibility_timeout_seconds
        if longest is None:
            return
        # One number for all: what is folded in this delivery comes back together, and is folded again.
        jitter = self._patience.uniform(0.0, 1.0)
        timeouts = [
            (each.receipt_handle, seconds_until_redelivery(each.receives, visibility_timeout=longest, jitter=jitter))
            for each in messages
            if each.receipt_handle is not None
        ]
        try:
            unchanged = self._queues.change_visibility(self._settings.command_queue_url, timeouts, deadline=deadline)
        except Exception as error:  # noqa: BLE001 - the delivery is over, and what became of it must be answered
            unchanged = dict.fromkeys(range(len(timeouts)), f"{type(error).__name__}: {error}")
        self._telemetry.visibility_unchanged(unchanged.values())

    def _broken(self, message: Incoming, error: Exception) -> Parcel:
        self._telemetry.defects([error])
        return Parcel(message.message_id, (), send=None, withheld="unexpected error")


_TOO_LARGE: Final = "what is left does not fit into an SQS message"
