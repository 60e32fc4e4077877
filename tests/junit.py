"""Reads JUnit XML from standard input; writes its failures, in all and by suite, and why cases are skipped, as JSON."""

import json
import sys
import xml.etree.ElementTree as ElementTree

root = ElementTree.fromstring(sys.stdin.read())
suites = {suite.get("name"): len(suite.findall("testcase/failure")) for suite in root.iter("testsuite")}
stated = {suite.get("name"): int(suite.get("failures")) for suite in root.iter("testsuite")}
assert suites == stated and root.get("failures") == str(sum(suites.values())), (suites, stated)
skipped = {s.get("name"): [why.get("message") for why in s.findall("testcase/skipped")] for s in root.iter("testsuite")}
json.dump({"failures": sum(suites.values()), "suites": suites, "skipped": skipped}, sys.stdout)
