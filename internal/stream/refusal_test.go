package stream

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/deadletter"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	plainsasl "github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// certificate is one for 127.0.0.1 and the pool that trusts it.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

func login(user, password string) kgo.Opt {
	return kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha256Mechanism())
}

// allow is everything that a service needs but one kind of resource.
func allow(but kmsg.ACLResourceType) (acls []kfake.ACL) {
	for _, a := range []struct {
		kind    kmsg.ACLResourceType
		name    string
		pattern kmsg.ACLResourcePatternType
	}{
		{kmsg.ACLResourceTypeTopic, "ebb.", kmsg.ACLResourcePatternTypePrefixed},
		{kmsg.ACLResourceTypeGroup, "detect", kmsg.ACLResourcePatternTypeLiteral},
		{kmsg.ACLResourceTypeTransactionalId, "ebbwatch-", kmsg.ACLResourcePatternTypePrefixed},
	} {
		if a.kind != but {
			acls = append(acls, kfake.ACL{Resource: a.kind, Name: a.name, Pattern: a.pattern, Operation: kmsg.ACLOperationAll, Allow: true})
		}
	}
	return acls
}

// TestARefusalIsOneClearLine: a cluster that answers, but not to us, ends a
// service within half a minute with one line that says what is wrong; nothing
// tries for ever.
func TestARefusalIsOneClearLine(t *testing.T) {
	t.Parallel()
	if *realBrokers != "" {
		t.Skip("needs kfake")
	}
	serving, pool := certificate(t)
	stranger, _ := certificate(t)
	// As Kafka does with what it does not understand; kfake would wait.
	closing := kfake.ListenFn(func(network, address string) (net.Listener, error) {
		ln, err := net.Listen(network, address)
		return closingListener{ln}, err
	})
	const none = kmsg.ACLResourceTypeUnknown
	cases := []struct {
		name   string
		broker []kfake.Opt
		client []kgo.Opt
		want   string // "" starts
	}{
		{"right", []kfake.Opt{kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("SCRAM-SHA-256", "root", "r"), kfake.User("SCRAM-SHA-256", "ebb", "right", allow(none)...)}, []kgo.Opt{login("ebb", "right")}, ""},
		{"password", []kfake.Opt{kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "ebb", "right")}, []kgo.Opt{login("ebb", "wrong")}, "wrong user or password"},
		{"no login", []kfake.Opt{kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "ebb", "right")}, nil, "it may expect a login (kafka.sasl.mechanism is empty)"},
		{"transactional id", []kfake.Opt{kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("SCRAM-SHA-256", "root", "r"), kfake.User("SCRAM-SHA-256", "ebb", "right", allow(kmsg.ACLResourceTypeTransactionalId)...)}, []kgo.Opt{login("ebb", "right")}, `no permission to the transactional id: the user needs the operations Write and Describe on transactional ids with the prefix "ebbwatch-detect"`},
		{"group", []kfake.Opt{kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("SCRAM-SHA-256", "root", "r"), kfake.User("SCRAM-SHA-256", "ebb", "right", allow(kmsg.ACLResourceTypeGroup)...)}, []kgo.Opt{login("ebb", "right")}, `no permission to the consumer group: the user needs the operation Read on group "detect"`},
		{"topics", []kfake.Opt{kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("SCRAM-SHA-256", "root", "r"), kfake.User("SCRAM-SHA-256", "ebb", "right", allow(kmsg.ACLResourceTypeTopic)...)}, []kgo.Opt{login("ebb", "right")}, "no permission to a topic: "},
		{"TLS expected", []kfake.Opt{kfake.TLS(serving)}, nil, "it expects TLS (kafka.tls.enabled is false)"},
		{"TLS not spoken", []kfake.Opt{closing}, []kgo.Opt{kgo.DialTLSConfig(&tls.Config{RootCAs: pool})}, "TLS at this address (kafka.tls.enabled is true)"},
		{"unknown authority", []kfake.Opt{kfake.TLS(stranger)}, []kgo.Opt{kgo.DialTLSConfig(&tls.Config{RootCAs: pool})}, "of an authority that is not trusted (kafka.tls.ca)"},
		{"TLS", []kfake.Opt{kfake.TLS(serving)}, []kgo.Opt{kgo.DialTLSConfig(&tls.Config{RootCAs: pool})}, ""},
	}
	together(t, len(cases), func(i int) string { return cases[i].name }, func(t *testing.T, i int) {
		t.Helper()
		tc := cases[i]
		cluster, err := kfake.NewCluster(append(tc.broker, kfake.NumBrokers(1))...)
		if err != nil {
			t.Fatal(err)
		}
		defer cluster.Close()
		began := time.Now()
		err = startService(t, cluster.ListenAddrs(), tc.client, tc.want == "")
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("took %s", took)
		}
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("error %v", err)
		case tc.want != "" && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("error %v", err)
		}
	})
}

