"""Break the code on purpose and see a test fail: `make mutants`.

Each mutant names the promise that it breaks and the tests that must notice. It is tried in a copy of the tree; a
mutant that survives, or whose text is no longer in the code, fails the run. `python -m tests.mutants WORD` tries only
those whose title holds the word.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
COPIED: Final = ("functions", "shared", "local", "tests", "events", "template.yaml", "pyproject.toml")


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` stands in `file` once and becomes `new`; one of `tests` must then fail."""

    title: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


PLANNING: Final = ("tests/property/test_planning.py",)
SETTLEMENT: Final = ("tests/property/test_settlement.py",)
PROMISES: Final = ("tests/property/test_promises.py",)
MATRIX: Final = ("tests/property/test_fault_matrix.py",)
DELIVERIES: Final = ("tests/unit/test_deliveries.py",)
EXECUTION: Final = ("tests/unit/test_execution.py",)
PACE: Final = ("tests/unit/test_pace.py", "tests/unit/test_quota.py")
COMMANDS: Final = ("tests/unit/test_commands.py",)
REDRIVE: Final = ("tests/unit/test_redrive.py",)
REDRIVE_ENDS: Final = ("tests/unit/test_redrive_ends.py", "tests/unit/test_redrive.py")
REDRIVE_PROCESS: Final = ("tests/end_to_end/test_redrive_ends.py",)
CONFIRM: Final = ("tests/unit/test_confirmed_stops.py",)
SWEEP: Final = ("tests/unit/test_staleness.py", "tests/unit/test_sightings.py", "tests/unit/test_sweeping.py")
LISTS: Final = ("tests/unit/test_task_lists.py",)
WORKFLOW: Final = ("tests/unit/test_workflow.py",)
HTTP: Final = (
    "tests/unit/test_http.py",
    "tests/unit/test_http_hostile.py",
    "tests/contract/test_dead_connections.py",
    "tests/unit/test_proxies.py",
)
PROXIES: Final = ("tests/unit/test_proxies.py",)
NETWORK: Final = ("tests/unit/test_network_settings.py",)
AWS: Final = ("tests/unit/test_aws.py",)
THREADS: Final = ("tests/unit/test_threads.py",)
EVENTS: Final = ("tests/property/test_events_by_place.py",)
TELEMETRY: Final = ("tests/unit/test_telemetry.py",)
SIGNING: Final = ("tests/property/test_aws_signing.py",)
FAULTS: Final = ("tests/unit/test_huawei_faults.py",)
HARD_ANSWERS: Final = ("tests/unit/test_hard_answers.py",)
IN_DOUBT: Final = ("tests/property/test_stops_in_doubt.py",)
MEMORY: Final = ("tests/contract/test_memory.py",)
REDELIVERY: Final = ("tests/property/test_redelivery.py",)
TEMPLATE: Final = ("tests/template/test_rules.py",)

