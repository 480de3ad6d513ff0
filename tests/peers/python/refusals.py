#!/usr/bin/env python3
"""Sends requests with requests, as the exporters of OpenTelemetry's SDK do, or with http.client.

Gets the requests from standard input as a JSON list, and prints one JSON object for each of them:
{"status": 401} or {"error": "why there is no answer"}. The argument is the name of the client.
"""

import http.client
import json
import sys
from urllib.parse import urlsplit

import requests

SESSION = requests.Session()
SESSION.trust_env = False  # no proxy, and no settings of the machine


def with_requests(url, headers, body):
    return SESSION.post(url, headers=headers, data=body, timeout=60).status_code


def with_http_client(url, headers, body):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    try:
        connection.request("POST", parts.path, body=body, headers=headers)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


CLIENTS = {"requests": with_requests, "http.client": with_http_client}


def main():
    send = CLIENTS[sys.argv[1]]
    for request in json.load(sys.stdin):
        try:
            status = send(request["url"], request["headers"], bytes(request["size"]))
            answer = {"status": status}
        except Exception as error:  # every reason why there is no answer
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