// closingListener closes each connection at its first bytes.
type closingListener struct{ net.Listener }

func (l closingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		_, _ = c.Read(make([]byte, 16))
		_ = c.Close()
	}
	return c, err
}

// TestARefusalWhileRunning: the password is changed and the connections end.
func TestARefusalWhileRunning(t *testing.T) {
	t.Parallel()
	if *realBrokers != "" {
		t.Skip("needs kfake")
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "root", "r"), kfake.Superuser("SCRAM-SHA-256", "ebb", "right"),
		kfake.SeedTopics(1, "in", "out", "dead", "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	n := &network{}
	e, err := New(Config{
		Service: "test", Slot: "0", Brokers: cluster.ListenAddrs(), Inputs: []string{"in"}, State: "state", Outputs: []string{"out"}, DeadLetter: "dead",
		Options: []kgo.Opt{login("ebb", "right"), kgo.Dialer(n.dial), kgo.HeartbeatInterval(200 * time.Millisecond), kgo.MetadataMinAge(100 * time.Millisecond)},
	}, newCounter, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	e.conn.quiet = time.Second // five heartbeats
	done := make(chan error, 1)
	ctx := t.Context()
	go func() { done <- e.Run(ctx) }()
	for !e.Ready() {
		select {
		case err := <-done:
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	root, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.SASL(plainsasl.Auth{User: "root", Pass: "r"}.AsMechanism()))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	res, err := kadm.NewClient(root).AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: "ebb", Mechanism: kadm.ScramSha256, Iterations: 4096, Password: "changed"}})
	if err != nil || res.Error() != nil {
		t.Fatal(err, res.Error())
	}
	began := time.Now()
	n.mu.Lock()
	for _, c := range n.conns {
		_ = c.Close()
	}
	n.mu.Unlock()
	select {
	case err := <-done:
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "wrong user or password") {
			t.Errorf("error %v", err)
		}
		t.Logf("ended after %s", time.Since(began).Round(time.Second))
	case <-time.After(40 * time.Second):
		t.Error("tries for ever")
	}
}

// TestTopicsThatChangeUnderAService: a topic that is deleted, created anew or
// given more partitions while the engine runs ends it with a clear error.
func TestTopicsThatChangeUnderAService(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	cases := []struct {
		name string
		do   func(w *world) error
		want string
	}{
		{"input deleted", func(w *world) error { _, err := w.adm.DeleteTopic(ctx, "in"); return err }, "topic in was deleted while the service ran"},
		{"output deleted", func(w *world) error { _, err := w.adm.DeleteTopic(ctx, "out"); return err }, "topic out was deleted while the service ran"},
		{"created anew", func(w *world) error {
			_, err := w.adm.DeleteTopic(ctx, "in")
			if err == nil {
				_, err = w.adm.CreateTopic(ctx, 1, 1, nil, "in")
			}
			return err
		}, "topic in was deleted and created anew"},
		{"partition added", func(w *world) error { _, err := w.adm.CreatePartitions(ctx, 1, "in"); return err }, "ebbwatch state repartition"},
	}
	together(t, len(cases), func(i int) string { return cases[i].name }, func(t *testing.T, i int) {
		t.Helper()
		w := newWorld(t, 1)
		w.quiet = 500 * time.Millisecond
		in := w.start("A")
		w.produce(&kgo.Record{Topic: "in", Key: []byte("k"), Value: []byte("1 1")})
		w.settle()
		if err := cases[i].do(w); err != nil {
			t.Fatal(err)
		}
		want := cases[i].want
		if *realBrokers != "" && cases[i].name == "created anew" {
			want = "topic in was deleted" // it may be seen before it is created
		}
		if err := in.end(); !strings.Contains(err.Error(), want) {
			t.Errorf("error %v", err)
		}
	})
}