MUTANTS: Final = (
    Mutant(
        "1 conservation: a part of the results is not told",
        "shared/settlement.py",
        "results = tuple(_result(target, *end) for target, end in named if end)",
        "results = tuple(_result(target, *end) for target, end in named if end)[1:]",
        SETTLEMENT,
    ),
    Mutant(
        "1 conservation: a remainder forgets a target",
        "shared/settlement.py",
        "to_stop=tuple(target for target, (why, _) in unfinished.items() if why is Unfinished.TO_STOP),\n"
        "        awaiting=tuple(target for target, (why, _) in unfinished.items() if why is Unfinished.AWAITING),\n"
        "        attempt=2 if begins_to_wait",
        "to_stop=tuple(target for target, (why, _) in unfinished.items() if why is Unfinished.TO_STOP)[1:]"
        " or tuple(unfinished),\n"
        "        awaiting=tuple(target for target, (why, _) in unfinished.items() if why is Unfinished.AWAITING),\n"
        "        attempt=2 if begins_to_wait",
        MATRIX,
    ),
    Mutant(
        "1 conservation: a remainder forgets the tally",
        "shared/settlement.py",
        "tally=outcomes[-1].tally if outcomes else command.tally,",
        "tally=command.tally,",
        SETTLEMENT,
    ),
    Mutant(
        "1 conservation: a rejected remainder forgets the tally",
        "shared/settlement.py",
        "tally=known.tally,",
        "tally=None,",
        DELIVERIES,
    ),
    Mutant(
        "1 conservation: an invalid remainder forgets the tally",
        "shared/commands.py",
        '**good, "tally": _tally(filled)}',
        "**good}",
        COMMANDS,
    ),
    Mutant(
        "1 conservation: two final events",
        "shared/settlement.py",
        "is_last = self._final and part == self._parts[-1][0]",
        "is_last = self._final",
        SETTLEMENT,
    ),
    Mutant(
        "2 only what is unfinished: the remainder asks for everything again",
        "shared/commands.py",
        "targets = tuple(target for target in self.targets if target in unfinished)",
        "targets = self.targets",
        COMMANDS,
    ),
    Mutant(
        "2 only what is unfinished: a retry sends the whole call again",
        "shared/execution.py",
        "            call = left",
        "            pass",
        PROMISES,
    ),
    Mutant(
        "2 only what is unfinished: what awaits confirmation is stopped again",
        "shared/planning.py",
        "if target not in awaiting) if awaiting else command.asked",
        "if target not in awaiting or True) if awaiting else command.asked",
        PLANNING,
    ),
    Mutant(
        "3 chunks: a call of 101 targets",
        "shared/planning.py",
        "for chunk in batched(wanted, TARGETS_PER_CALL, strict=False)",
        "for chunk in batched(wanted, TARGETS_PER_CALL + 1, strict=False)",
        PLANNING,
    ),
    Mutant(
        "3 chunks: smaller than they could be",
        "shared/planning.py",
        "for chunk in batched(wanted, TARGETS_PER_CALL, strict=False)",
        "for chunk in batched(wanted, TARGETS_PER_CALL - 1, strict=False)",
        PLANNING,
    ),
    Mutant(
        "3 folding: each command for itself",
        "shared/planning.py",
        "wanted = named.setdefault(task, {})",
        "wanted = named.setdefault((task, command.command_id), {})",
        PLANNING,
    ),
    Mutant(
        "3 the {} guard: an empty call can be made",
        "shared/planning.py",
        "if not 1 <= len(self.targets) <= TARGETS_PER_CALL",
        "if not len(self.targets) <= TARGETS_PER_CALL",
        PLANNING,
    ),
    Mutant(
        "3 the {} guard: targets: [] is taken for a command",
        "shared/commands.py",
        "Field(min_length=1, max_length=MAX_TARGETS),\n    AfterValidator(_folded),\n]\ntype Awaiting",
        "Field(min_length=0, max_length=MAX_TARGETS),\n    AfterValidator(_folded),\n]\ntype Awaiting",
        COMMANDS,
    ),
    Mutant(
        "3 the {} guard: null slides into the default",
        "shared/commands.py",
        'raise PydanticCustomError("null", "null is not a value here; leave the field out")',
        "return value",
        COMMANDS,
    ),
    Mutant(
        "3 the {} guard: neither targets nor all_targets",
        "shared/commands.py",
        "if (self.targets is None) == (self.all_targets is None):",
        "if self.targets is not None and self.all_targets is not None:",
        COMMANDS,
    ),
    Mutant(
        "3 the ALLOW_STOP_ALL guard is open",
        "shared/settings.py",
        "if stops_all and not self.lets_stop_all:",
        "if False:",
        DELIVERIES,
    ),
    Mutant(
        "3 the ALLOW_STOP_ALL guard refuses what is only read",
        "shared/settings.py",
        " and command.all_targets and not command.awaiting",
        " and command.all_targets",
        DELIVERIES,
    ),
    Mutant(
        "4 nothing lost: acknowledged although an outcome was not published",
        "shared/deliveries.py",
        "not_acknowledged = withheld | dict(published.failed)",
        "not_acknowledged = withheld",
        MATRIX,
    ),
    Mutant(
        "4 nothing lost: the remainder goes nowhere",
        "shared/deliveries.py",
        "return Parcel(message.message_id, outcomes, send, withheld=None, remainder=remainder)",
        "return Parcel(message.message_id, outcomes, send=None, withheld=None)",
        PROMISES,
    ),
    Mutant(
        "4 nothing lost: a failed queue is not noticed",
        "shared/publishing.py",
        "failed |= {letters[index][0]: reason for index, reason in unsent.items()}",
        "pass",
        DELIVERIES,
    ),
    Mutant(
        "4 nothing lost: a remainder that does not fit is acknowledged",
        "shared/deliveries.py",
        "return Parcel(message.message_id, outcomes, send=None, withheld=_TOO_LARGE)\n                send = (",
        "return Parcel(message.message_id, outcomes, send=None, withheld=None)\n                send = (",
        DELIVERIES,
    ),
    Mutant(
        "4 body intact: the dead letter is tidied up",
        "shared/publishing.py",
        "return Message(body=body, attributes={FAILURE_REASON: fitting, SENT_AT: at}, delay_seconds=0)",
        "return Message(body=body.strip(), attributes={FAILURE_REASON: fitting, SENT_AT: at}, delay_seconds=0)",
        DELIVERIES,
    ),
    Mutant(
        "5 outcome_id: made of the attempt too",
        "shared/settlement.py",
        "names = (known.command_id,",
        "names = (str(known.requested_at), str(results), known.command_id,",
        SETTLEMENT,
    ),
    Mutant(
        "5 outcome_id: a final event has the name of a part",
        "shared/settlement.py",
        "known.task_id, status, *part)",
        "known.task_id, *part)",
        ("tests/unit/test_settlement.py",),
    ),
    Mutant(
        "6 stopped on a guess: what is unclear and still runs",
        "shared/findings.py",
        "verdict=Verdict.DENIED if is_denied else Verdict.UNFINISHED",
        "verdict=Verdict.TAKEN",
        ("tests/unit/test_codearts_check.py", *MATRIX),
    ),
    Mutant(
        "6 stopped on a guess: a target missing from the answer",
        "shared/huawei/iotda.py",
        "missing = Finding(Verdict.UNCLEAR, request_id=reply.request_id)",
        "missing = _TAKEN",
        ("tests/unit/test_iotda.py",),
    ),
    Mutant(
        "6 stopped on a guess: a 200 with an error body",
        "shared/huawei/client.py",
        "if self.status == HTTPStatus.OK and self.error_code is None:",
        "if self.status == HTTPStatus.OK:",
        ("tests/unit/test_huawei_client.py", "tests/unit/test_codearts_check.py", "tests/contract/test_sdk_traps.py"),
    ),
    Mutant(
        "6 refused on a guess: a no is believed while an earlier stop may be on its way",
        "shared/execution.py",
        "later = self._read(denied) if self._patience.rest(DOUBT, self._deadline) else {}",
        "later = self._read(denied)",
        ("tests/unit/test_asynchronous_stops.py",),
    ),
    Mutant(
        "7 the deployment's fault: refused credentials end in a remainder",
        "shared/settlement.py",
        "return LeftOpen(_tell(command, ends, now=now, final=False))",
        "pass",
        DELIVERIES,
    ),
    Mutant(
        "expiry: sent although it has expired",
        "shared/deliveries.py",
        "if not command.has_expired(now):",
        "if True:",
        DELIVERIES,
    ),
    Mutant(
        "expiry: not looked at again once its turn has come",
        "shared/execution.py",
        "if call is not None and self._patience.now() >= call.expires_at:",
        "if False:",
        EXECUTION,
    ),
    Mutant(
        "deadline: a pause past the deadline",
        "shared/patience.py",
        "if seconds >= deadline.remaining():",
        "if False:",
        EXECUTION,
    ),
    Mutant(
        "back-off: Retry-After is not respected",
        "shared/pace.py",
        "+ (retry_after or 0.0)",
        "+ 0.0",
        PACE,
    ),
    Mutant(
        "back-off: the calls in flight do not shrink",
        "shared/pace.py",
        "self._allowed = max(1.0, self._allowed / 2)",
        "pass",
        PACE,
    ),
    Mutant(
        "back-off: the gap does not widen",
        "shared/pace.py",
        "self._gap = min(LONGEST_GAP, max(FIRST_GAP, self._gap * (2.0 if self._bad_in_a_row else WIDER)))",
        "pass",
        PACE,
    ),
    Mutant(
        "back-off: what only waits for its turn uses up attempts",
        "shared/settlement.py",
        "is_in_turn = _waits_its_turn(ends, unfinished)",
        "is_in_turn = False",
        PACE,
    ),
    Mutant(
        "back-off: turns that are not given push others out",
        "shared/pace.py",
        "                return None\n            self._in_flight += 1",
        "                self._next_start = start + self._gap\n"
        "                return None\n            self._in_flight += 1",
        PACE,
    ),
    Mutant(
        "expiry: a repeat that may have been carried out says that nothing was sent",
        "shared/deliveries.py",
        "elif queued.is_repeat and",
        "elif False and",
        DELIVERIES,
    ),
    Mutant(
        "expiry: only the repeat of a first attempt is read back",
        "shared/deliveries.py",
        "elif queued.is_repeat and",
        "elif queued.is_repeat and command.attempt == 1 and",
        MATRIX,
    ),
    Mutant(
        "expiry: a late repeat is refused for a read that was refused",
        "shared/settlement.py",
        "    Verdict.REFUSED: Unfinished.TO_STOP,  # the read was refused, not the stop\n",
        "",
        ("tests/unit/test_settlement.py",),
    ),
    Mutant(
        "expiry: what was awaited is to be stopped again",
        "shared/settlement.py",
        "target: (Unfinished.AWAITING if target in awaiting else Unfinished.TO_STOP, None)",
        "target: (Unfinished.TO_STOP, None)",
        SETTLEMENT,
    ),
    Mutant(
        "expiry: a command may say that it was requested in the future",
        "shared/commands.py",
        "if command.requested_at - defaults.requested_at > MOST_AHEAD:",
        "if False:",
        COMMANDS,
    ),
    Mutant(
        "expiry: a replayed command is new",
        "shared/envelopes.py",
        "return min(message.sent_at, read_instant(envelope[name]))",
        "return max(message.sent_at, read_instant(envelope[name]))",
        ("tests/unit/test_envelopes.py",),
    ),
    Mutant(
        "expiry: a dead letter is as young as the last hop of its command",
        "shared/deliveries.py",
        "message = queued._replace(sent_at=sent_at)",
        "message = queued",
        DELIVERIES,
    ),
    Mutant(
        "expiry: redrive takes a replayed command for a new one",
        "local/redrive.py",
        "message = message._replace(sent_at=sent_at)",
        "sent_at = message.sent_at",
        REDRIVE,
    ),
    Mutant(
        "17 place: a remainder is carried out in the configured instance",
        "shared/commands.py",
        'is_from_the_service = payload.keys() >= {"attempt", "project_id"}',
        "is_from_the_service = False",
        DELIVERIES,
    ),
    Mutant(
        "17 place: a first attempt does not say that the service wrote it",
        "shared/commands.py",
        "attempt: int = Field(ge=1, le=1_000_000)",
        "attempt: int = Field(1, ge=1, le=1_000_000)",
        COMMANDS,
    ),
    Mutant(
        "17 place: a sweep's command is carried out in the queue function's instance",
        "shared/sweeps.py",
        '        "attempt": 1,  #',
        "        #",
        SWEEP,
    ),
    Mutant(
        "17 place: a renewed remainder is carried out in the configured instance",
        "local/redrive.py",
        'kept["attempt"] = 1',
        'del kept["attempt"]',
        REDRIVE,
    ),
    Mutant(
        "redrive: a control character of a message reaches the terminal",
        "local/redrive.py",
        'each if each.isprintable() else each.encode("unicode_escape").decode()',
        "each",
        REDRIVE,
    ),
    Mutant(
        "redrive: a character that the console does not have is an error",
        "local/redrive.py",
        'printable.encode(encoding, "backslashreplace").decode(encoding)',
        "printable",
        REDRIVE_PROCESS,
    ),
    Mutant(
        "redrive: JSON holds a control character",
        "local/redrive.py",
        '.replace("\\x7f", "\\\\u007f")',
        "",
        REDRIVE_PROCESS,
    ),
    Mutant(
        "redrive: what is being sent is not yet in doubt",
        "local/redrive.py",
        '    ledger |= becomes(Done.IN_DOUBT, "it is not known',
        '    becomes(Done.IN_DOUBT, "it is not known',
        REDRIVE_ENDS,
    ),
    Mutant(
        "redrive: what is sent and not yet deleted is as good as unsent",
        "local/redrive.py",
        'shown.became(Done.IN_DOUBT, "sent, and it may be here as well")',
        "shown.became(Done.NOT_REACHED)",
        REDRIVE_ENDS,
    ),
    Mutant(
        "redrive: a message is moved in the report before it is deleted",
        "local/redrive.py",
        "    undeleted = queue.delete(list(sent))\n",
        "    ledger |= sent\n    undeleted = queue.delete(list(sent))\n",
        REDRIVE_ENDS,
    ),
    Mutant(
        "redrive: what AWS refused to take is in doubt",
        "local/redrive.py",
        "        if _was_not_carried_out(refusal):\n            ledger",
        "        if False:\n            ledger",
        REDRIVE_PROCESS,
    ),
    Mutant(
        "redrive: what is not mentioned as sent was not sent",
        "local/redrive.py",
        "        if why is not None:  # else SQS does not say, and it stays in doubt\n",
        "        if True:\n",
        REDRIVE,
    ),
    Mutant(
        "redrive: what came again after its delete counts as moved",
        "local/redrive.py",
        "                self.returned |= set(again)\n",
        "",
        REDRIVE,
    ),
    Mutant(
        "redrive: what could not be made visible is not said to be hidden",
        "local/redrive.py",
        "        until = {each: until for each, until in self._until.items() if until > now}\n",
        "        until: dict[str, datetime] = {}\n",
        REDRIVE_ENDS,
    ),
    Mutant(
        "redrive: what SQS handed out in a call that was cut is not said",
        "local/redrive.py",
        "        self._is_asking = True\n        try:",
        "        try:",
        REDRIVE_ENDS,
    ),
    Mutant(
        "redrive: what SQS handed out in a try whose answer was lost is not said",
        "local/redrive.py",
        "            self._lost_until = until\n",
        "            pass\n",
        REDRIVE,
    ),
    Mutant(
        "redrive: a call that was never made is said to have hidden messages",
        "local/redrive.py",
        "            self._is_asking = not _was_not_carried_out(refusal)\n            raise",
        "            raise",
        REDRIVE,
    ),
    Mutant(
        "redrive: a first signal cuts the call that is under way",
        "local/redrive.py",
        "        if self._is_safe:\n            raise KeyboardInterrupt\n",
        "        if True:\n            raise KeyboardInterrupt\n",
        REDRIVE_ENDS,
    ),
    Mutant(
        "redrive: a first signal is forgotten",
        "local/redrive.py",
        "            if self.first:\n                raise KeyboardInterrupt\n            yield",
        "            yield",
        REDRIVE_ENDS,
    ),
    Mutant(
        "redrive: a second signal waits for the call that is under way",
        "local/redrive.py",
        "        if again or self._is_last:\n            self._raises = False\n            raise StopAtOnce\n",
        "        if again or self._is_last:\n            return\n",
        REDRIVE_PROCESS,
    ),
    Mutant(
        "redrive: a second signal still makes calls",
        "local/redrive.py",
        "        if isinstance(error, StopAtOnce):\n            return\n",
        "",
        REDRIVE_PROCESS,
    ),
    Mutant(
        "redrive: a signal cuts the summary",
        "local/redrive.py",
        "            finally:\n                signals.end()\n",
        "            finally:\n                pass\n",
        REDRIVE_ENDS,
    ),
    Mutant(
        "redrive: a signal that was ignored stops it",
        "local/redrive.py",
        "            if signal.getsignal(each) != signal.SIG_IGN:  # as under nohup\n                self._before",
        "            if True:\n                self._before",
        REDRIVE_PROCESS,
    ),
    Mutant(
        "redrive: a Ctrl-C in the imports is a traceback",
        "local/redrive.py",
        "            signal.signal(_each, _end)\n",
        "            pass\n",
        REDRIVE_PROCESS,
    ),
    Mutant(
        "redrive: a closed pipe is no 141",
        "local/redrive.py",
        "_READER_GONE if isinstance(error, BrokenPipeError) else _FAILED",
        "_FAILED",
        REDRIVE_ENDS,
    ),
    Mutant(
        "redrive: what a closed pipe did not take is nowhere",
        "local/redrive.py",
        "        self._write_new(self._touched, write=_note)\n",
        "",
        REDRIVE_ENDS,
    ),
    Mutant(
        "redrive: Python fails to flush a closed pipe at its end",
        "local/redrive.py",
        "            _let_go(stream)\n",
        "            pass\n",
        REDRIVE_PROCESS,
    ),
    Mutant(
        "redrive: a defect ends it without a summary",
        "local/redrive.py",
        "    except Exception as error:  # noqa: BLE001 - a defect",
        "    except ZeroDivisionError as error:  # a defect",
        REDRIVE_ENDS,
    ),
    Mutant(
        "redrive: an answer that cannot be read is a defect",
        "local/redrive.py",
        "with suppress(OSError, ValueError):  # the terminal is gone",
        "with suppress(ZeroDivisionError):  # the terminal is gone",
        REDRIVE_PROCESS,
    ),
    Mutant(
        "redrive: messages in doubt are a success",
        "local/redrive.py",
        "each.done in {Done.FAILED, Done.IN_DOUBT}",
        "each.done in {Done.FAILED}",
        REDRIVE,
    ),
    Mutant(
        "redrive: a refusal to make visible takes the place of the error",
        "local/redrive.py",
        "        except Exception as refusal:  # noqa: BLE001 - must",
        "        except ZeroDivisionError as refusal:  # must",
        REDRIVE_ENDS,
    ),
    Mutant(
        "confirmation: what was taken at the last attempt is never read",
        "shared/settlement.py",
        "and not begins_to_wait and not is_in_turn:",
        "and not is_in_turn:",
        ("tests/unit/test_settlement.py",),
    ),
    Mutant(
        "redelivery: a wait does not grow",
        "shared/redelivery.py",
        "FIRST_WAIT * 2 ** (receives - 1)",
        "FIRST_WAIT",
        REDELIVERY,
    ),
    Mutant(
        "redelivery: the wait is longer than the queue's",
        "shared/redelivery.py",
        "min(FIRST_WAIT * 2 ** (receives - 1), visibility_timeout)",
        "FIRST_WAIT * 2 ** min(receives - 1, 9)",
        REDELIVERY,
    ),
    Mutant(
        "redelivery: what is acknowledged is asked for again",
        "shared/deliveries.py",
        "[each for each in messages if each.message_id in not_acknowledged]",
        "list(messages)",
        DELIVERIES,
    ),
    Mutant(
        "redelivery: a fault of the deployment leaves the queue's own time-out",
        "shared/deliveries.py",
        "        self._redeliver_soon([each for each in messages if",
        "        if not faults: self._redeliver_soon([each for each in messages if",
        (*DELIVERIES, "tests/unit/test_redelivery.py"),
    ),
    Mutant(
        "redelivery: a visibility that cannot be changed fails the delivery",
        "shared/deliveries.py",
        "except Exception as error:  # noqa: BLE001 - the delivery is over",
        "except ImportError as error:  # the delivery is over",
        DELIVERIES,
    ),
    Mutant(
        "redelivery: SQS dead-letters what could still be carried out",
        "template.yaml",
        "maxReceiveCount: 77",
        "maxReceiveCount: 60",
        TEMPLATE,
    ),
    Mutant(
        "redelivery: a function knows another time-out than its queue",
        "template.yaml",
        'VISIBILITY_TIMEOUT_SECONDS: "1801"',
        'VISIBILITY_TIMEOUT_SECONDS: "360"',
        TEMPLATE,
    ),
    Mutant(
        "alarms: one message that heals at once goes off",
        "template.yaml",
        "EvaluationPeriods: 100\n      DatapointsToAlarm: 3",
        "EvaluationPeriods: 100\n      DatapointsToAlarm: 1",
        TEMPLATE,
    ),
    Mutant(
        "resolver: a look-up holds a call past its deadline",
        "template.yaml",
        "RES_OPTIONS: timeout:1 attempts:1",
        "RES_OPTIONS: rotate",
        TEMPLATE,
    ),
    Mutant(
        "a key is not locked: the calls go on after a refusal",
        "shared/execution.py",
        "self._faults.setdefault(task.scope, fault)",
        "self._faults.setdefault(object(), fault)",
        EXECUTION,
    ),
    Mutant(
        "8 sweep: a run is stopped before it is old enough",
        "shared/staleness.py",
        "now - task.age.running_since < older_than",
        "now - task.age.running_since < older_than / 2",
        SWEEP,
    ),
    Mutant(
        "8 sweep: a run that is just old enough is missed",
        "shared/staleness.py",
        "now - task.age.running_since < older_than",
        "now - task.age.running_since <= older_than",
        SWEEP,
    ),
    Mutant(
        "8 sweep: a pattern protects only by the name",
        "shared/staleness.py",
        'for name in (task.task_id, task.task_name or "")',
        'for name in (task.task_name or "",)',
        SWEEP,
    ),
    Mutant(
        "8 sweep: a fraction of a second makes a run older",
        "shared/staleness.py",
        "timedelta(seconds=bool(int(fraction or 0)))",
        "timedelta(seconds=0)",
        SWEEP,
    ),
    Mutant(
        "8 sweep: a sighting is dated before it was made",
        "shared/check_sweep.py",
        "replace(microsecond=0) + timedelta(seconds=1)",
        "replace(microsecond=0)",
        SWEEP,
    ),
    Mutant(
        "8 sweep: another run of the same task is taken for the one seen before",
        "shared/check_sweep.py",
        "if look.known_by is None or seen is None or not seen.is_of(*look.known_by):",
        "if look.known_by is None or seen is None:",
        SWEEP,
    ),
    Mutant(
        "8 sweep: a run that goes back is taken for the one seen before",
        "shared/sightings.py",
        "return self.run == run and self.percent <= percent",
        "return self.run == run",
        SWEEP,
    ),
    Mutant(
        "8 sweep: how far a run had come is kept as it was first seen",
        "shared/check_sweep.py",
        "self._remember(task.task_id, Sighting(run, age.running_since, percent))",
        "pass",
        SWEEP,
    ),
    Mutant(
        "8 sweep: the records of a task are not looked at to know a run again",
        "shared/check_sweep.py",
        'run = f"{last_check} {records.mark}".rstrip()',
        "run = last_check",
        SWEEP,
    ),
    Mutant(
        "8 sweep: a task that tells of no check at all is known by that",
        "shared/check_sweep.py",
        "if not last_check or self._last_checks",
        "if self._last_checks",
        SWEEP,
    ),
    Mutant(
        "8 sweep: a run whose progress is not told is known by the rest",
        "shared/check_sweep.py",
        "known_by=None if percent is None else (run, percent)",
        "known_by=(run, percent or 0)",
        SWEEP,
    ),
    Mutant(
        "8 sweep: the older of two sightings stays",
        "shared/sightings.py",
        "OR first_seen < :first_seen",
        "OR first_seen > :first_seen",
        SWEEP,
    ),
    Mutant(
        "8 sweep: a sweep that comes late takes back how far a run had come",
        "shared/sightings.py",
        "AND percent_done < :percent)",
        "AND percent_done <> :percent)",
        SWEEP,
    ),
    Mutant(
        "8 sweep: no last look before sending",
        "shared/check_sweep.py",
        "return self._aged(task.task_id, self._look(self._listed[task.task_id])) == age",
        "return True",
        SWEEP,
    ),
    Mutant(
        "8 sweep: the last look is at the list as it was",
        "shared/check_sweep.py",
        "        if running:\n            self._list_again()\n        same",
        "        same",
        SWEEP,
    ),
    Mutant(
        "8 sweep: the last look does not see that nothing runs",
        "shared/check_sweep.py",
        "if state is Verdict.RUNS]",
        "if state]",
        SWEEP,
    ),
    Mutant(
        "8 sweep: a last look that failed is not told of",
        "shared/check_sweep.py",
        "missed=states.count(Verdict.UNFINISHED) + same.count(None),",
        "missed=0,",
        SWEEP,
    ),
    Mutant(
        "8 sweep: a command is in force as long as a person's",
        "shared/sweeps.py",
        '        "expires_at": to_rfc3339(expires_at),\n',
        "",
        SWEEP,
    ),
    Mutant(
        "8 sweep: a command is in force longer than the age asked for",
        "shared/sweeps.py",
        "min(sweep.older_than, LONGEST_IN_FORCE)",
        "LONGEST_IN_FORCE",
        SWEEP,
    ),
    Mutant(
        "8 sweep: a command is in force longer than this deployment's commands are",
        "shared/sweeping.py",
        "min(time_in_force(sweep), settings.time_to_live)",
        "time_in_force(sweep)",
        SWEEP,
    ),
    Mutant(
        "8 sweep: the time in force begins after the last look",
        "shared/check_sweep.py",
        "expires_at = self._patience.now() + self._in_force",
        "expires_at = self._patience.now() + self._in_force + timedelta(minutes=5)",
        SWEEP,
    ),
    Mutant(
        "8 sweep: a list of jobs that is down ends the sweep",
        "shared/check_sweep.py",
        "            return RunningTask(task.task_id, task.task_name, self._age(task)), False\n"
        "        except HuaweiUnavailable:\n            if not self._until.remaining():",
        "            return RunningTask(task.task_id, task.task_name, self._age(task)), False\n"
        "        except HuaweiUnavailable:\n            if True:",
        SWEEP,
    ),
    Mutant(
        "8 sweep: a check that could not be asked about is not told of",
        "shared/check_sweep.py",
        "missed=sum(is_missed for _, is_missed in running),",
        "missed=0,",
        SWEEP,
    ),
    Mutant(
        "8 sweep: targets that could not be read are not told of",
        "shared/batch_sweep.py",
        "cut=sum(targets is not None and targets.skipped > 0 for targets in named),",
        "cut=0,",
        SWEEP,
    ),
    Mutant(
        "8 sweep: a report that is lost fails nothing",
        "shared/sweeping.py",
        "raise _lost(report, unpublished[0])",
        "pass",
        SWEEP,
    ),
    Mutant(
        "8 lists: a target that retries go back with is missed",
        "shared/huawei/task_lists.py",
        '_RUNNING: Final = ("FailWaitRetry", "Waitting", "Processing", "FailWaitRetry")',
        '_RUNNING: Final = ("FailWaitRetry", "Waitting", "Processing")',
        LISTS,
    ),
    Mutant(
        "8 lists: a record that has ended is taken for what runs",
        "shared/huawei/task_lists.py",
        "return None if latest in ended else latest",
        "return latest",
        LISTS,
    ),
    Mutant(
        "8 lists: a list of jobs that is cut is taken for all of them",
        "shared/huawei/task_lists.py",
        "max(totals, default=0) <= len(jobs)",
        "True",
        LISTS,
    ),
    Mutant(
        "8 lists: jobs that have only just begun are not asked for",
        "shared/huawei/task_lists.py",
        "for status in _RUNNING_JOBS:",
        "for status in _RUNNING_JOBS[1:]:",
        LISTS,
    ),
    Mutant(
        "8 lists: jobs are asked for in the order in which one that moves on is missed",
        "shared/huawei/task_lists.py",
        "for status in _RUNNING_JOBS:",
        "for status in reversed(_RUNNING_JOBS):",
        LISTS,
    ),
    Mutant(
        "8 lists: the mark of the records leaves out when they ended",
        "shared/huawei/task_lists.py",
        'repr((record.get("check_time"), record.get("check_end_time"))',
        'repr((record.get("check_time"),)',
        LISTS,
    ),
    Mutant(
        "8 sweep: what a sweep has had stopped is remembered",
        "shared/check_sweep.py",
        "        self._inquiry.each(self._forget, [command.task_id for command in commands])\n",
        "        pass\n",
        SWEEP,
    ),
    Mutant(
        "8 sweep: what no longer runs is remembered",
        "shared/check_sweep.py",
        "            else:\n                self._forget(task.task_id)\n",
        "",
        SWEEP,
    ),
    Mutant(
        "8 sweep: what could not be read is given an age",
        "shared/check_sweep.py",
        "if state is not Verdict.RUNS:",
        "if state is None:",
        SWEEP,
    ),
    Mutant(
        "8 sweep: more than the limit are stopped",
        "shared/sweeping.py",
        "len(choice.stale) > sweep.limit",
        "len(choice.stale) > sweep.limit + 1",
        SWEEP,
    ),
    Mutant(
        "8 sweep: a dry run sends",
        "shared/sweeping.py",
        "if sweep.dry_run or is_refused",
        "if is_refused",
        SWEEP,
    ),
    Mutant(
        "8 sweep: a scheduled task is as old as its creation",
        "shared/batch_sweep.py",
        "if scheduled > created else",
        "if scheduled < created else",
        SWEEP,
    ),
    Mutant(
        "8 sweep: one part too large for a message",
        "shared/sweeps.py",
        "TARGETS_BYTES_PER_COMMAND: Final = 500_000",
        "TARGETS_BYTES_PER_COMMAND: Final = 5_000_000",
        SWEEP,
    ),
    Mutant(
        "8 sweep: two sweeps of a run send two commands",
        "shared/sweeps.py",
        "{age.running_since:%Y%m%dT%H%M%SZ}",
        "{id(age)}",
        SWEEP,
    ),
    Mutant(
        "8 sweep: failed entries of the queue are not looked at",
        "shared/sweeping.py",
        "sent=len(commands) - len(unsent),",
        "sent=len(commands),",
        SWEEP,
    ),
    Mutant(
        "9 workflow: unfinished is answered though there is time",
        "shared/workflow.py",
        "delay_seconds + LEAST_ROUND",
        "delay_seconds + 10_000",
        WORKFLOW,
    ),
    Mutant(
        "9 workflow: an outcome that is not on the bus is answered",
        "shared/workflow.py",
        "if published.failed:",
        "if False:",
        WORKFLOW,
    ),
    Mutant(
        "9 workflow: a call that raises leaves no line by its command_id",
        "shared/workflow.py",
        "            self._telemetry.not_carried_out(command_id, error)\n",
        "",
        WORKFLOW,
    ),
    Mutant(
        "9 workflow: a tally that cannot be counted on is found out after the stop",
        "shared/commands.py",
        "if self.tally.total + asked > MOST_COUNTED:",
        "if False:",
        WORKFLOW,
    ),
    Mutant(
        "9 workflow: a remainder may be larger than a state",
        "shared/workflow.py",
        "            _guard_size(command)\n",
        "",
        WORKFLOW,
    ),
    Mutant(
        "9 workflow: a remainder is refused for its size",
        "shared/workflow.py",
        "    if command.was_begun:\n        return\n",
        "",
        WORKFLOW,
    ),
    Mutant(
        "9 workflow: names in awaiting are not counted twice",
        "shared/workflow.py",
        "times = 2 if command.confirm",
        "times = 1 if command.confirm",
        WORKFLOW,
    ),
    Mutant(
        "9 workflow: two executions have one command_id",
        "template.yaml",
        " & '-' & $substring($hash($name, 'SHA-256'), 0, 32)",
        "",
        ("tests/unit/test_workflow_names.py",),
    ),
    Mutant(
        "10 confirm: the end is told before it is read",
        "shared/settlement.py",
        "    Verdict.TAKEN: Unfinished.AWAITING,\n    Verdict.STOPPING: Unfinished.AWAITING,\n}\n_OF_A_CONFIRMATION",
        "    Verdict.STOPPING: Unfinished.AWAITING,\n}\n_OF_A_CONFIRMATION",
        CONFIRM,
    ),
    Mutant(
        "10 confirm: what still runs is called stopped",
        "shared/settlement.py",
        "    Verdict.RUNS: Unfinished.AWAITING,\n"
        "    Verdict.STOPPING: Unfinished.AWAITING,\n"
        "    Verdict.STOPPED: Result.STOPPED,",
        "    Verdict.RUNS: Result.STOPPED,\n"
        "    Verdict.STOPPING: Unfinished.AWAITING,\n"
        "    Verdict.STOPPED: Result.STOPPED,",
        CONFIRM,
    ),
    Mutant(
        "10 confirm: a late repeat takes Stopping for the end",
        "shared/settlement.py",
        "return (_OF_A_LATE_REPEAT_TO_CONFIRM if command.confirm else _OF_A_LATE_REPEAT)[state.verdict]",
        "return _OF_A_LATE_REPEAT[state.verdict]",
        DELIVERIES,
    ),
    Mutant(
        "10 confirm: an end that nothing was read of says nothing about it",
        "shared/settlement.py",
        "return False if known.confirm else None",
        "return None",
        SETTLEMENT,
    ),
    Mutant(
        "10 confirm: a remainder leaves it to the default",
        "shared/commands.py",
        "must not change on the way.\n    confirm: bool\n",
        "must not change on the way.\n    confirm: bool = False\n",
        COMMANDS,
    ),
    Mutant(
        "11 http: a connection whose answer was not read to its end is kept",
        "shared/http.py",
        "        response.close()\n        raise\n    finally",
        "        raise\n    finally",
        HTTP,
    ),
    Mutant(
        "11 http: what was said beyond an answer is the beginning of the next",
        "shared/http.py",
        "and not self.has_surplus",
        "",
        HTTP,
    ),
    Mutant(
        "11 http: a kept connection is not looked at before it is used",
        "shared/http.py",
        "            super().is_connected\n",
        "            self.sock is not None\n",
        HTTP,
    ),
    Mutant(
        "11 http: words before the answer are the answer",
        "shared/http.py",
        "if response.status < HTTPStatus.OK:",
        "if False:",
        HTTP,
    ),
    Mutant(
        "11 http: a flood is read to the end",
        "shared/http.py",
        "if self._most < 0:",
        "if False:",
        HTTP,
    ),
    Mutant(
        "11 http: an answer may inflate to any size",
        "shared/http.py",
        "if len(body) > MAX_BODY_BYTES:",
        "if False:",
        HTTP,
    ),
    Mutant(
        "11 http: an encoding that nobody undid goes through",
        "shared/http.py",
        "if encoding not in _ENCODINGS:",
        "if False:",
        HTTP,
    ),
    Mutant(
        "11 http: headers without an end are an empty answer",
        "shared/http.py",
        "if not body and not ends_somewhere:",
        "if False:",
        HTTP,
    ),
    Mutant(
        "11 http: a connection that was cut without TLS's word ends a body",
        "shared/http.py",
        "self.sock.suppress_ragged_eofs = False",
        "self.sock.suppress_ragged_eofs = True",
        HTTP,
    ),
    Mutant(
        "11 http: the timeout is not for the whole answer",
        "shared/http.py",
        "        self._socket.settimeout(_CURRENT.exchange.left())\n",
        "        self._socket.settimeout(CONNECT_TIMEOUT)\n",
        HTTP,
    ),
    Mutant(
        "11 http: each address of a host gets all of the time",
        "shared/http.py",
        "socket.create_connection(address, timeout=_time_to_connect())",
        "socket.create_connection(address, timeout=CONNECT_TIMEOUT)",
        HTTP,
    ),
    Mutant(
        "11 http: more connections than allowed",
        "shared/http.py",
        "maxsize=self._connections, block=True, ssl_context=self._trust)",
        "maxsize=self._connections, ssl_context=self._trust)",
        HTTP,
    ),
    Mutant(
        "11 http: a caller waits for a connection for ever",
        "shared/http.py",
        "pool_timeout=exchange.left(),",
        "pool_timeout=None,",
        HTTP,
    ),
    Mutant(
        "11 http: a certificate of another host is taken",
        "shared/http.py",
        "self._trust = ssl.create_default_context(cafile=ca_bundle)",
        "self._trust = ssl.create_default_context(cafile=ca_bundle)\n        self._trust.check_hostname = False",
        HTTP,
    ),
    Mutant(
        "11 http: a connection in use is not given back",
        "shared/http.py",
        "        response.release_conn()",
        "        pass",
        HTTP,
    ),
    Mutant(
        "13 C1: a connection that idled for long is used again",
        "shared/http.py",
        "and 0 <= idle <= MOST_IDLE",
        "",
        HTTP,
    ),
    Mutant(
        "13 C1: the kept connections are believed after one of them failed",
        "shared/http.py",
        "host.distrusted += 1",
        "pass",
        HTTP,
    ),
    Mutant(
        "13 C1: a failure on a new connection costs the kept ones",
        "shared/http.py",
        "if exchange.is_reused:",
        "if exchange.was_sent:",
        HTTP,
    ),
    Mutant(
        "13 C1: what was never sent counts as sent",
        "shared/http.py",
        "self.was_sent = False",
        "self.was_sent = True",
        HTTP,
    ),
    Mutant(
        "13 C1: what may have arrived counts as never sent",
        "shared/http.py",
        "_CURRENT.exchange.was_sent = True",
        "pass",
        HTTP,
    ),
    Mutant(
        "13 C1: what a proxy is asked counts as the request",
        "shared/http.py",
        "        super().connect()\n        _CURRENT.exchange.was_sent = True",
        "        _CURRENT.exchange.was_sent = True\n        super().connect()",
        HTTP,
    ),
    Mutant(
        "13 C1: an unknown name is tried again",
        "shared/http.py",
        "socket.gaierror(errno=socket.EAI_NONAME)",
        "socket.gaierror(errno=socket.EAI_FAIL)",
        HTTP,
    ),
    Mutant(
        "13 C2: loop-back is asked through the proxy",
        "shared/proxies.py",
        "if proxy is None or _is_near(host) or",
        "if proxy is None or",
        PROXIES,
    ),
    Mutant(
        "13 C2: NO_PROXY holds for hosts that only end alike",
        "shared/proxies.py",
        'host.endswith(f".{name}")',
        "host.endswith(name)",
        PROXIES,
    ),
    Mutant(
        "13 C2: a login is shown with a wrong proxy",
        "shared/proxies.py",
        'value.rpartition("@")[2]',
        "value",
        PROXIES,
    ),
    Mutant(
        "13 C2: AWS_CA_BUNDLE is ignored",
        "shared/wiring/clouds.py",
        'http=_http(settings, proxies, "AWS_CA_BUNDLE") if has_own else self._http',
        "http=self._http",
        NETWORK,
    ),
    Mutant(
        "13 C2: a proxy is ignored",
        "shared/wiring/clouds.py",
        "proxies = read_proxies(os.environ)",
        "proxies = read_proxies({})",
        NETWORK,
    ),
    Mutant(
        "13 C2: FIPS is ignored",
        "shared/aws.py",
        "{'-fips' * fips}",
        "",
        AWS,
    ),
    Mutant(
        "13 C2: dual stack is ignored",
        "shared/aws.py",
        "{dual if dual_stack else plain}",
        "{plain}",
        AWS,
    ),
    Mutant(
        "13 C2: a wrong value of a switch means no",
        "shared/aws.py",
        'raise DeploymentFault(f"{variable} is {environment[variable]!r}, and should be true or false")',
        "return False",
        AWS,
    ),
    Mutant(
        "12 threads: what has not begun is begun after an error",
        "shared/threads.py",
        "wait([future for future in futures if not future.cancel()])",
        "wait(list(futures))",
        THREADS,
    ),
    Mutant(
        "12 threads: what runs is not waited for",
        "shared/threads.py",
        "wait([future for future in futures if not future.cancel()])",
        "[future.cancel() for future in futures]",
        THREADS,
    ),
    Mutant(
        "12 threads: all is begun at once",
        "shared/threads.py",
        "islice(waiting, 2 * self.at_once - len(begun))",
        "waiting",
        THREADS,
    ),
    Mutant(
        "12 threads: they are not kept",
        "shared/threads.py",
        "else self._pool.submit(work)",
        "else ThreadPoolExecutor(self.at_once).submit(work)",
        THREADS,
    ),
    Mutant(
        "12 waits: each as long as the first",
        "shared/patience.py",
        "yield FIRST_WAIT * 2**number",
        "yield FIRST_WAIT",
        ("tests/unit/test_patience.py",),
    ),
    Mutant(
        "12 waits: a passing fault of AWS is not tried again",
        "shared/aws.py",
        "                if not self._patience.wait(next(waits), deadline):\n                    raise",
        "                raise",
        ("tests/unit/test_aws.py",),
    ),
    Mutant(
        "12 waits: AWS is asked for ever",
        "shared/aws.py",
        "if not waiting or not self._patience.wait(longest, deadline):",
        "if not waiting:",
        ("tests/unit/test_aws.py",),
    ),
    Mutant(
        "12 waits: a passing fault of Huawei's STS is not tried again",
        "shared/huawei/keyless.py",
        "if not self._patience.wait(next(waits), deadline):",
        "if True:",
        ("tests/unit/test_keyless.py",),
    ),
    Mutant(
        "12 waits: an inquiry does not wait as long as it was asked to",
        "shared/inquiry.py",
        "seconds = (answer.retry_after or 0.0) + ",
        "seconds = ",
        ("tests/unit/test_inquiry.py",),
    ),
    Mutant(
        "12 waits: an inquiry waits past its deadline",
        "shared/inquiry.py",
        "if seconds < self._deadline.remaining():",
        "if True:",
        ("tests/unit/test_inquiry.py",),
    ),
    Mutant(
        "a key is not locked: all calls and reads before the first answer",
        "shared/execution.py",
        "return self._service.trust(task) is Trust.ACCEPTED or self._is_halted(task)",
        "return True",
        EXECUTION,
    ),
    Mutant(
        "13 events: they can be had only once",
        "shared/settlement.py",
        "part, tally = self._parts[index]",
        "part, tally = self._parts.pop(index)",
        EVENTS,
    ),
    Mutant(
        "13 events: a target ends as another one did",
        "shared/settlement.py",
        "named = zip(self._ends.targets[part], self._ends.ends[part], strict=True)",
        "named = zip(self._ends.targets[part], self._ends.ends[part][::-1], strict=True)",
        EVENTS,
    ),
    Mutant(
        "13 events: a target has its neighbour's words",
        "shared/settlement.py",
        "if end is None or end[0] is not result or end[1] is not finding:",
        "if end is None or end[0] is not result:",
        EVENTS,
    ),
    Mutant(
        "13 events: each tally counts its own event only",
        "shared/settlement.py",
        "tally = tally.plus(results)",
        "tally = command.tally.plus(results)",
        EVENTS,
    ),
    Mutant(
        "13 events: parts are cut among the results",
        "shared/settlement.py",
        "if command.asked == (ALL_TARGETS,):  # no places were asked for",
        "if True:",
        EVENTS,
    ),
    Mutant(
        "13 events: only as many as are written at once",
        "shared/publishing.py",
        "in batched(written, WRITTEN_AT_ONCE, strict=False):",
        "in list(batched(written, WRITTEN_AT_ONCE, strict=False))[:1]:",
        EVENTS,
    ),
    Mutant(
        "13 events: another message is blamed for one that failed",
        "shared/publishing.py",
        "failed |= {some[index][0]: reason for index, reason in unpublished.items()}",
        "failed |= {some[0][0]: reason for index, reason in unpublished.items()}",
        EVENTS,
    ),
    Mutant(
        "14 metrics: what could not be written goes over to the next invocation",
        "shared/telemetry.py",
        "            metrics.clear_metrics()\n",
        "            pass\n",
        TELEMETRY,
    ),
    Mutant(
        "14 metrics: counts go over to the next invocation",
        "shared/telemetry.py",
        "self._counts, self._ages, self._fault = Counter(), [], None",
        "self._fault = None",
        TELEMETRY,
    ),
    Mutant(
        "15 signing: inner spaces of a header are kept",
        "shared/aws_signing.py",
        '" ".join(value.split())',
        "value.strip()",
        SIGNING,
    ),
    Mutant(
        "15 signing: the session token is not signed",
        "shared/aws_signing.py",
        "    if credentials.session_token:",
        "    if False:",
        SIGNING,
    ),
    Mutant(
        "15 signing: a query is signed as it stands",
        "shared/aws_signing.py",
        "in sorted(pairs)",
        "in pairs",
        SIGNING,
    ),
    Mutant(
        "15 signing: a path is encoded once",
        "shared/aws_signing.py",
        'safe="/~"',
        'safe="/~%"',
        SIGNING,
    ),
    Mutant(
        "16 memory: what failed calls leave behind is not collected",
        "shared/wiring/clouds.py",
        "    gc.set_threshold(*_USUAL_THRESHOLDS)",
        "    pass",
        MEMORY,
    ),
    Mutant(
        "18 answers: the code decides before the status",
        "shared/huawei/faults.py",
        "if status >= HTTPStatus.INTERNAL_SERVER_ERROR:",
        "if status >= HTTPStatus.INTERNAL_SERVER_ERROR and row is None:",
        FAULTS,
    ),
    Mutant(
        "18 answers: 429 with the code of something else is no throttle",
        "shared/huawei/faults.py",
        "if status == HTTPStatus.TOO_MANY_REQUESTS:",
        "if status == HTTPStatus.TOO_MANY_REQUESTS and row is None:",
        FAULTS,
    ),
    Mutant(
        "18 answers: a conflict is final",
        "shared/huawei/faults.py",
        "HTTPStatus.LOCKED: Fault.CONFLICT",
        "HTTPStatus.LOCKED: Fault.UNCLEAR",
        HARD_ANSWERS,
    ),
    Mutant(
        "18 answers: an account without permission refuses the target",
        "shared/huawei/faults.py",
        'Row(".0304", Fault.DEPLOYMENT',
        'Row(".0304", Fault.REFUSED',
        FAULTS,
    ),
    Mutant(
        "18 answers: a code about one target answers for all of a call",
        "shared/huawei/faults.py",
        "if row is not None and not row.of_target:",
        "if row is not None:",
        FAULTS,
    ),
    Mutant(
        "18 answers: a call refused as a whole is the answer of each target",
        "shared/huawei/iotda.py",
        "return replace(finding, verdict=Verdict.CALL_REFUSED)",
        "return finding",
        HARD_ANSWERS,
    ),
    Mutant(
        "18 answers: a refused call is split though its task has ended",
        "shared/execution.py",
        "if state.verdict not in {Verdict.RUNS, Verdict.REFUSED}:",
        "if state.verdict is Verdict.NOT_FOUND:",
        HARD_ANSWERS,
    ),
    Mutant(
        "18 answers: a page in trouble is called a throttle",
        "shared/huawei/iotda.py",
        "return Reading(dict.fromkeys(paging.left, answer), (partial(self._read_page, task, again),), pause)",
        "return Reading(dict.fromkeys(paging.left, replace(answer, throttled=True)), "
        "(partial(self._read_page, task, again),), pause)",
        ("tests/unit/test_iotda.py",),
    ),
    Mutant(
        "19 scopes: one refused project ends the calls to all",
        "shared/execution.py",
        "if task.scope in self._faults or task in self._faults:",
        "if self._faults:",
        HARD_ANSWERS,
    ),
    Mutant(
        "19 scopes: a key is sent to project after project that refuses it",
        "shared/execution.py",
        "MOST_REFUSED: Final = 3",
        "MOST_REFUSED: Final = 300",
        HARD_ANSWERS,
    ),
    Mutant(
        "19 scopes: where the key was refused before is asked first again",
        "shared/execution.py",
        "return sorted(first.values(), key=lambda each: self._service.trust(task_of(each)) is Trust.REFUSED)",
        "return list(first.values())",
        HARD_ANSWERS,
    ),
    Mutant(
        "19 scopes: a key that is refused where it was accepted stays accepted elsewhere",
        "shared/huawei/client.py",
        "if before is Trust.ACCEPTED or len(self._trust) >= MOST_SCOPES:",
        "if len(self._trust) >= MOST_SCOPES:",
        ("tests/unit/test_huawei_client.py",),
    ),
    Mutant(
        "19 scopes: a call without an answer is tried again before the others are asked",
        "shared/execution.py",
        "waiting = [one for one in (*untried, *probes, *ready) if not one.is_over]",
        "waiting = [one for one in (*probes, *untried, *ready) if not one.is_over]",
        HARD_ANSWERS,
    ),
    Mutant(
        "20 attempts: what there was no time to send counts as tried",
        "shared/huawei/client.py",
        "was_asked = not isinstance(error, NoTimeLeft)",
        "was_asked = True",
        HARD_ANSWERS,
    ),
    Mutant(
        "20 attempts: what expires takes the rest of its call along",
        "shared/execution.py",
        "left = call.valid_at(now) if isinstance(call, Stop) else None",
        "left = None",
        HARD_ANSWERS,
    ),
    Mutant(
        "21 in doubt: a lost answer to a stop of a check counts as not taken",
        "shared/huawei/codearts_check.py",
        "return replace(finding, verdict=Verdict.IN_DOUBT) if reply.was_sent else finding",
        "return finding",
        IN_DOUBT,
    ),
    Mutant(
        "21 in doubt: a server error to a stop of a check counts as not taken",
        "shared/huawei/codearts_check.py",
        "is_in_doubt = reply.fault in {Fault.PASSING, Fault.CONFLICT}",
        "is_in_doubt = False",
        IN_DOUBT,
    ),
    Mutant(
        "21 in doubt: a direct call with the same input is sent without a read",
        "shared/workflow.py",
        "plan((), repeats=(command,)),",
        "plan((command,)),",
        WORKFLOW,
    ),
    Mutant(
        "21 in doubt: the remainder of a check is sent without a read",
        "shared/planning.py",
        "if command.attempt > 1:",
        "if False:",
        IN_DOUBT,
    ),
    Mutant(
        "21 in doubt: a repeated delivery of a check is sent without a read",
        "shared/planning.py",
        "sent_before = {task_of(command) for command in repeated}",
        "sent_before: set[Task] = set()",
        IN_DOUBT,
    ),
    Mutant(
        "19 scopes: a request without an answer counts as one that accepted the key",
        "shared/execution.py",
        "if any(finding.was_answered for finding in findings):",
        "if True:",
        EXECUTION,
    ),
    Mutant(
        "19 scopes: an odd answer about one task ends the calls to its project",
        "shared/execution.py",
        "if isinstance(fault, ForeignAnswer):",
        "if False:",
        HARD_ANSWERS,
    ),
    Mutant(
        "19 scopes: a call is split to its end before the others are asked",
        "shared/execution.py",
        "            yield  # the answer verified the key, so the rest may go beside other calls\n",
        "",
        HARD_ANSWERS,
    ),
    Mutant(
        "19 scopes: a call in a warm process is tried to its end before the others",
        "shared/execution.py",
        "        for each in sendings:\n            each.try_once()",
        "        for each in sendings:\n            while not each.is_over:\n                each.try_once()",
        HARD_ANSWERS,
    ),
    Mutant(
        "20 attempts: what is left of a repeat is a first attempt",
        "shared/settlement.py",
        "max(command.attempt + (not is_in_turn), 1 + is_repeat)",
        "command.attempt + (not is_in_turn)",
        HARD_ANSWERS,
    ),
    Mutant(
        "20 attempts: a late repeat that could not be read ends as given up",
        "shared/settlement.py",
        "target in states and states[target].was_asked for target",
        "target in states for target",
        HARD_ANSWERS,
    ),
    Mutant(
        "21 in doubt: a look for which there was no time counts as a try",
        "shared/findings.py",
        "return replace(state, was_asked=state.was_asked or unclear.was_asked)",
        "return replace(state, was_asked=True)",
        HARD_ANSWERS,
    ),
    Mutant(
        "21 in doubt: a refused read refuses the stop",
        "shared/findings.py",
        "case Verdict.REFUSED if unclear.verdict is not Verdict.UNCLEAR:",
        "case Verdict.REFUSED if unclear.verdict is Verdict.CALL_REFUSED:",
        HARD_ANSWERS,
    ),
    Mutant(
        "11 http: an answer of any length is read",
        "shared/http.py",
        "if length.isdecimal() and (len(length) > _DIGITS or int(length) > MAX_BODY_BYTES):",
        "if False:",
        HTTP,
    ),
    Mutant(
        "11 http: TLS has the time that connecting took once more",
        "shared/http.py",
        "            reached.settimeout(_time_to_connect())  # for TLS, or for what a proxy is asked\n",
        "",
        HTTP,
    ),
    Mutant(
        "13 C2: a proxy that refuses a tunnel is asked again and again",
        "shared/http.py",
        "4(?!08|29)",
        "9(?!08|29)",
        ("tests/unit/test_proxies.py",),
    ),
    Mutant(
        "13 C2: TLS within TLS is kept",
        "shared/http.py",
        "            and not self._is_tls_in_tls\n",
        "",
        ("tests/unit/test_proxies.py",),
    ),
    Mutant(
        "redelivery: a defect beyond one record leaves the messages hidden",
        "shared/deliveries.py",
        "            self._redeliver_soon(messages, deadline=deadline)\n            raise",
        "            raise",
        DELIVERIES,
    ),
)


