"""What is told of the work: one structured line an outcome, and one line of metrics an invocation.

`command_id` finds the whole story of a command, across functions and attempts. Keys, bodies and single targets are in
neither: counts say how many. The words of Huawei Cloud, of AWS and of an error may quote a target, so each text that is
not our own goes through `Telemetry._clean`, which takes out the targets of the invocation (`Telemetry.hide`). What a
sender wrote into a field is shown only if it is no text; a reason is ours and is always shown.

Metrics are lines in CloudWatch's embedded metric format, so counting waits on nobody. Powertools writes them; its
package imports its metrics together with its Logger, so they cost no import of their own.
"""

from __future__ import annotations

import re
import traceback
from collections import Counter
from contextlib import contextmanager
from enum import StrEnum
from itertools import chain
from string import ascii_letters, digits
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from shared.commands import StopTargets, StopTask
from shared.errors import CommandRejected, DeploymentFault
from shared.observability import WRONG, EphemeralMetrics, Logger, MetricUnit
from shared.outcomes import Result, Status, Tally, shorten
from shared.settings import StopInWorkflowSettings, StopTargetsSettings, StopTaskSettings, SweepStaleTasksSettings
from shared.traces import NO_TRACE, Trace, trace_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from shared.commands import Command
    from shared.observability import WrongVariable
    from shared.outcomes import FieldError, Outcome
    from shared.sweeps import SweepCommand, SweepReport

SERVICE: Final = "stopline"
NAMESPACE: Final = "Stopline"
"""Of the metrics where `METRICS_NAMESPACE` names no other. The template names one for each stack."""

NAMESPACE_VARIABLE: Final = "METRICS_NAMESPACE"
"""Not among the settings, since settings that are not right are counted as well."""

DIMENSION: Final = "Function"

LONGEST_VALUE: Final = 128
"""Characters of a message attribute that a line shows."""

HIDDEN: Final = "***"
"""What stands in a line for a target."""

LONGEST_TEXT: Final = 4096
"""Characters that a line shows of a text of others: of a longer one its two ends, since what is to be done comes last.
"""

_FIELDS: Final = frozenset({*StopTask.model_fields, *StopTargets.model_fields})

_PLACE: Final = re.compile(
    rf"|Timestamp|time|{'|'.join(_FIELDS)}|tally\.({'|'.join(Tally.model_fields)})|(targets|awaiting)\[[0-9]+\]"
)
"""The places that a line may hold. A sender made up any other name, which may be a target."""

_COUNT: Final = re.compile(r"attempt|tally\.[a-z_]+")
_NUMBER: Final = re.compile(r"[0-9.eE+-]+")
"""A number is shown only where one belongs: elsewhere it may be a target without its quotation marks."""

_PROSE: Final = frozenset({"requested_by", "reason"})
"""Texts for people. Each of their words may be one of ours."""

_TEXTS: Final = _PROSE | {
    "command", "command_id", "expires_at", "instance_id", "project_id", "requested_at", "task_id",
}  # fmt: skip
"""The fields whose text is no target, unless there is an error of it."""

_OURS: Final = _FIELDS | {
    "stop_task",
    "stop_targets",
    *Tally.model_fields,
    *(
        str(each.alias)
        for settings in (StopInWorkflowSettings, StopTargetsSettings, StopTaskSettings, SweepStaleTasksSettings)
        for each in settings.model_fields.values()
    ),
}
"""Words of our own sentences that look like ids."""

_WORD: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?")

_LIKE_AN_ID: Final = re.compile(r"(?![0-9]{1,4}$).*[0-9_.:-]")
"""A word with a digit or a sign in it. A short number is none: it may be a status or a year."""

_CUT_WORD: Final = re.compile(r"[A-Za-z0-9_.:-]+(?=…|\\+u2026)")
"""A word that was cut, by us too: it may be a part of a target."""

