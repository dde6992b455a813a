#!/usr/bin/python3
"""The BPI 2013 incident log (CSV, on stdin) as Holdfast commands (RESP, on stdout).

    xzcat bpic2013_incidents.csv.xz | ./convert.py --ids | redis-cli --pipe
"""

import argparse
import csv
import datetime
import sys

# (status, substatus) as the log has them: the state's name, and the event that leads into it.
STATES = {
    ("Accepted", "Assigned"): ("AcceptedAssigned", "Assign"),
    ("Accepted", "In Progress"): ("AcceptedInProgress", "Work"),
    ("Accepted", "Wait"): ("AcceptedWait", "Wait"),
    ("Accepted", "Wait - Customer"): ("AcceptedWaitCustomer", "WaitCustomer"),
    ("Accepted", "Wait - Implementation"): ("AcceptedWaitImplementation", "WaitImplementation"),
    ("Accepted", "Wait - User"): ("AcceptedWaitUser", "WaitUser"),
    ("Accepted", "Wait - Vendor"): ("AcceptedWaitVendor", "WaitVendor"),
    ("Completed", "Cancelled"): ("CompletedCancelled", "Cancel"),
    ("Completed", "Closed"): ("CompletedClosed", "Close"),
    ("Completed", "In Call"): ("CompletedInCall", "ResolveInCall"),
    ("Completed", "Resolved"): ("CompletedResolved", "Resolve"),
    ("Queued", "Awaiting Assignment"): ("QueuedAwaitingAssignment", "Queue"),
    ("Unmatched", "Unmatched"): ("Unmatched", "Unmatch"),
}


def seconds(timestamp):
    """ISO 8601 with an offset, as seconds since 1970."""
    return int(datetime.datetime.fromisoformat(timestamp).timestamp())


def commands(lines, ids=False):
    """The words of a command for each line of the log after its header, in its order."""
    for number, row in enumerate(csv.DictReader(lines), start=1):
        try:
            _state, event = STATES[row["status"], row["substatus"]]
            at = seconds(row["timestamp"])
        except (KeyError, TypeError, ValueError) as error:
            sys.exit(f"convert.py: event {number}: {error!r}")
        words = ["HF.SEND", "incidents", row["case"], event, "at", str(at)]
        # The event's number is unique for ever, so a log that is sent again changes nothing.
        yield words + ["ID", str(number)] if ids else words


def resp(words):
    """One command in Redis's protocol."""
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        raw = word.encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ids", action="store_true", help="add an id per event: a re-run is harmless")
    args = parser.parse_args()
    for words in commands(sys.stdin, args.ids):
        sys.stdout.buffer.write(resp(words))


if __name__ == "__main__":
    main()
