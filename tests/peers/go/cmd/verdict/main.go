// Command verdict times the server-side Authenticate of the Collector's
// bearertokenauth extension. It runs every case once and prints one JSON object
// a line. The caller runs it several times, in turn with other programs.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/bearertokenauthextension"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/extension/extensionauth"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"golang.org/x/sys/unix"
)

const (
	modulePath = "github.com/open-telemetry/opentelemetry-collector-contrib/extension/bearertokenauthextension"
	scheme     = "StackState"

	hotTokens     = 64
	unknownToken  = 99999999 // in no set; its text has the length of the others
	minOperations = 5        // for cases slower than the budget
)

// A peer is one way in which the header reaches the extension. The HTTP
// receiver passes header names in canonical case, and the gRPC receiver passes
// them in lower case. The extension looks for the canonical name first.
type peer struct{ name, key string }

var peers = []peer{
	{"bearertokenauth_http", "Authorization"},
	{"bearertokenauth_grpc", "authorization"},
}

type testCase struct {
	name   string
	tokens int      // size of the accepted set
	values []string // header values, presented in turn
	accept bool
}

type result struct {
	Case        string  `json:"case"`
	Peer        string  `json:"peer"`
	Version     string  `json:"version"`
	Ns          float64 `json:"ns"`
	Allocations float64 `json:"allocations"`
}

func token(i int) string {
	return fmt.Sprintf("iapikeyok-%08d-Zq3LrT8w-mK2vB6xY-%06d", i, i%1000000)
}

func present(i int) string { return scheme + " " + token(i) }

// hot divides the tokens into 64 equal ranges and presents the token in the
// middle of each range. This gives a linear scan its average cost, because a
// scan costs as much as the position at which it stops.
func hot(tokens int) []string {
	values := make([]string, hotTokens)
	for j := range values {
		values[j] = present((2*j + 1) * tokens / (2 * hotTokens))
	}
	return values
}

func cases() []testCase {
	return []testCase{
		{"fixed_1_hit", 1, []string{present(0)}, true},
		{"fixed_10_hit", 10, []string{present(9)}, true},
		{"fixed_1k_hit", 1000, []string{present(999)}, true},
		{"fixed_100k_hit", 100000, hot(100000), true},
		{"fixed_1k_unknown", 1000, []string{present(unknownToken)}, false},
		{"malformed", 1000, []string{scheme + " iapikeyok-malformed,token"}, false},
	}
}

func newServer(ctx context.Context, tokens int) (extensionauth.Server, error) {
	factory := bearertokenauthextension.NewFactory()
	cfg := factory.CreateDefaultConfig().(*bearertokenauthextension.Config)
	cfg.Scheme = scheme
	for i := range tokens {
		cfg.Tokens = append(cfg.Tokens, configopaque.String(token(i)))
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	ext, err := factory.Create(ctx, extensiontest.NewNopSettings(factory.Type()), cfg)
	if err != nil {
		return nil, err
	}
	if err := ext.Start(ctx, componenttest.NewNopHost()); err != nil {
		return nil, err
	}
	server, ok := ext.(extensionauth.Server)
	if !ok {
		return nil, fmt.Errorf("%T is not a server authenticator", ext)
	}
	return server, nil
}

// processorTime returns the processor time that this thread has had so far, by
// the clock that the Rust benchmarks use. Wall-clock time would count the time
// slices that other programs get. getrusage moved in steps of 4 ms on the
// machine of the measurements, which is too coarse for a budget of 100 ms.
func processorTime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		log.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// run makes n calls and returns the processor time and the heap allocations
// they took.
func run(ctx context.Context, s extensionauth.Server, sources []map[string][]string, n int) (time.Duration, uint64) {
	var before, after runtime.MemStats
	next := 0
	runtime.ReadMemStats(&before)
	start := processorTime()
	for range n {
		_, _ = s.Authenticate(ctx, sources[next])
		// A modulo would cost a visible part of the fastest case.
		if next++; next == len(sources) {
			next = 0
		}
	}
	elapsed := processorTime() - start
	runtime.ReadMemStats(&after)
	return elapsed, after.Mallocs - before.Mallocs
}

func measure(ctx context.Context, s extensionauth.Server, c testCase, key string, budget time.Duration) (ns, allocations float64, err error) {
	sources := make([]map[string][]string, len(c.values))
	for i, v := range c.values {
		sources[i] = map[string][]string{key: {v}}
		// A wrong decision is an error, because its time would mean nothing.
		if _, err := s.Authenticate(ctx, sources[i]); (err == nil) != c.accept {
			return 0, 0, fmt.Errorf("%s: value %d: accepted=%t, want %t", c.name, i, err == nil, c.accept)
		}
	}

	// Collects the garbage of building the token set now, and not during the
	// measurement.
	runtime.GC()

	n := 1
	elapsed, _ := run(ctx, s, sources, n)
	for elapsed < budget/10 {
		n *= 2
		elapsed, _ = run(ctx, s, sources, n)
	}
	n = int(float64(n) * float64(budget) / float64(elapsed))
	n = max(n, minOperations)
	// Rounds n up to a multiple of the number of header values, so that each value
	// is presented equally often.
	if rest := n % len(sources); rest != 0 {
		n += len(sources) - rest
	}
	elapsed, mallocs := run(ctx, s, sources, n)
	return float64(elapsed.Nanoseconds()) / float64(n), float64(mallocs) / float64(n), nil
}

// moduleVersion returns the version of the linked module, so it cannot disagree
// with go.mod.
func moduleVersion() (string, error) {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == modulePath {
				return strings.TrimPrefix(m.Version, "v"), nil
			}
		}
	}
	return "", fmt.Errorf("%s is not in the build info", modulePath)
}

// round drops digits that are noise, such as a fraction of a tenth of a
// nanosecond, or a stray allocation of the runtime among millions of calls.
func round(x, steps float64) float64 { return math.Round(x*steps) / steps }

func main() {
	budget := flag.Duration("budget", 100*time.Millisecond, "processor time per case and peer")
	flag.Parse()
	if *budget <= 0 || flag.NArg() != 0 {
		log.Fatal("usage: verdict [-budget DURATION above 0]")
	}

	// The processor time is measured for one thread only, so main must stay on its
	// thread.
	runtime.LockOSThread()
	version, err := moduleVersion()
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	out := json.NewEncoder(os.Stdout)
	servers := map[int]extensionauth.Server{}
	for _, c := range cases() {
		if servers[c.tokens] == nil {
			if servers[c.tokens], err = newServer(ctx, c.tokens); err != nil {
				log.Fatal(err)
			}
		}
		// The two peers of a case run one directly after the other, so that the
		// machine is in the same state for both peers.
		for _, p := range peers {
			ns, allocations, err := measure(ctx, servers[c.tokens], c, p.key, *budget)
			if err != nil {
				log.Fatal(err)
			}
			if err := out.Encode(result{c.name, p.name, version, round(ns, 10), round(allocations, 100)}); err != nil {
				log.Fatal(err)
			}
		}
	}
}