// TestAnOutputThatNoTopicTakes becomes a dead letter, once, and the stream goes
// on.
func TestAnOutputThatNoTopicTakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.produce(
		&kgo.Record{Topic: "in", Key: bytes.Repeat([]byte("k"), MaxOutputBytes), Value: []byte("1 1")},
		&kgo.Record{Topic: "in", Key: []byte("a"), Value: []byte("1 1")},
		&kgo.Record{Topic: "in", Key: []byte("a"), Value: []byte("100 1")}, // closes the window
	)
	i := w.start("A")
	w.settle()
	i.drain()
	dead := w.readAll("dead")
	if len(dead) != 1 {
		t.Fatalf("%d dead letters", len(dead))
	}
	letter, err := deadletter.Decode(dead[0].Value)
	if err != nil || letter.Reason != reasonTooLarge || *letter.Origin.Offset != 2 || len(letter.Raw) > 64<<10 {
		t.Errorf("%+v, error %v", letter, err)
	}
	if out := w.readAll("out"); len(out) != 1 || string(out[0].Key) != "a" {
		t.Errorf("%d outputs", len(out))
	}
}

// TestAbortsWithoutEndAreAnError: what is refused again and again ends the
// process.
func TestAbortsWithoutEndAreAnError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	// An output's batch is larger, the marker of a transaction's end (78 bytes)
	// is not: Kafka holds it to the same bound, and no abort ends without it.
	if _, err := w.adm.AlterTopicConfigs(context.Background(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: new("100")}}, "out"); err != nil {
		t.Fatal(err)
	}
	w.produce(&kgo.Record{Topic: "in", Key: []byte("k"), Value: []byte("1 1")}, &kgo.Record{Topic: "in", Key: []byte("k"), Value: []byte("100 1")})
	if err := w.start("A").end(); !strings.Contains(err.Error(), "transactions in a row were aborted, the last because of: produce to out: MESSAGE_TOO_LARGE") {
		t.Errorf("error %v", err)
	}
}

// startService runs what a service runs, until it is ready or ends by itself.
func startService(t *testing.T, brokers []string, opts []kgo.Opt, ready bool) error {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	opts = append(slices.Clone(opts), kgo.MetadataMinAge(100*time.Millisecond)) // 5 s by default
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	if err := EnsureTopics(ctx, ProducerConfig{Service: "detect", Brokers: brokers, Options: opts}, log, topic.Table()...); err != nil {
		return err
	}
	p, err := NewProducer(ProducerConfig{Service: "ingest", Brokers: brokers, Options: opts}, log)
	if err != nil {
		return err
	}
	if ready {
		if err := p.Start(ctx); err != nil {
			return err
		}
		p.Close()
	}
	e, err := New(Config{Service: "detect", Slot: "0", Brokers: brokers, Options: opts, Inputs: []string{topic.Cloud}, State: "ebb.state.x", Outputs: []string{topic.Signals}}, newCounter, log, nil)
	if err != nil {
		return err
	}
	if err := EnsureTopics(ctx, ProducerConfig{Service: "detect", Brokers: brokers, Options: opts}, log, topic.Topic{Name: "ebb.state.x", Partitions: 8, Embedded: 8}); err != nil {
		return err
	}
	done := make(chan error, 1)
	run, stop := context.WithCancel(ctx)
	defer stop()
	go func() { done <- e.Run(run) }()
	for {
		select {
		case err := <-done:
			return err
		case <-time.After(20 * time.Millisecond):
			if e.Ready() && ready {
				stop()
				return <-done
			}
		}
	}
}
