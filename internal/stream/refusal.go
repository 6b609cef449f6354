package stream

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
)

// ErrRefused marks errors of a cluster that answers, but not to us: trying
// again is no remedy, so the process says what is wrong and ends. The client
// itself would try for ever.
var ErrRefused = errors.New("the cluster refuses this service")

// refusals is how often in a row a cluster must refuse before it is believed: a
// broker that starts does not know its users yet, and one that stops closes
// connections.
const refusals = 3

// refused is a refusal with the text for the person who can help.
type refused struct {
	text  string
	cause error
}

func (r *refused) Error() string { return r.text }

func (r *refused) Unwrap() []error { return []error{ErrRefused, r.cause} }

// refusal returns an error for a person when a client's error is one that
// trying again does not remedy, and nil otherwise.
func (c *connection) refusal(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrRefused) {
		return err
	}
	say := func(format string, args ...any) error {
		return &refused{fmt.Sprintf(format, args...), err}
	}
	at := strings.Join(c.brokers, ",")
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return say("broker %s refuses the login: wrong user or password (kafka.sasl.user, kafka.sasl.password)", at)
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return say("broker %s does not offer this kind of login (kafka.sasl.mechanism)", at)
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return say("no permission to the transactional id: the user needs the operations Write and Describe on transactional ids with the prefix %q", "ebbwatch-"+c.service)
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		return say("no permission to the consumer group: the user needs the operation Read on group %q", c.service)
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return say("no permission to a topic: %s (see the table of permissions in docs/howto/kafka-security.md)", plain(err))
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		return say("no permission on the cluster: %s (see the table of permissions in docs/howto/kafka-security.md)", plain(err))
	}
	if text := tlsRefusal(err); text != "" {
		return say("broker %s: %s", at, text)
	}
	return nil
}

// tlsRefusal says what is wrong between two ends of TLS, or nothing.
func tlsRefusal(err error) string {
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "its certificate is of an authority that is not trusted (kafka.tls.ca): " + e.Error()
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return "its certificate is for another name: " + e.Error()
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return "its certificate is not valid: " + e.Error()
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "it does not speak TLS at this address (kafka.tls.enabled is true)"
	}
	if e, ok := errors.AsType[tls.AlertError](err); ok {
		return "it ends the TLS handshake: " + e.Error() + " (does it ask for a client certificate? kafka.tls.cert, kafka.tls.key)"
	}
	return ""
}

// plain is an error without the client's explanations, on one line.
func plain(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	if e, ok := errors.AsType[*kerr.Error](err); ok {
		text = strings.TrimSuffix(text, ": "+e.Description)
	}
	return text
}

// Bounds of one look at a cluster.
const (
	askTimeout = 4 * time.Second
	tlsTimeout = 3 * time.Second
)

// ask asks for the cluster's metadata over a connection of its own. away is why
// there was no answer; refusal, if not nil, is the answer that there will not be
// any.
func (c *connection) ask(ctx context.Context) (away, refusal error) {
	var st stage
	probe, err := kgo.NewClient(c.base(kgo.RequestRetries(0), kgo.WithLogger(nil), kgo.WithHooks(&st))...)
	if err != nil {
		return err, nil
	}
	defer probe.Close()
	try, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if away = probe.Ping(try); away == nil || ctx.Err() != nil {
		return away, nil
	}
	if r := c.refusal(away); r != nil {
		return away, r
	}
	if closedEarly(away) && kmsg.Key(st.failed.Load()) == kmsg.SASLAuthenticate {
		return away, &refused{fmt.Sprintf("broker %s closes the connection during the login: wrong user or password? (kafka.sasl.user, kafka.sasl.password)", strings.Join(c.brokers, ",")), away}
	}
	return away, c.tryTLS(ctx, probe, away)
}

// diagnose is the refusal of a cluster that does not answer; nil when it cannot
// tell, or nothing is wrong by now.
func (c *connection) diagnose(ctx context.Context) error {
	_, refusal := c.ask(ctx)
	return refusal
}

