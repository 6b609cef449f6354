package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What a person says reaches a running correlate: a verdict revises its alert, a
// deployment window suppresses the staging in it until it is ended.
func TestVerdictsAndDeployments(t *testing.T) {
	t.Parallel()
	s := newSystem(t, t.TempDir(), map[string][]string{"correlate": nil})
	s.start()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.brokers))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	stage := func(pod string, at time.Time) {
		t.Helper()
		sig := signal.Signal{
			Detector: "archive-sensitive", Key: "default|" + pod, Role: signal.RoleStaging, Mode: signal.ModeAlert, Channel: "archive", Revision: 1,
			Start: at.UnixMicro(), First: at.UnixMicro(), Time: at.UnixMicro(), End: at.UnixMicro(),
			Score: 6, Floor: 1, Threshold: 5, Alert: true, Severity: signal.High, Confidence: "high", Reason: "an archive of secrets",
			Points:   []signal.Point{{Name: "archive", Points: 6, Value: 1, Threshold: 1}},
			Evidence: []signal.Evidence{{Topic: "ebb.host.v1", At: -1, Record: []byte(`{"kind":"process","v":1}`)}},
			Entity:   signal.Entity{Realm: "default", Namespace: "shop", Pod: pod},
		}
		sig.ID = signal.SignalID(sig.Detector, sig.Key, "", sig.Start)
		value, err := sig.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		r := &kgo.Record{
			Topic: "ebb.signals.v1", Key: []byte("default"), Value: value,
			Headers: []kgo.RecordHeader{{Key: "kind", Value: []byte(signal.KindSignal)}, {Key: "v", Value: []byte("1")}},
		}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	last := func(pod string) (a alert.Alert) {
		t.Helper()
		for _, x := range s.alerts() {
			if len(x.Entity.Pods) == 1 && x.Entity.Pods[0] == "shop/"+pod {
				a = x
			}
		}
		return a
	}
	say := func(args ...string) (code int, stdout, stderr string) {
		t.Helper()
		return run(t, "ebbwatch", append(args, "--kafka", s.brokers, "--by", "kim", "--why", "release 7")...)
	}

	stage("cart-1", time.Now())
	eventually(t, "the alert", func() bool { return last("cart-1").Revision == 1 })
	id := last("cart-1").ID
	if code, stdout, stderr := say("verdict", id, "benign"); code != 0 || stderr != "" || !strings.Contains(stdout, id+": benign (archive-sensitive, revision 1: ") {
		t.Fatalf("exit %d, %q, %q", code, stdout, stderr)
	}
	eventually(t, "the answer", func() bool { return last("cart-1").Revision == 2 })
	if a := last("cart-1"); a.Status != alert.Closed || a.Verdict == nil || a.Verdict.By != "kim" || a.Verdict.Why != "release 7" {
		t.Errorf("%+v", a)
	}
	if code, stdout, stderr := say("verdict", "nobody", "true"); code != 1 || stdout != "" || !oneLine(stderr) || !strings.Contains(stderr, `no such alert: "nobody"`) {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}

	if code, stdout, stderr := say("deployment", "begin", "--namespace", "shop", "--until", "10m"); code != 0 || !strings.Contains(stdout, "namespace shop: deployment from ") {
		t.Fatalf("exit %d, %q, %q", code, stdout, stderr)
	}
	stage("cart-2", time.Now())
	eventually(t, "the suppressed alert", func() bool { return last("cart-2").Revision > 0 })
	if a := last("cart-2"); a.Status != alert.Suppressed || a.Notify != "" {
		t.Errorf("%+v", a)
	}
	if code, stdout, stderr := say("deployment", "end", "--namespace", "shop"); code != 0 || !strings.Contains(stdout, " ended ") {
		t.Fatalf("exit %d, %q, %q", code, stdout, stderr)
	}
	stage("cart-3", time.Now().Add(time.Second))
	eventually(t, "the alert after the end", func() bool { return last("cart-3").Revision > 0 })
	if a := last("cart-3"); a.Status != alert.Open || a.Notify != alert.NotifyFirst {
		t.Errorf("%+v", a)
	}
	if code, _, stderr := say("deployment", "end", "--namespace", "shop"); code != 0 || !strings.Contains(stderr, "no deployment window is open") {
		t.Errorf("exit %d, %q", code, stderr)
	}
	s.stop()
}
