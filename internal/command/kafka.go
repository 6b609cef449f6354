package command

import (
	"fmt"
	"io"

	"github.com/ebbwatch/ebbwatch/internal/app"
	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/twmb/franz-go/pkg/kgo"
)

// cluster is how a command reaches the brokers of a running site. TLS and the
// login are those of the services: the same file, or the same environment.
type cluster struct {
	Kafka    []string `placeholder:"ADDR" help:"Brokers, host:port; default 127.0.0.1:9092, or what the configuration says. TLS and login by --config or the environment, EBB_KAFKA_..., as for the services."`
	Embedded bool     `help:"The broker is the embedded one."`
	Config   string   `placeholder:"FILE" help:"Configuration file of 'ebbwatch run' or of a service, for its keys kafka.*."`
}

// settings returns brokers and client options.
func (c *cluster) settings(w *world) (kafka app.Kafka, opts []kgo.Opt, err error) {
	source := config.Source{Service: "ebbwatch", LookupEnv: w.process.LookupEnv, Stdout: io.Discard, Stderr: w.stderr}
	common := app.DefaultCommon("")
	if c.Config != "" {
		if common.Kafka, err = kafkaOf(c.Config); err != nil {
			return kafka, nil, err
		}
	}
	if len(c.Kafka) > 0 {
		common.Kafka.Brokers = c.Kafka
	}
	if _, err := source.Load(&common, app.Version()); err != nil {
		return kafka, nil, err
	}
	if len(c.Kafka) > 0 {
		common.Kafka.Brokers = c.Kafka // flags override the environment
	}
	common.Kafka.Embedded = common.Kafka.Embedded || c.Embedded
	if opts, err = common.Kafka.Options(); err != nil {
		return kafka, nil, err
	}
	return common.Kafka, opts, nil
}

// kafkaOf reads the keys kafka.* of a configuration file, whosever it is.
func kafkaOf(path string) (app.Kafka, error) {
	file := struct {
		Kafka app.Kafka      `yaml:"kafka"`
		Rest  map[string]any `yaml:",inline"`
	}{Kafka: app.DefaultCommon("").Kafka}
	if err := config.LoadFile(path, &file); err != nil {
		return app.Kafka{}, err
	}
	if len(file.Kafka.Brokers) == 0 {
		return app.Kafka{}, fmt.Errorf("%w: configuration file %s: kafka.brokers is empty", config.ErrUsage, path)
	}
	return file.Kafka, nil
}
