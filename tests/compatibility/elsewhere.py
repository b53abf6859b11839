"""A program that knows nothing of the platform: plain Celery, the broker's address, names of tasks.

    python elsewhere.py REDIS_URL '[["compat.add", [1, 2], {}, {"countdown": 5}]]'

It sends what it is told to and prints the ids. A first item "chain" or "chord" makes a canvas of what follows.
"""

import json
import sys

from celery import Celery, chain, chord

app = Celery("elsewhere", broker=sys.argv[1])
app.conf.update(json.loads(sys.argv[3]) if len(sys.argv) > 3 else {})


def signature(call):
    name, args, kwargs, options = call
    return app.signature(name, args=args, kwargs=kwargs, **options)


ids = []
for call in json.loads(sys.argv[2]):
    if call[0] == "chain":
        ids.append(chain(*map(signature, call[1:])).apply_async().id)
    elif call[0] == "chord":
        ids.append(chord([signature(one) for one in call[1:-1]], signature(call[-1])).apply_async().id)
    elif call[0] == "revoke":
        app.control.revoke(call[1], **call[2])
    else:
        name, args, kwargs, options = call
        ids.append(app.send_task(name, args, kwargs, **options).id)

assert not any(name.partition(".")[0] in ("jobs", "scheduler_project") for name in sys.modules)
print(json.dumps(ids))
