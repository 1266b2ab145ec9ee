"""`python -m local.soak`: thousands of commands through real queues, with faults and killed processes, and a ledger.

Out of one seed come the work on the stand-in for Huawei Cloud, the commands of every kind (see `make_plan`), the
faults of Huawei Cloud, of EventBridge and of SQS, and how far the run has come when function processes are killed
with SIGKILL. What happens in which order is the machine's own affair, so a seed repeats the plan and not the run. When
all is quiet, `judge` compares what was sent with the outcome events, the stand-in's log, the dead-letter queues and
the queues; the exit status is 0 only if it all balances. Ctrl-C ends it with 130 and leaves nothing behind.

The template is deployed as it is. Then three things are changed, so that minutes do not take hours:

* time limits of the functions and visibility timeouts of their queues (`Tempo`); as on AWS, a message becomes visible
  only after its function's time limit, so nothing but a killed process makes SQS deliver one twice;
* the delay of remainders: `FaultyAws`, a loop-back proxy before SQS and EventBridge, divides `DelaySeconds`;
* the same proxy fails, throttles and cuts calls, single entries of them too, and has outages.

Huawei Cloud throttles by a small quota for the middle third of the run, and each kind of fault befalls some
3 to 10 of 1000 stops.

What can be proven, and what not:

* *Lost*: every command has a final event, and every target of it a result. Holds without exception.
* *Said twice*: a command that was sent once and is not in `Evidence.may_repeat` has one final event, and each target
  exactly one result over all its events. `may_repeat` are the commands of which an event or a message was in a call
  that the proxy failed, or had gone through a connection that ended less than a function's time limit later: whoever
  kills a process ends its connections, so these are the ones whose acknowledgement may have been lost, and some more.
* *Called again after a terminal result*: for such a command, and of its targets those that no other command names
  (calls carry no command, and targets of several commands share them), no stop names a target later than the
  moment in its result's event. A repeat before any event was published cannot be told from a first time, nor need it.
* *No contradiction*: whatever was repeated, nobody says that a target ended and later, for the same command, that it
  was refused or still ran, nor ever that it was not found (`gave_up` contradicts nothing: it says that nobody knows);
  and `refused` is never the answer to a stop that Huawei Cloud had taken before.
"""