_ESCAPE: Final = re.compile(r"\\(?:u[0-9A-Fa-f]{4}|.)", re.DOTALL)
"""An escape in JSON that could not be parsed; its letters are no part of a word."""

# A text of others may quote a text with its escapes, and the letter in front of a target is then no part of it.
_BEGIN: Final = re.compile(
    r"(?:(?<![A-Za-z0-9])|(?<=\\[bfnrt])|(?<=\\x[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4})|(?<=%[0-9A-Fa-f]{2}))(?=[A-Za-z0-9_.:-])"
)
_LETTERS: Final = frozenset(ascii_letters + digits)

type Function = Literal["stop_task", "stop_targets", "sweep_stale_tasks", "stop_in_workflow"]


class Metric(StrEnum):
    """The metrics in the namespace, each by `DIMENSION` and nothing else. What is zero is not written.

    They count what was done, not what is true of a command: a message that SQS delivers again counts again, as do its
    targets. Their sum over time is to be read, but for `AGE_AT_COMPLETION`.
    """

    COMMANDS_SUCCEEDED = "CommandsSucceeded"
    """`Commands…`: final events published, by their status."""
    COMMANDS_FAILED = "CommandsFailed"
    COMMANDS_REJECTED = "CommandsRejected"
    COMMANDS_EXPIRED = "CommandsExpired"
    COMMANDS_DRY_RUN = "CommandsDryRun"
    TARGETS_STOPPED = "TargetsStopped"
    """`Targets…`: results in the events published, final or not. `all_targets` is one, and whatever Huawei lists."""
    TARGETS_ALREADY_ENDED = "TargetsAlreadyEnded"
    TARGETS_NOT_FOUND = "TargetsNotFound"
    TARGETS_REFUSED = "TargetsRefused"
    TARGETS_GAVE_UP = "TargetsGaveUp"
    TARGETS_STILL_RUNNING = "TargetsStillRunning"
    TARGETS_WOULD_STOP = "TargetsWouldStop"
    CALLS = "Calls"
    """Questions put to Huawei, reads too, and each time again."""
    THROTTLES = "Throttles"
    """Those of them whose answer slowed us down."""
    REMAINDERS = "Remainders"
    """Commands sent back for what is unfinished."""
    DEAD_LETTERS = "DeadLetters"
    """Messages that we put into a dead-letter queue; those that SQS moves there are not among them."""
    NOT_ACKNOWLEDGED = "NotAcknowledged"
    """Messages given back to SQS. Those of a process that was killed, or could not read its settings, are not."""
    DEPLOYMENT_FAULTS = "DeploymentFaults"
    AGE_AT_COMPLETION = "AgeAtCompletion"
    """Seconds from `requested_at` to the final event, one value a command."""
    SWEEP_SCANNED = "SweepScanned"
    """`Sweep…`: the counts of the reports published."""
    SWEEP_STALE = "SweepStale"
    SWEEP_PROTECTED = "SweepProtected"
    SWEEP_UNKNOWN_AGE = "SweepUnknownAge"
    SWEEP_MISSED = "SweepMissed"
    SWEEP_REFUSED = "SweepRefused"
    """Sweeps that found more than their limit and sent nothing."""
    SWEEP_SENT = "SweepSent"
    """Commands that sweeps sent, whether or not a report could be published."""


_COMMANDS: Final[Mapping[Status, Metric]] = {
    Status.SUCCEEDED: Metric.COMMANDS_SUCCEEDED,
    Status.FAILED: Metric.COMMANDS_FAILED,
    Status.REJECTED: Metric.COMMANDS_REJECTED,
    Status.EXPIRED: Metric.COMMANDS_EXPIRED,
    Status.DRY_RUN: Metric.COMMANDS_DRY_RUN,
}
_TARGETS: Final[Mapping[Result, Metric]] = {
    Result.STOPPED: Metric.TARGETS_STOPPED,
    Result.ALREADY_ENDED: Metric.TARGETS_ALREADY_ENDED,
    Result.NOT_FOUND: Metric.TARGETS_NOT_FOUND,
    Result.REFUSED: Metric.TARGETS_REFUSED,
    Result.GAVE_UP: Metric.TARGETS_GAVE_UP,
    Result.STILL_RUNNING: Metric.TARGETS_STILL_RUNNING,
    Result.WOULD_STOP: Metric.TARGETS_WOULD_STOP,
}


