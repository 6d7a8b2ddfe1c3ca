"""A client that asks over HTTP what GoldenGate's MCP server asks, in its way, and prints each answer as a line of JSON.

    python mcp_like.py http://HOST USER PASSWORD TOOL [NAME=VALUE ...]

Before anything it asks for the domains of credentials, and ends when that is no success. It says what it accepts, and nothing
about the type of what it sends. Every answer that is no success ends it with the status and the text on standard error.
"""

import json
import sys

import requests

SERVICES = "/services/v2"
DISTRIBUTION = "/services/distsrvr/v2"
ADMINISTRATION = "/services/adminsrvr/v2"

STREAM = {"source": {"trail": "{trail}"}, "cloudEventsFormat": False, "encoding": "json", "bufferSize": 1048576,
          "qualityOfService": "exactlyOnce"}
CHECKPOINTS = {"name": "report", "reportType": "checkpointTables", "specification": "*.*",
               "credentials": {"domain": "{domain}", "alias": "{alias}"}}

TOOLS = {
    "list_domains": ("GET", SERVICES + "/credentials", None),
    "list_connections": ("GET", SERVICES + "/credentials/{domain}", None),
    "list_checkpoint_tables": ("POST", SERVICES + "/commands/execute", CHECKPOINTS),
    "list_extracts": ("GET", SERVICES + "/extracts", None),
    "list_replicats": ("GET", SERVICES + "/replicats", None),
    "list_distribution_paths": ("GET", SERVICES + "/sources", None),
    "list_data_streams": ("GET", DISTRIBUTION + "/stream", None),
    "list_trails": ("GET", ADMINISTRATION + "/trails", None),
    "get_extract_status": ("POST", SERVICES + "/extracts/{extract}/command", {"command": "STATUS"}),
    "get_extract_lag": ("POST", SERVICES + "/extracts/{extract}/command", {"command": "GETLAG", "isReported": True}),
    "get_extract_stats": ("POST", SERVICES + "/extracts/{extract}/command", {"command": "STATS", "isReported": True}),
    "get_extract_report": ("GET", SERVICES + "/extracts/{extract}/info/reports/{extract}.rpt", None),
    "get_extract_details": ("GET", SERVICES + "/extracts/{extract}", None),
    "create_connection": ("POST", SERVICES + "/credentials/{domain}/{alias}",
                          {"userid": "{userid}", "password": "{password}"}),
    "create_data_stream": ("POST", DISTRIBUTION + "/stream/{stream}", STREAM),
    "get_data_stream_info": ("GET", DISTRIBUTION + "/stream/{stream}/info", None),
    "get_data_stream_yaml": ("GET", DISTRIBUTION + "/stream/{stream}/yaml", None),
    "start": ("POST", SERVICES + "/commands/execute", {"name": "start", "processName": "{extract}"}),
    "stop": ("POST", SERVICES + "/commands/execute", {"name": "stop", "processName": "{extract}", "force": False}),
}


def filled(value, names):
    """The value with `{name}` replaced, however deep."""
    if isinstance(value, dict):
        return {member: filled(inner, names) for member, inner in value.items()}
    return value.format(**names) if isinstance(value, str) else value


def ask(session, base, tool, names):
    method, path, body = TOOLS[tool]
    headers = {"Accept": "application/json"}
    if tool == "get_data_stream_yaml":
        headers = {"Content-Type": "application/json", "Accept": "application/yaml"}
    body = None if body is None else json.dumps(filled(body, names))
    answer = session.request(method, base + filled(path, names), data=body, headers=headers, timeout=60)
    if not 200 <= answer.status_code < 300:
        sys.exit(f"{tool}: {answer.status_code} {answer.text}")
    return answer.text if tool == "get_data_stream_yaml" else answer.json()


def main(base, user, password, tool, *pairs):
    session = requests.Session()
    session.auth = (user, password)
    ask(session, base, "list_domains", {})
    names = dict(pair.split("=", 1) for pair in pairs)
    print(json.dumps(ask(session, base, tool, names)), flush=True)


main(*sys.argv[1:])
