"""The tasks of .github/examples/airflow_dag.py, with Airflow's decorators and exceptions stood in for.

Reads {example, lake, hexport} from standard input. Prints what each task did.
"""

import importlib.util
import json
import sys
import types


class AirflowException(Exception):
    pass


class AirflowFailException(AirflowException):
    pass


class AirflowSkipException(AirflowException):
    pass


class Task:
    """A decorator, with and without arguments, that records the tasks of a DAG."""

    made = []

    def __call__(self, function=None, **settings):
        if function is None:
            return lambda function: self(function, **settings)
        self.made.append((function.__name__, settings.get("retries", 0)))
        return lambda *arguments: function.__name__


def dag(**settings):
    def decorate(function):
        def make():
            function()

        return make

    assert settings["schedule"], "a DAG of its own schedule"
    return decorate


sys.modules["airflow"] = types.ModuleType("airflow")
for name, members in [
    ("airflow.exceptions", [AirflowException, AirflowFailException, AirflowSkipException]),
    ("airflow.sdk", [dag]),
]:
    module = types.ModuleType(name)
    module.__dict__.update({member.__name__: member for member in members})
    sys.modules[name] = module
sys.modules["airflow.sdk"].task = Task()

asked = json.load(sys.stdin)
spec = importlib.util.spec_from_file_location("example", asked["example"])
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)


def outcome(call):
    try:
        return {"gave": call()}
    except AirflowException as e:
        return {"raised": type(e).__name__, "why": str(e)}


exported = outcome(lambda: example.export(asked["lake"], asked["hexport"]))
completed = outcome(lambda: example.complete(exported.get("gave")))
print(json.dumps({"tasks": Task.made, "export": exported, "complete": completed}))
