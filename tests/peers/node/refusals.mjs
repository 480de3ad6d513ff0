// Sends requests with the HTTP client of Node, as the exporters of JavaScript do, and prints what
// it reads. It gets the requests from standard input as a JSON list, and prints one JSON object for
// each of them: {"status": 401} or {"error": "why there is no answer"}.

import { readFileSync } from "node:fs";
import http from "node:http";

// A connection that breaks after its response was read is no lost answer.
process.on("uncaughtException", (error) => console.error(String(error)));

const agent = new http.Agent({ keepAlive: true });

function send({ url, headers, size }) {
  return new Promise((resolve) => {
    const options = { agent, method: "POST", headers: { ...headers, "content-length": size } };
    const request = http.request(url, options, (response) => {
      response.resume();
      response.on("end", () => resolve({ status: response.statusCode }));
      response.on("error", (error) => resolve({ error: String(error) }));
    });
    request.on("error", (error) => resolve({ error: String(error) }));
    request.end(Buffer.alloc(size));
  });
}

for (const request of JSON.parse(readFileSync(0, "utf8"))) {
  console.log(JSON.stringify(await send(request)));
}
agent.destroy();
