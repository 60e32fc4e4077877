"""Reads JUnit XML from standard input; writes its failures, in all and by suite, as JSON."""

import json
import sys
import xml.etree.ElementTree as ElementTree

root = ElementTree.fromstring(sys.stdin.read())
suites = {suite.get("name"): len(suite.findall("testcase/failure")) for suite in root.iter("testsuite")}
stated = {suite.get("name"): int(suite.get("failures")) for suite in root.iter("testsuite")}
assert suites == stated and root.get("failures") == str(sum(suites.values())), (suites, stated)
json.dump({"failures": sum(suites.values()), "suites": suites}, sys.stdout)
