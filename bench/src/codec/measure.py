"""The four objects of the article through pickle, protocol 5: one JSON object of milliseconds on standard output."""
import json
import pickle
import sys
import time

try:
    import numpy as np
except ImportError as error:
    np, missing = None, str(error)

OBJECTS = {
    "arrays": lambda: [np.random.randn(50000) for i in range(100)],
    "dict_arrays": lambda: {"weight-" + str(i): np.random.randn(50000) for i in range(100)},
    "dict_sets": lambda: {i: set(["string1" + str(i), "string2" + str(i)]) for i in range(100000)},
    "strings": lambda: [str(i) for i in range(200000)],
}


def millis(work):
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def measure(make, repetitions):
    if np is None and "arrays" in make:
        return {"why": missing}
    value = OBJECTS[make]()
    dumped = pickle.dumps(value, protocol=5)
    rounds = range(repetitions + 1)
    return {
        "serialize": [millis(lambda: pickle.dumps(value, protocol=5)) for _ in rounds],
        "deserialize": [millis(lambda: pickle.loads(dumped)) for _ in rounds],
    }


print(json.dumps({name: measure(name, int(sys.argv[1])) for name in OBJECTS}))
