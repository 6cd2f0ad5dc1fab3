#!/usr/bin/env python3
"""Whether Bursar took every event as it should: `stored.py EVENTS.json`.

The customers of Stripe's client are none of Bursar's, so an event may wait for its customer, or have
died of it. None may have been unreadable, incomplete, or of the wrong mode.
"""

import json
import sys
from collections import Counter

# Reasons that say only whose the event is. See docs/support.md.
NOT_OURS = ("customer_unknown",)


def rows(document):
    return document["data"] if isinstance(document, dict) else document


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        events = rows(json.load(file))
    states = Counter()
    wrong = []
    for event in events:
        reason = (event.get("last_error") or "").split(":")[0].split(" ")[0]
        states[event["state"], reason] += 1
        if reason and reason not in NOT_OURS:
            wrong.append(f"{event['type']} ({event['state']}): {event['last_error']}")
        elif event["state"] not in ("processed", "waiting", "dead", "skipped"):
            wrong.append(f"{event['type']}: state {event['state']}")
    for (state, reason), count in sorted(states.items()):
        print(f"{count:>5} {state} {reason}")
    for line in wrong:
        print(f"not as it should be: {line}")
    if not events:
        raise SystemExit("no event arrived")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
