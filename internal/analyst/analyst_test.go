package analyst_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/internal/analyst"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/correlate"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// site is a cluster with the topics of a site, and a correlator for each
// partition of its signals.
type site struct {
	t           *testing.T
	cl          *kgo.Client
	client      *analyst.Client
	correlators []*correlate.Correlator
	alerts      []alert.Alert
	counts      map[string]int64
}

func newSite(t *testing.T, partitions int32) *site {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic.Signals), kfake.SeedTopics(3, topic.Alerts))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	opts := []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...)}
	s := &site{t: t, counts: map[string]int64{}}
	if s.cl, err = kgo.NewClient(append(opts, kgo.ConsumeTopics(topic.Signals), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.cl.Close)
	if s.client, err = analyst.Open(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	for range partitions {
		c, err := correlate.New(correlate.Config{})
		if err != nil {
			t.Fatal(err)
		}
		s.correlators = append(s.correlators, c)
	}
	return s
}

// Emit, Touch and Count make the site the context of its correlators.
func (s *site) Emit(o operator.Output) {
	if o.Topic != topic.Alerts {
		return
	}
	var a alert.Alert
	if err := alert.Decode(o.Value, &a); err != nil {
		s.t.Error(err)
	}
	s.alerts = append(s.alerts, a)
	s.produce(topic.Alerts, o.Kind, string(o.Key), append([]byte(nil), o.Value...))
}
func (s *site) Touch(int)                         {}
func (s *site) Count(name, label string, n int64) { s.counts[name+"/"+label] += n }

func (s *site) produce(name, kind, key string, value []byte) {
	s.t.Helper()
	r := &kgo.Record{Topic: name, Key: []byte(key), Value: value, Headers: []kgo.RecordHeader{{Key: "kind", Value: []byte(kind)}, {Key: "v", Value: []byte("1")}}}
	if err := s.cl.ProduceSync(s.t.Context(), r).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
}

// correlate lets the correlators take the next n records, and returns the last.
func (s *site) correlate(n int) (last *kgo.Record) {
	s.t.Helper()
	for n > 0 {
		fetches := s.cl.PollFetches(s.t.Context())
		if err := fetches.Err(); err != nil {
			s.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			n--
			last = r
			rec := operator.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp.UnixMicro(), Kind: string(r.Headers[0].Value), Key: r.Key, Value: r.Value}
			if err := s.correlators[r.Partition].Apply(&rec, s); err != nil {
				s.t.Error(err)
			}
		})
	}
	return last
}

