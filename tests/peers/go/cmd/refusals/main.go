// Command refusals sends requests with net/http, as the exporters of Go programs do, and prints
// what it reads. It gets the requests from standard input as a JSON list, and prints one JSON object
// for each of them: {"status": 401} or {"error": "why there is no answer"}.
package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
)

type request struct {
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	// The length of the body, in bytes.
	Size int `json:"size"`
}

func main() {
	var requests []request
	if err := json.NewDecoder(os.Stdin).Decode(&requests); err != nil {
		log.Fatal(err)
	}
	out := json.NewEncoder(os.Stdout)
	for _, r := range requests {
		answer := map[string]any{}
		if status, err := send(r); err != nil {
			answer["error"] = err.Error()
		} else {
			answer["status"] = status
		}
		if err := out.Encode(answer); err != nil {
			log.Fatal(err)
		}
	}
}

// send returns the status of the response. The client keeps connections open,
// as exporters do.
func send(r request) (int, error) {
	req, err := http.NewRequest(http.MethodPost, r.URL, bytes.NewReader(make([]byte, r.Size)))
	if err != nil {
		return 0, err
	}
	// net/http repeats a request on another connection if it can read the body again. A repeated
	// request would hide a lost answer.
	req.GetBody = nil
	for name, value := range r.Headers {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, err
	}
	return resp.StatusCode, nil
}
