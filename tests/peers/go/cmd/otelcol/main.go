// Command otelcol is a Collector with only the components that the tests need.
// It receives and sends OTLP, with bearer tokens.
package main

import (
	"os"
	"runtime/debug"
	"strings"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/bearertokenauthextension"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/envprovider"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/confmap/provider/yamlprovider"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/exporter/otlphttpexporter"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
)

func main() {
	settings := otelcol.CollectorSettings{
		BuildInfo: component.BuildInfo{
			Command:     "otelcol",
			Description: "Minimal OTLP Collector for interoperability tests",
			Version:     collectorVersion(),
		},
		Factories: factories,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{
			ResolverSettings: confmap.ResolverSettings{
				ProviderFactories: []confmap.ProviderFactory{
					envprovider.NewFactory(),
					fileprovider.NewFactory(),
					yamlprovider.NewFactory(),
				},
			},
		},
	}
	// The command has printed the error already.
	if otelcol.NewCommand(settings).Execute() != nil {
		os.Exit(1)
	}
}

// factories lists the components that a configuration may name. MakeFactoryMap
// also registers the older type names (otlp, otlphttp) of the two exporters.
func factories() (otelcol.Factories, error) {
	f := otelcol.Factories{
		// Without this factory the Collector has neither logs nor the
		// service.telemetry section.
		Telemetry: otelconftelemetry.NewFactory(),
	}
	var err error
	if f.Extensions, err = otelcol.MakeFactoryMap(bearertokenauthextension.NewFactory()); err != nil {
		return f, err
	}
	if f.Receivers, err = otelcol.MakeFactoryMap(otlpreceiver.NewFactory()); err != nil {
		return f, err
	}
	f.Exporters, err = otelcol.MakeFactoryMap(otlpexporter.NewFactory(), otlphttpexporter.NewFactory())
	return f, err
}

// collectorVersion takes the version from the module that was really linked,
// so it cannot disagree with go.mod.
func collectorVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "go.opentelemetry.io/collector/otelcol" {
				return strings.TrimPrefix(m.Version, "v")
			}
		}
	}
	return "unknown"
}