class Telemetry:
    """Says what happened, in the words of the contract; made once a warm process.

    What it counts is kept until the end of the `invocation`, within which alone it is to be used, by one thread.
    """

    def __init__(self, logger: Logger, *, namespace: str = NAMESPACE) -> None:
        self._logger = logger
        self._counts: Counter[Metric] = Counter()
        self._ages: list[float] = []
        self._fault: Exception | None = None
        self._hidden: list[Collection[str]] = []
        self._lookup: tuple[frozenset[str], list[int]] | None = None
        # `service=""`, or an operator's POWERTOOLS_SERVICE_NAME would become a second dimension, and every alarm on
        # these metrics blind.
        self._metrics = EphemeralMetrics(namespace=namespace, service="")

    @contextmanager
    def invocation(self, function: Function, request_id: str) -> Iterator[None]:
        """Put the function and Lambda's request id on each line, and write the metrics at the end, whatever ends it.

        A `DeploymentFault` that ends it is logged here, so that one in the settings is logged too. Of what ends it,
        Lambda logs the text, and Step Functions matches the name of the class: see `_leaving`.
        """
        with self._logger.append_context_keys(function=function, function_request_id=request_id):
            try:
                yield
            except Exception as error:
                if isinstance(error, DeploymentFault):
                    self.deployment_fault(error)
                leaving = self._leaving(error)
                if leaving is error:
                    raise
                raise leaving.with_traceback(error.__traceback__) from None
            finally:
                self._hidden, self._lookup = [], None
                self._write_metrics(function, request_id)

    def hide(self, commands: Iterable[Command | SweepCommand], listed: Iterable[Collection[str]] = ()) -> None:
        """Keep the targets of these commands, and those that Huawei listed, out of all that the invocation logs.

        Of a check the one target is the task, which may be logged.
        """
        self._hidden += [each.asked for each in commands if each.command == "stop_targets"]
        self._hidden += [tuple(each) for each in listed]
        self._lookup = None

    def hide_rejected(self, payload: object, errors: Iterable[FieldError]) -> None:
        """Keep what may be a target of an invalid command out of all that the invocation logs.

        That is each word that looks like an id, and each text that is one word. `errors` show a value cut, as AWS may
        quote it. The words of a sentence are spared, and so are those of ours: else no line could be read.
        """
        self.hide((), listed=[{*_suspects(payload), *chain.from_iterable(map(_suspects_of, errors))} - _OURS])

    def outcomes_published(self, outcomes: Iterable[Outcome]) -> None:
        """Tell what became of commands."""
        for outcome in outcomes:
            age = _age_at_completion(outcome)
            self._logger.info(
                "outcome",
                extra={
                    "command_id": outcome.command_id,
                    "command": outcome.command,
                    "task_id": outcome.task_id,
                    "status": outcome.status.value,
                    "attempt": outcome.attempt,
                    "outcome_id": outcome.outcome_id,
                    "tally": {name: count for name, count in outcome.tally if count},
                    "confirmed": outcome.confirmed,
                    "age_seconds": age,
                    "errors": [self.said_of(error) for error in outcome.errors],
                    **trace_of(outcome).parts,
                },
            )
            if outcome.status in _COMMANDS:
                self._counts[_COMMANDS[outcome.status]] += 1
            for result, count in Counter(each.result for each in outcome.results).items():
                self._counts[_TARGETS[result]] += count
            if age is not None:
                self._ages.append(age)

    def remainder_sent(self, command: Command, delay_seconds: int) -> None:
        """Tell what goes on of a command, and that it comes back after so many seconds."""
        self._logger.info(
            "remainder sent",
            extra={
                **_about(command),
                "attempt": command.attempt,
                "to_stop": len(command.asked) - len(command.awaiting),
                "awaiting": len(command.awaiting),
                "delay_seconds": delay_seconds,
                **trace_of(command).parts,
            },
        )
        self._counts[Metric.REMAINDERS] += 1

    def set_aside(self, command_id: str, reason: str, *, trace: Trace = NO_TRACE) -> None:
        """Log what is in the dead-letter queue, and why in one word; the `outcome` of a rejection has its errors."""
        self._logger.warning(
            "set aside", extra={"command_id": command_id, "why": reason.partition(":")[0], **trace.parts}
        )
        self._counts[Metric.DEAD_LETTERS] += 1

    def attributes_left_out(
        self, command_id: str, attributes: Iterable[tuple[str, str]], *, trace: Trace = NO_TRACE
    ) -> None:
        """Log message attributes, name and value, that were to be a trace's and are not valid; one line a name.

        There may be thousands of envelopes, so of each name only the innermost value is shown. A value may be as large
        as a message, so it is cut first.
        """
        for name, value in dict(attributes).items():
            start = "".join(each if " " <= each <= "~" else "?" for each in value[: LONGEST_VALUE + 1])
            self._logger.warning(
                "attribute left out",
                extra={
                    "command_id": command_id,
                    "attribute": name,
                    "value": shorten(self._clean(shorten(start, LONGEST_VALUE)), LONGEST_VALUE),
                    **trace.parts,
                },
            )

    def not_acknowledged(
        self,
        reasons: Mapping[str, str],
        command_ids: Mapping[str, str],
        traces: Mapping[str, Trace] = MappingProxyType({}),
    ) -> None:
        """Log which messages go back to SQS, and why; `command_ids` and `traces` are their commands' where known.

        All are by the id of the message.
        """
        for message_id, reason in reasons.items():
            self._logger.warning(
                "not acknowledged",
                extra={
                    "command_id": command_ids.get(message_id),
                    "message_id": message_id,
                    "why": self._clean(reason),
                    **traces.get(message_id, NO_TRACE).parts,
                },
            )
        self._counts[Metric.NOT_ACKNOWLEDGED] += len(reasons)

    def visibility_unchanged(self, reasons: Iterable[str]) -> None:
        """Log why messages that go back to SQS stay hidden for as long as the queue says; one reason for each."""
        for reason, count in Counter(reasons).items():
            self._logger.warning("visibility unchanged", extra={"why": self._clean(reason), "messages": count})

    def not_carried_out(self, command_id: str | None, error: Exception, *, trace: Trace = NO_TRACE) -> None:
        """Log that a call ended without an outcome, and why; of a rejection, its `outcome` says why."""
        why = self._clean(str(error)) if _is_ours(error) and not isinstance(error, CommandRejected) else None
        self._logger.warning(
            "not carried out",
            extra={"command_id": command_id, "error": type(error).__name__, "why": why, **trace.parts},
        )

    def asked(self, *, calls: int, throttles: int) -> None:
        """Count the questions that were put to Huawei, and those whose answer slowed us down."""
        self._counts[Metric.CALLS] += calls
        self._counts[Metric.THROTTLES] += throttles

    def commands_sent(self, commands: Sequence[SweepCommand]) -> None:
        """Log which commands a sweep has sent: with each, a story begins."""
        for command in commands:
            self._logger.info("command sent", extra={**_about(command), "targets": len(command.asked)})
        self._counts[Metric.SWEEP_SENT] += len(commands)

    def sweep_completed(self, report: SweepReport, *, is_published: bool) -> None:
        """Log what a sweep found and did, and count what is on the bus: a sweep that is repeated counts once."""
        self._logger.info("sweep", extra={**report.model_dump(exclude={"tasks"}), "published": is_published})
        if not is_published:
            return
        self._counts[Metric.SWEEP_SCANNED] += report.scanned
        self._counts[Metric.SWEEP_STALE] += report.stale
        self._counts[Metric.SWEEP_PROTECTED] += report.protected
        self._counts[Metric.SWEEP_UNKNOWN_AGE] += report.unknown_age
        self._counts[Metric.SWEEP_MISSED] += report.missed
        self._counts[Metric.SWEEP_REFUSED] += report.refused

    def deployment_fault(self, fault: Exception) -> None:
        """Tell what an operator has to mend; a fault that is told again on its way out is told once."""
        if fault is self._fault:
            return
        self._fault = fault
        self._logger.error("deployment fault", extra={"mend": self._clean(str(fault))})
        self._counts[Metric.DEPLOYMENT_FAULTS] += 1

    def defects(self, errors: Iterable[Exception]) -> None:
        """Log errors of our own: their types and stacks, since their texts may quote anything."""
        for error in errors:
            extra = {"exception": "\n".join(_stacks(error)), "exception_name": type(error).__name__}
            self._logger.error("unexpected error", extra=extra)

    def _clean(self, text: str) -> str:
        """Return a text of others, cut, without the targets of this invocation, where they are words of their own."""
        if len(text) > LONGEST_TEXT:
            rest = text[-LONGEST_TEXT // 2 :]
            text = shorten(text, LONGEST_TEXT // 2) + re.sub(r"^[A-Za-z0-9_.:-]+", "", rest)  # may be half of a target
        text = _CUT_WORD.sub(HIDDEN, text)
        if self._lookup is None:  # there may be 100 000 targets, and no text to clean
            hidden = frozenset().union(*self._hidden)
            self._lookup = hidden, sorted(set(map(len, hidden)), reverse=True)
        clean, done = "", 0
        for begin in (each.start() for each in _BEGIN.finditer(text)):
            end = _end_of(text, begin, *self._lookup)
            if end > done:
                clean += text[done:begin] + HIDDEN if begin >= done else ""  # two may overlap
                done = end
        return clean + text[done:]

    def _leaving(self, error: Exception) -> Exception:
        """Return an error as it may leave an invocation, by the name of its class and without a target in its text.

        An error of our own keeps its text, without targets; any other only its name and stack. A subclass of
        `DeploymentFault` has the name that callers know.
        """
        text = self._clean(str(error)) if _is_ours(error) else ""
        if isinstance(error, CommandRejected):  # made of what `said_of` returns
            text = str(error)
        if isinstance(error, DeploymentFault) and type(error) is not DeploymentFault:
            return DeploymentFault(text)
        error.args = (text,) if text else ()
        if str(error) == text:
            return error
        # The texts of OSError, of pydantic's errors and others are not made of `args`.
        of_that_name: type[Exception] = type(type(error).__name__, (Exception,), {})
        return of_that_name(text)

    def said_of(self, error: FieldError) -> dict[str, str]:
        """Return what is wrong with a message, without a target, not even as the name of a field."""
        loc = error.loc if _PLACE.fullmatch(error.loc) else HIDDEN
        if error.reason is None:
            return {"loc": loc, "msg": self._clean(error.msg)}
        value = error.value if _is_shown(error) else ""
        return {"loc": loc, "msg": f"{value} {error.reason}".lstrip()}

    def _write_metrics(self, function: Function, request_id: str) -> None:
        """Write what was counted, and count anew.

        It is more than one line only after more than 99 commands: one object of the format holds 100 values a metric.
        The lines have no level, which Lambda takes for INFO, and so a function whose `ApplicationLogLevel` is higher
        has no metrics (https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html).
        """
        counts, ages = self._counts, self._ages
        self._counts, self._ages, self._fault = Counter(), [], None
        metrics = self._metrics
        try:
            metrics.add_dimension(DIMENSION, function)
            metrics.add_metadata("function_request_id", request_id)
            for age in ages:
                metrics.add_metric(Metric.AGE_AT_COMPLETION, MetricUnit.Seconds, age)  # writes whenever it has 100
            for name, count in counts.items():
                if count:
                    metrics.add_metric(name, MetricUnit.Count, count)
            if metrics.metric_set:  # it warns when there is nothing to write
                metrics.flush_metrics()
        finally:
            # A flush does not when an operator has switched metrics off, nor when nothing can be written.
            metrics.clear_metrics()


def _is_shown(error: FieldError) -> bool:
    """Whether a line may hold the value. No text is: whatever was refused may be a target in the wrong place."""
    if error.value in {"null", "true", "false"}:
        return True
    return bool(_COUNT.fullmatch(error.loc) and _NUMBER.fullmatch(error.value))


def _suspects(payload: object) -> Iterator[str]:
    """Yield the words in an invalid command that may be targets, wherever they were written by mistake."""
    parts = [payload]
    while parts:
        match parts.pop():
            case str(text):
                yield from _words(text)
            case list(items):
                parts += items
            case dict(items):
                for name in items:
                    yield from _like_ids(name)
                parts += [each for name, each in items.items() if not (name in _TEXTS and isinstance(each, str))]


def _suspects_of(error: FieldError) -> Iterator[str]:
    """Yield the words that may be targets in what an error shows; of a field that is none, it shows the name."""
    if not _PLACE.fullmatch(error.loc):
        yield from _like_ids(error.loc)
        yield from _like_ids(error.value)
    elif error.loc not in _PROSE and not _is_shown(error):
        yield from _words(error.value)


def _words(text: str) -> Iterator[str]:
    """Yield the word of a text that has only one, else those that look like ids."""
    for words in _forms(text):
        yield from words if len(words) == 1 else filter(_LIKE_AN_ID.match, words)


def _like_ids(text: str) -> Iterator[str]:
    """Yield the words of a text that look like ids."""
    for words in _forms(text):
        yield from filter(_LIKE_AN_ID.match, words)


def _forms(text: str) -> Iterator[set[str]]:
    """Yield the words of a text, as they are and as they are if it is JSON with escapes."""
    for form in {text, _ESCAPE.sub(" ", text)}:
        yield {*_WORD.findall(form)}


def _end_of(text: str, begin: int, hidden: frozenset[str], lengths: Iterable[int]) -> int:
    """Return where the longest target ends that begins there, 0 for none."""
    ends = (begin + length for length in lengths)
    return next((end for end in ends if text[begin:end] in hidden and text[end : end + 1] not in _LETTERS), 0)


def _about(command: Command | SweepCommand) -> dict[str, str]:
    return {"command_id": command.command_id, "command": command.command, "task_id": command.task_id}


def _is_ours(error: Exception) -> bool:
    """Whether the text of an error is of our making; that of any other may quote anything."""
    return type(error).__module__.startswith("shared.")


def _stacks(error: BaseException | None) -> Iterator[str]:
    """Yield the stack and type of an error, and of each that led to it, the last first."""
    while error is not None:
        yield "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _age_at_completion(outcome: Outcome) -> float | None:
    """Seconds, to the millisecond, that a command took, if this ends it and it said when it was asked.

    One that says that it was asked in the future is of age 0.
    """
    if outcome.status is Status.IN_PROGRESS or outcome.requested_at is None:
        return None
    return max(0.0, round((outcome.occurred_at - outcome.requested_at).total_seconds(), 3))


def new_logger(wrong: Iterable[WrongVariable] = WRONG) -> Logger:
    """Make the logger, and warn of variables that cannot be used.

    Its level is Lambda's own (`ApplicationLogLevel`), else that of `POWERTOOLS_LOG_LEVEL`, else INFO.
    """
    logger = Logger(service=SERVICE, use_rfc3339=True, utc=True)
    for name, value, used in wrong:
        logger.warning("%s is %s, which cannot be used: %s is used", name, value, used)
    return logger
