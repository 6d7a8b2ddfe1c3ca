"""Reads a page of metrics with Prometheus's own Python parser; prints a line of JSON for each family."""

import json
import sys

from prometheus_client.parser import text_string_to_metric_families

seen = set()
for family in text_string_to_metric_families(sys.stdin.read()):
    samples = [[sample.name, sample.labels, sample.value] for sample in family.samples]
    for name, labels, _ in samples:
        series = (name, tuple(sorted(labels.items())))
        assert series not in seen, f"{series} stands twice"
        seen.add(series)
    print(json.dumps({"name": family.name, "type": family.type, "help": family.documentation, "samples": samples}))