def main() -> int:
    """Try the mutants; 0 only if every one was noticed."""
    wanted = [mutant for mutant in MUTANTS if not sys.argv[1:] or sys.argv[1].lower() in mutant.title.lower()]
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="stopline-mutants-") as folder:
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, Path(folder) / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder)
        for mutant in wanted:
            verdict = _try(mutant, Path(folder))
            survivors += verdict != "noticed"
            print(f"{verdict:>12}  {mutant.title}", flush=True)
    print(f"{len(wanted) - survivors} of {len(wanted)} mutants were noticed")
    return 1 if survivors or not wanted else 0


def _try(mutant: Mutant, folder: Path) -> str:
    path = folder / mutant.file
    code = path.read_text()
    if code.count(mutant.old) != 1:
        return "NOT IN CODE"
    path.write_text(code.replace(mutant.old, mutant.new))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *mutant.tests],
            cwd=folder,
            # No bytecode: a mutant of the same second and size would be taken for the code before it.
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "examples")},
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
    finally:
        path.write_text(code)
        shutil.rmtree(folder / "examples", ignore_errors=True)
    # 1: tests failed. Anything else but success is a broken mutant, not a noticed one.
    return {0: "SURVIVED", 1: "noticed"}.get(done.returncode, "BROKEN")


if __name__ == "__main__":
    raise SystemExit(main())
