package app

import (
	"cmp"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
)

// Metric is a family of metrics that some service has.
type Metric struct {
	Name, Type, Help string
	Labels           []string
}

// described takes the text form of a prometheus.Desc apart: the type has no
// accessors.
var described = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*")(?:, unit: "[^"]*")?, constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// Metrics lists what all services count, but for the Go runtime's and the
// process's own: what the services register when each reads all that it can.
func Metrics() ([]Metric, error) {
	room := NewRoom(slog.New(slog.DiscardHandler))
	common := DefaultCommon("")
	var services []Service
	for _, kind := range ingest.Kinds() {
		cfg := ingest.Default()
		cfg.Sources = []ingest.Source{{Paths: []string{"."}}}
		cfg.Topics.Read = []string{"others"}
		if kind.Objects() {
			cfg.S3.Queues = []string{"https://sqs.eu-central-1.amazonaws.com/1/q"}
		}
		if kind.Messages() {
			cfg.PubSub.Subscriptions, cfg.PubSub.Project = []string{"s"}, "p"
		}
		if kind.Service == "ingest-falco" {
			cfg.Webhook.Listen = "127.0.0.1:0"
		}
		if kind.Service == "ingest-packet" {
			cfg.Topics.Read = nil
		}
		s, err := newIngest(room, kind.Service, &common, &cfg)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind.Service, err)
		}
		services = append(services, s)
	}
	for _, build := range []func() (Service, error){
		func() (Service, error) { return NewDetect(room, DefaultDetection()) },
		func() (Service, error) { return NewCorrelate(room, DefaultCorrelation()) },
	} {
		s, err := build()
		if err != nil {
			return nil, err
		}
		services = append(services, s)
	}
	if _, err := newSiteFile(room, &common, services); err != nil {
		return nil, err
	}
	return families(room.Metrics)
}

// families are those of a registry, by name.
func families(reg *prometheus.Registry) ([]Metric, error) {
	types := map[string]string{}
	gathered, err := reg.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather: %w", err)
	}
	for _, f := range gathered {
		if t := f.GetType(); t != dto.MetricType_UNTYPED {
			types[f.GetName()] = strings.ToLower(t.String())
		}
	}
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		reg.Describe(descs)
	}()
	byName := map[string]Metric{}
	for d := range descs {
		parts := described.FindStringSubmatch(d.String())
		if parts == nil {
			err = fmt.Errorf("a description of another form: %s", d)
			continue
		}
		m := Metric{Name: unquote(parts[1]), Help: unquote(parts[2])}
		if strings.HasPrefix(m.Name, "go_") || strings.HasPrefix(m.Name, "process_") {
			continue
		}
		for pair := range strings.SplitSeq(parts[3], ",") {
			if name, _, ok := strings.Cut(pair, "="); ok {
				m.Labels = append(m.Labels, name)
			}
		}
		m.Labels = append(m.Labels, strings.FieldsFunc(parts[4], func(r rune) bool { return r == ',' })...)
		// What has no series yet is no histogram: those have theirs from the start.
		m.Type = types[m.Name]
		if m.Type == "" {
			m.Type = "gauge"
			if strings.HasSuffix(m.Name, "_total") {
				m.Type = "counter"
			}
		}
		byName[m.Name] = m
	}
	var list []Metric
	for _, m := range byName {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b Metric) int { return cmp.Compare(a.Name, b.Name) })
	return list, err
}

func unquote(s string) string {
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(strings.Trim(s, `"`))
}