// staging is a strong signal in a namespace, a while ago.
func (s *site) staging(domain, namespace string, at time.Time) {
	s.t.Helper()
	sig := signal.Signal{
		Detector: "archive-sensitive", Key: "default|" + namespace, Role: signal.RoleStaging, Mode: signal.ModeAlert, Channel: "archive", Revision: 1,
		Start: at.UnixMicro(), First: at.UnixMicro(), Time: at.UnixMicro(), End: at.Add(time.Minute).UnixMicro(),
		Score: 6, Floor: 1, Threshold: 5, Alert: true, Severity: signal.High, Confidence: "high", Reason: "an archive of secrets",
		Points:   []signal.Point{{Name: "archive", Points: 6, Value: 1, Threshold: 1}},
		Evidence: []signal.Evidence{{Topic: "ebb.host.v1", At: -1, Record: []byte(`{"kind":"process","v":1}`)}},
		Entity:   signal.Entity{Realm: "default", Namespace: namespace, Pod: "p"},
	}
	sig.ID = signal.SignalID(sig.Detector, sig.Key, "", sig.Start)
	value, err := sig.Append(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.produce(topic.Signals, signal.KindSignal, domain, value)
}

// other is a domain that lies in another partition than the default one.
func other(partitions int) string {
	for i := 0; ; i++ {
		name := "unit-" + strconv.Itoa(i)
		if stream.PartitionOf([]byte(name), partitions) != stream.PartitionOf([]byte("default"), partitions) {
			return name
		}
	}
}

// A verdict reaches the correlator that holds the alert, whatever its domain,
// as the record that the correlator takes.
func TestVerdictGoesToTheDomainOfItsAlert(t *testing.T) {
	t.Parallel()
	const partitions = 4
	s := newSite(t, partitions)
	domain := other(partitions)
	s.staging("default", "one", time.Now().Add(-time.Minute))
	s.staging(domain, "two", time.Now().Add(-time.Minute))
	s.correlate(2)
	if len(s.alerts) != 2 {
		t.Fatalf("%d alerts", len(s.alerts))
	}
	about := s.alerts[0]
	if about.Entity.Pods[0] != "two/p" {
		about = s.alerts[1]
	}
	v := signal.Verdict{AlertID: about.ID, Verdict: "benign", By: "kim", Why: "the nightly job", Time: time.Now().UnixMicro()}
	got, err := s.client.Verdict(t.Context(), v, "")
	if err != nil {
		t.Fatal(err)
	}
	if got.Domain != domain || got.Alert.Reason != about.Reason {
		t.Errorf("domain %q, %+v", got.Domain, got.Alert)
	}
	r := s.correlate(1)
	if string(r.Key) != domain || time.Since(r.Timestamp).Abs() > time.Minute {
		t.Errorf("key %q, stamped %s", r.Key, r.Timestamp)
	}
	var back signal.Verdict
	if err := signal.DecodeVerdict(r.Value, &back); err != nil {
		t.Fatal(err)
	}
	v.Kind, v.V = signal.KindVerdict, signal.Version
	if d := cmp.Diff(v, back); d != "" {
		t.Error(d)
	}
	last := s.alerts[len(s.alerts)-1]
	if len(s.alerts) != 3 || last.ID != about.ID || last.Status != alert.Closed || last.Verdict.By != "kim" || last.Verdict.Why != "the nightly job" {
		t.Errorf("%d alerts, the last %+v", len(s.alerts), last)
	}

	// The same again changes nothing, another answer does.
	v.Time++
	for _, answer := range []string{"benign", "true"} {
		v.Verdict = answer
		if _, err := s.client.Verdict(t.Context(), v, ""); err != nil {
			t.Fatal(err)
		}
		s.correlate(1)
	}
	if last := s.alerts[len(s.alerts)-1]; len(s.alerts) != 4 || last.Verdict.Verdict != "true" || s.counts["verdicts/repeated"] != 1 {
		t.Errorf("%d alerts, %v", len(s.alerts), s.counts)
	}
}

func TestVerdictOfAnUnknownAlert(t *testing.T) {
	t.Parallel()
	s := newSite(t, 2)
	v := signal.Verdict{AlertID: "nobody", Verdict: "true", By: "kim", Why: "x"}
	if _, err := s.client.Verdict(t.Context(), v, ""); !errors.Is(err, analyst.ErrUnknownAlert) {
		t.Errorf("error %v", err)
	}
	// An alert of which no signal is left: the domain must be given.
	s.produce(topic.Alerts, alert.Kind, "old", []byte(`{"class_uid":2004}`))
	v.AlertID = "old"
	if _, err := s.client.Verdict(t.Context(), v, ""); !errors.Is(err, analyst.ErrDomain) {
		t.Errorf("error %v", err)
	}
	if got, err := s.client.Verdict(t.Context(), v, "unit"); err != nil || got.Domain != "unit" {
		t.Errorf("%+v, %v", got, err)
	}
	if r := s.correlate(1); string(r.Key) != "unit" || s.counts["verdicts/unknown"] != 1 {
		t.Errorf("key %q, %v", r.Key, s.counts)
	}
}

// A window suppresses the staging inside it, a repeated beginning neither
// prolongs nor doubles it, and its end holds from then on.
func TestDeployment(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	now := time.Now().Truncate(time.Microsecond)
	shop := signal.Deployment{Namespace: "shop", By: "ci", Why: "release 7"}
	begun, err := s.client.Begin(t.Context(), shop, "default", now.Add(-20*time.Minute), 30*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if r := s.correlate(1); string(r.Key) != "default" {
		t.Errorf("key %q", r.Key)
	}
	again, err := s.client.Begin(t.Context(), shop, "default", now.Add(-15*time.Minute), 30*time.Minute)
	if err != nil || again.From != begun.From || again.Until != begun.Until {
		t.Errorf("again %+v, %v", again, err)
	}
	s.staging("default", "shop", now.Add(-12*time.Minute))
	s.correlate(2)
	if len(s.alerts) != 1 || s.alerts[0].Status != alert.Suppressed || s.counts["deployments/repeated"] != 1 {
		t.Fatalf("%+v, %v", s.alerts, s.counts)
	}

	_, was, err := s.client.End(t.Context(), signal.Deployment{Namespace: "cart", By: "ci", Why: "x"}, "default", now)
	if was || err != nil {
		t.Errorf("another namespace: %v %v", was, err)
	}
	ended, was, err := s.client.End(t.Context(), shop, "default", now.Add(-10*time.Minute))
	if !was || err != nil || ended.From != begun.From || ended.Until != now.Add(-10*time.Minute).UnixMicro() {
		t.Fatalf("%+v, %v, %v", ended, was, err)
	}
	s.staging("default", "shop", now.Add(-8*time.Minute))
	s.correlate(2)
	if last := s.alerts[len(s.alerts)-1]; last.Status == alert.Suppressed {
		t.Errorf("staging after the end is suppressed: %+v", last)
	}
	if _, was, err := s.client.End(t.Context(), shop, "default", now); was || err != nil {
		t.Errorf("the end again: %v %v", was, err)
	}
	if _, err := s.client.Begin(t.Context(), shop, "default", now, 31*time.Minute); err == nil {
		t.Error("a window of 31 minutes")
	}
}

func TestNotASite(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	c, err := analyst.Open(t.Context(), []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	_, err = c.Verdict(t.Context(), signal.Verdict{AlertID: "a", Verdict: "true", By: "kim", Why: "x"}, "")
	if err == nil || err.Error() != "topic ebb.alerts.v1 does not exist: no service of Ebbwatch has run on these brokers" {
		t.Errorf("%v", err)
	}
	if _, err := c.Begin(t.Context(), signal.Deployment{Namespace: "shop"}, "default", time.Now(), time.Minute); err == nil {
		t.Error("a window was written")
	}
}
