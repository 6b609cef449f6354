package app

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Common is what every service has in its configuration.
type Common struct {
	Kafka Kafka  `yaml:"kafka"`
	Admin Admin  `yaml:"admin"`
	Log   Log    `yaml:"log"`
	Site  string `yaml:"site" help:"site file (YAML): home networks, own and sanctioned names, thresholds"`
}

// Kafka says how to reach the brokers.
type Kafka struct {
	Brokers  []string `yaml:"brokers" help:"addresses of the Kafka brokers, host:port"`
	Embedded bool     `yaml:"embedded" help:"the broker is ebbwatch's embedded one: few partitions, nothing compacted, fresh transactional ids"`
	Instance string   `yaml:"instance" help:"name of this instance, unique in its service and the same after a restart; part of the transactional id"`
	TLS      TLS      `yaml:"tls"`
	SASL     SASL     `yaml:"sasl"`
}

// TLS is the transport security of the Kafka connection.
type TLS struct {
	Enabled bool   `yaml:"enabled" help:"connect with TLS"`
	CA      string `yaml:"ca" help:"PEM file with the authorities to trust instead of the system's"`
	Cert    string `yaml:"cert" help:"PEM file with the client certificate"`
	Key     string `yaml:"key" help:"PEM file with the key of the client certificate"`
}

// SASL is the login at the Kafka brokers.
type SASL struct {
	Mechanism string        `yaml:"mechanism" help:"PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; empty: no login"`
	User      string        `yaml:"user" help:"user name"`
	Password  config.Secret `yaml:"password" help:"password; better given as EBB_KAFKA_SASL_PASSWORD"`
}

// Admin is the admin endpoint.
type Admin struct {
	Listen string `yaml:"listen" help:"address of /metrics, /healthz and /readyz; empty: none"`
}

// Log says what is logged, on stderr.
type Log struct {
	Level  slog.Level `yaml:"level" help:"debug, info, warn or error"`
	Format string     `yaml:"format" help:"text or json"`
}

// DefaultCommon are the defaults of a service that listens on the given
// address.
func DefaultCommon(admin string) Common {
	return Common{
		Kafka: Kafka{Brokers: []string{"127.0.0.1:9092"}, Instance: "0"},
		Admin: Admin{Listen: admin},
		Log:   Log{Format: "text"},
	}
}

// mechanisms of SASL that are known.
var mechanisms = []string{"", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}

// Validate returns all problems.
func (c *Common) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if len(c.Kafka.Brokers) == 0 {
		bad("kafka.brokers", "is empty")
	}
	if c.Kafka.Instance == "" {
		bad("kafka.instance", "is empty")
	}
	if !slices.Contains(mechanisms, c.Kafka.SASL.Mechanism) {
		bad("kafka.sasl.mechanism", "%q is not PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", c.Kafka.SASL.Mechanism)
	}
	if c.Kafka.SASL.Mechanism != "" && c.Kafka.SASL.User == "" {
		bad("kafka.sasl.user", "is empty")
	}
	if (c.Kafka.TLS.Cert == "") != (c.Kafka.TLS.Key == "") {
		bad("kafka.tls", "cert and key go together")
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		bad("log.format", "%q is neither text nor json", c.Log.Format)
	}
	return errors.Join(errs...)
}

// Options are the client options of the connection.
func (k *Kafka) Options() ([]kgo.Opt, error) {
	var opts []kgo.Opt
	if k.TLS.Enabled {
		cfg := &tls.Config{MinVersion: tls.VersionTLS12}
		if k.TLS.CA != "" {
			pem, err := os.ReadFile(k.TLS.CA)
			if err != nil {
				return nil, fmt.Errorf("%w: kafka.tls.ca: %w", config.ErrUsage, err)
			}
			cfg.RootCAs = x509.NewCertPool()
			if !cfg.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("%w: kafka.tls.ca: %s holds no certificate", config.ErrUsage, k.TLS.CA)
			}
		}
		if k.TLS.Cert != "" {
			pair, err := tls.LoadX509KeyPair(k.TLS.Cert, k.TLS.Key)
			if err != nil {
				return nil, fmt.Errorf("%w: kafka.tls.cert: %w", config.ErrUsage, err)
			}
			cfg.Certificates = []tls.Certificate{pair}
		}
		opts = append(opts, kgo.DialTLSConfig(cfg))
	}
	user, password := k.SASL.User, k.SASL.Password.Reveal()
	switch k.SASL.Mechanism {
	case "PLAIN":
		opts = append(opts, kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism()))
	case "SCRAM-SHA-256":
		opts = append(opts, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha256Mechanism()))
	case "SCRAM-SHA-512":
		opts = append(opts, kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism()))
	}
	return opts, nil
}