// stage notes at which request a connection ends.
type stage struct{ failed atomic.Int32 }

// OnBrokerRead implements kgo.HookBrokerRead.
func (s *stage) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if err != nil {
		s.failed.Store(int32(key))
	}
}

// tryTLS shakes hands with a broker that a client cannot talk to.
func (c *connection) tryTLS(ctx context.Context, cl *kgo.Client, why error) error {
	ctx, cancel := context.WithTimeout(ctx, tlsTimeout)
	defer cancel()
	conn, at := c.dialAny(ctx)
	if conn == nil {
		return nil // away, which is no refusal
	}
	say := func(text string) error { return &refused{"broker " + at + ": " + text, why} }
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil //nolint:nilerr // closed
	}
	own, _ := cl.OptValue(kgo.DialTLSConfig).(*tls.Config)
	if own == nil {
		// Only whether it answers in TLS is asked, nothing is sent.
		err := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx) //nolint:gosec // as said
		if _, alert := errors.AsType[tls.AlertError](err); err == nil || alert {
			return say("it expects TLS (kafka.tls.enabled is false)")
		}
		if mechanisms, _ := cl.OptValue(kgo.SASL).([]sasl.Mechanism); len(mechanisms) == 0 && closedEarly(why) {
			return say("it closes the connection: it may expect a login (kafka.sasl.mechanism is empty)")
		}
		return nil
	}
	cfg := own.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(at)
	}
	tc := tls.Client(conn, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		if text := tlsRefusal(err); text != "" {
			return say(text)
		}
		if closedEarly(err) {
			return say("it closes the connection at the TLS handshake: it may not speak TLS at this address (kafka.tls.enabled is true)")
		}
		return say("it does not answer the TLS handshake: it may not speak TLS at this address (kafka.tls.enabled is true)")
	}
	if closedEarly(why) {
		return say("it closes the connection after the TLS handshake: it may expect a client certificate (kafka.tls.cert) or a login (kafka.sasl.mechanism)")
	}
	return nil
}

// dialAny connects to the first broker that listens.
func (c *connection) dialAny(ctx context.Context) (net.Conn, string) {
	var d net.Dialer
	for _, at := range c.brokers {
		if conn, err := d.DialContext(ctx, "tcp", at); err == nil {
			return conn, at
		}
	}
	return nil, ""
}

// closedEarly says that the other end has closed the connection.
func closedEarly(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// pulse remembers when a broker answered last, handshakes aside.
type pulse struct{ last atomic.Int64 }

func (p *pulse) beat() { p.last.Store(time.Now().UnixNano()) }

func (p *pulse) silent() time.Duration { return time.Since(time.Unix(0, p.last.Load())) }

// OnBrokerRead implements kgo.HookBrokerRead.
func (p *pulse) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	shaking := []kmsg.Key{kmsg.ApiVersions, kmsg.SASLHandshake, kmsg.SASLAuthenticate}
	if err == nil && !slices.Contains(shaking, kmsg.Key(key)) {
		p.beat()
	}
}

var (
	_ kgo.HookBrokerRead = (*pulse)(nil)
	_ kgo.HookBrokerRead = (*stage)(nil)
)

// watch looks why a cluster has not answered for a while, until ctx ends, and
// returns when it refuses.
func (c *connection) watch(ctx context.Context, p *pulse) error {
	quiet := cmp.Or(c.quiet, 8*time.Second)
	tick := time.NewTicker(quiet / 4)
	defer tick.Stop()
	n, told := 0, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if p.silent() < quiet {
			n = 0
			continue
		}
		why := c.diagnose(ctx)
		if why == nil {
			n = 0
			if time.Since(told) > time.Minute && ctx.Err() == nil {
				told = time.Now()
				c.log.Warn("no broker answers", "brokers", c.brokers, "silent", p.silent().Round(time.Second))
			}
			continue
		}
		if n++; n >= refusals {
			return why
		}
	}
}
