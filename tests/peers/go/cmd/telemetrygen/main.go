// Command telemetrygen sends generated telemetry: `telemetrygen traces|metrics|logs FLAGS`.
// It has the flags of the Collector project's load generator, whose packages do the work.
package main

import (
	"fmt"
	"os"

	"github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen/pkg/logs"
	"github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen/pkg/metrics"
	"github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen/pkg/traces"
	"github.com/spf13/pflag"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run generates the signal that the first argument names.
func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: telemetrygen traces|metrics|logs FLAGS")
	}
	flags := pflag.NewFlagSet(args[0], pflag.ContinueOnError)
	var start func() error
	switch args[0] {
	case "traces":
		config := traces.NewConfig()
		config.Flags(flags)
		start = func() error { return traces.Start(config) }
	case "metrics":
		config := metrics.NewConfig()
		config.Flags(flags)
		start = func() error { return metrics.Start(config) }
	case "logs":
		config := logs.NewConfig()
		config.Flags(flags)
		start = func() error { return logs.Start(config) }
	default:
		return fmt.Errorf("unknown signal %q", args[0])
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	return start()
}
