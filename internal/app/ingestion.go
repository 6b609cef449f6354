package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/stream"
)

// Ingestion configures one ingest service.
type Ingestion struct {
	Common `yaml:",inline"`

	Ingest ingest.Config `yaml:",inline"`
}

// adminPorts are the default ports of the ingest services' admin endpoints.
var adminPorts = map[string]int{
	"ingest-zeek": 9601, "ingest-flow": 9602, "ingest-falco": 9603, "ingest-cloudtrail": 9604, "ingest-packet": 9605, "ingest-gcp": 9606,
}

// DefaultIngestion are the defaults of an ingest service.
func DefaultIngestion(service string) *Ingestion {
	return &Ingestion{Common: DefaultCommon(fmt.Sprintf("127.0.0.1:%d", adminPorts[service])), Ingest: ingest.Default()}
}

// Validate returns all problems.
func (c *Ingestion) Validate() error { return errors.Join(c.Common.Validate(), c.Ingest.Validate()) }

// NewIngest makes the ingest service of that name.
func NewIngest(service string) func(*Room, *Ingestion) (Service, error) {
	return func(room *Room, c *Ingestion) (Service, error) { return newIngest(room, service, &c.Common, &c.Ingest) }
}

func newIngest(room *Room, service string, common *Common, cfg *ingest.Config) (Service, error) {
	kind, ok := ingest.KindOf(service)
	if !ok {
		return Service{}, fmt.Errorf("there is no ingest service %q", service)
	}
	opts, err := common.Kafka.Options()
	if err != nil {
		return Service{}, err
	}
	declared, err := readSite(common)
	if err != nil {
		return Service{}, err
	}
	kafka := stream.ProducerConfig{Slot: common.Kafka.Instance, Brokers: common.Kafka.Brokers, Embedded: common.Kafka.Embedded, Options: opts}
	s, err := ingest.New(kind, *cfg, ingest.World{
		Kafka: kafka, Site: declared.site, Log: room.Log, Registerer: labelled(room, service), Lag: room.Exfil.Lag, Loss: room.Exfil.Loss,
	})
	if err != nil {
		return Service{}, fmt.Errorf("%w: %w", config.ErrUsage, err)
	}
	out := Service{
		Name: service, Run: s.Run,
		Ready: func() error {
			select {
			case <-s.Ready():
				return nil
			default:
				return errors.New("positions are being read")
			}
		},
		Site: func(d *declaredSite) error { s.SetSite(d.site); return nil },
	}
	if out, err = withReaders(room, kind, cfg, kafka, declared, s, out); err != nil {
		return Service{}, err
	}
	return prepared(room, common, out), nil
}

// IngestMain is the whole main of an ingest service.
func IngestMain(ctx context.Context, p Process, service, description string) int {
	return Main(ctx, p, service, description, DefaultIngestion(service), func(c *Ingestion) *Common { return &c.Common }, NewIngest(service))
}

// Configuration is a service with its default configuration, for the
// reference page.
type Configuration struct {
	Service, Description string
	Config               any
}

// Configurations lists all services.
func Configurations() []Configuration {
	return []Configuration{
		{"ingest-zeek", "Reads Zeek logs", DefaultIngestion("ingest-zeek")},
		{"ingest-flow", "Reads VPC and transit gateway flow logs", DefaultIngestion("ingest-flow")},
		{"ingest-packet", "Reads packet captures", DefaultIngestion("ingest-packet")},
		{"ingest-falco", "Receives and reads Falco alerts", DefaultIngestion("ingest-falco")},
		{"ingest-cloudtrail", "Reads CloudTrail files", DefaultIngestion("ingest-cloudtrail")},
		{"ingest-gcp", "Reads logs of Google Cloud", DefaultIngestion("ingest-gcp")},
		{"detect", "Judges events and writes signals", DefaultDetection()},
		{"correlate", "Joins signals of one entity into alerts", DefaultCorrelation()},
		{"ebbwatch run", "All services in one process", DefaultEverything()},
	}
}
