package correlate_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/correlate"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

func run(t *testing.T) *runner {
	t.Helper()
	r := newRunner(t, correlate.Config{})
	r.check = true
	return r
}

func TestStrongAlone(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.signal(minute, sig("dns-tunnel", 0, minute, strong, onAddress("10.0.0.5"), about("t.example")))
	r.expectStory("a1:dns-tunnel:open!first")
	a := r.alerts()[0]
	if a.Severity != "high" || a.Entity.Name != "10.0.0.5" || len(a.Evidence) != 1 || a.Points[0].Name != "dns-tunnel-point" || a.Created != t0+minute {
		t.Errorf("%+v", a)
	}
}

func TestWeakAloneIsSilent(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.signal(minute, sig("archive-sensitive", 0, minute, onHost("web-1")))
	r.signal(minute, sig("external-transfer", 0, minute, onHost("web-2"), bytesOf(90e6)))
	r.expectStory("")
}

func TestPair(t *testing.T) {
	t.Parallel()
	const file = 734_000_000
	for name, tc := range map[string]struct {
		staged, sent signal.Signal
		want         string
	}{
		"weak and weak": {
			sig("archive-sensitive", 0, minute, onHost("web-1")), sig("external-transfer", 5*minute, 9*minute, onHost("web-1"), bytesOf(20e6)), alert.RuleJoined,
		},
		"transfer starts first and overlaps": {
			sig("archive-sensitive", 2*minute, 6*minute, onHost("web-1")), sig("external-transfer", 0, 9*minute, onHost("web-1"), bytesOf(20e6)), alert.RuleJoined,
		},
		"transfer a little before": {
			sig("archive-sensitive", 9*minute, 9*minute, onHost("web-1")), sig("external-transfer", 0, 5*minute, onHost("web-1"), bytesOf(20e6)), alert.RuleJoined,
		},
		"65 minutes, with slack": {
			sig("archive-sensitive", 0, 0, onHost("web-1")), sig("external-transfer", 65*minute, 66*minute, onHost("web-1"), bytesOf(20e6)), alert.RuleJoined,
		},
		"66 minutes": {
			sig("archive-sensitive", 0, 0, onHost("web-1")), sig("external-transfer", 66*minute, 67*minute, onHost("web-1"), bytesOf(20e6)), alert.RuleJoinedDay,
		},
		"a day": {
			sig("archive-sensitive", 0, 0, onHost("web-1")), sig("external-transfer", day, day+minute, onHost("web-1"), bytesOf(20e6)), alert.RuleJoinedDay,
		},
		"more than a day": {
			sig("archive-sensitive", 0, 0, onHost("web-1")), sig("external-transfer", day+minute, day+minute, onHost("web-1"), bytesOf(20e6)), "",
		},
		"another host": {
			sig("archive-sensitive", 0, 0, onHost("web-1")), sig("external-transfer", 5*minute, 9*minute, onHost("web-2"), bytesOf(20e6)), "",
		},
		"too little staged": {
			sig("internal-fan-in", 0, 0, onHost("web-1"), bytesOf(49e6)), sig("external-transfer", 5*minute, 9*minute, onHost("web-1"), bytesOf(20e6)), "",
		},
		"too little sent": {
			sig("archive-sensitive", 0, 0, onHost("web-1")), sig("external-transfer", 5*minute, 9*minute, onHost("web-1"), bytesOf(9e6)), "",
		},
		"little to a rare destination is less sure": {
			sig("archive-sensitive", 0, 0, onHost("web-1")), sig("external-transfer", 5*minute, 9*minute, onHost("web-1"), bytesOf(2e6), rare), alert.RuleJoinedDay,
		},
		"next to nothing to a rare destination": {
			sig("archive-sensitive", 0, 0, onHost("web-1")), sig("external-transfer", 5*minute, 9*minute, onHost("web-1"), bytesOf(9e5), rare), "",
		},
		"DNS at 3 points": {
			sig("archive-sensitive", 0, 0, onHost("web-1")), sig("dns-tunnel", 5*minute, 9*minute, onHost("web-1"), score(3)), alert.RuleJoined,
		},
		"DNS below": {
			sig("archive-sensitive", 0, 0, onHost("web-1")), sig("dns-tunnel", 5*minute, 9*minute, onHost("web-1"), score(2)), "",
		},
		"ICMP at 2 points": {
			sig("archive-sensitive", 0, 0, onHost("web-1")), sig("icmp-tunnel", 5*minute, 9*minute, onHost("web-1"), score(2)), alert.RuleJoined,
		},
		"shadow": {
			sig("archive-sensitive", 0, 0, onHost("web-1"), shadow), sig("external-transfer", 5*minute, 9*minute, onHost("web-1"), bytesOf(20e6)), "",
		},
		"matching sizes": {
			sig("internal-fan-in", 0, 0, onHost("web-1"), bytesOf(file)), sig("external-transfer", 9*minute, 12*minute, onHost("web-1"), bytesOf(741e6)), alert.RuleJoined,
		},
		"cloud: one principal": {
			sig("bulk-object-read", 0, minute, byPrincipal("arn:r")), sig("foreign-copy", 9*minute, 9*minute, byPrincipal("arn:r")), alert.RuleJoined,
		},
	} {
		for _, reverse := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s reverse=%v", name, reverse), func(t *testing.T) {
				t.Parallel()
				r := run(t)
				first, then := tc.staged, tc.sent
				if reverse {
					first, then = then, first
				}
				r.signal(30*minute, first)
				r.signal(31*minute, then)
				var got strings.Builder
				for _, a := range r.alerts() {
					if a.Status != alert.Open || a.Notify != alert.NotifyFirst || a.Joined == nil {
						t.Errorf("%+v", a)
					}
					got.WriteString(a.Detector)
				}
				if got.String() != tc.want {
					t.Errorf("got %q, want %q", got.String(), tc.want)
				}
			})
		}
	}
}

func TestPairTells(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.signal(30*minute, sig("internal-fan-in", 0, 2*minute, onHost("web-1"), bytesOf(734e6), about("/srv/db")))
	r.signal(31*minute, sig("external-transfer", 11*minute, 20*minute, onHost("web-1"), bytesOf(741e6), to("203.0.113.9")))
	a := r.alerts()[0]
	if a.Severity != "critical" || a.Confidence != "high" || a.Classification != "UNCLASSIFIED" {
		t.Errorf("severity %s, confidence %s, class %s", a.Severity, a.Confidence, a.Classification)
	}
	if want := "read 734 MB of /srv/db, sent 741 MB to 203.0.113.9 port 443 (tls), 9 minutes later; the sizes match"; a.Reason != want {
		t.Errorf("reason %q", a.Reason)
	}
	j := a.Joined
	if j.Delta != 9 || !j.SameSize || *j.Staged.Bytes != 734e6 || *j.Sent.Bytes != 741e6 || j.Sent.Destination.Port != 443 || j.Revision != 1 {
		t.Errorf("%+v", j)
	}
	if !strings.HasPrefix(a.Action, "1. Preserve a memory image") {
		t.Errorf("action %q", a.Action)
	}
	points := map[string]float64{}
	for _, p := range a.Points {
		points[p.Name] = p.Points
	}
	if points["staging_and_transfer"] != 5 || points["same_size"] != 2 || points["internal-fan-in-point"] != 3 || points["external-transfer-point"] != 3 {
		t.Errorf("points %v", points)
	}
}

func TestDayRuleIsLessSure(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.signal(0, sig("archive-sensitive", 0, 0, onHost("web-1")))
	r.signal(10*hour, sig("external-transfer", 9*hour, 10*hour, onHost("web-1"), bytesOf(20e6)))
	if a := r.alerts()[0]; a.Severity != "high" || a.Confidence != "low" || a.Joined.Delta != 540 {
		t.Errorf("severity %s, confidence %s, delta %v", a.Severity, a.Confidence, a.Joined.Delta)
	}
}

// A single alert becomes the correlated one under the same id.
func TestSingleBecomesCorrelated(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.signal(minute, sig("archive-sensitive", 0, minute, strong, onHost("web-1")))
	r.signal(20*minute, sig("external-transfer", 5*minute, 9*minute, onHost("web-1"), bytesOf(20e6)))
	r.expectStory("a1:archive-sensitive:open!first a2:staging-then-exfil:updated!raised")
	if a := r.alerts()[1]; a.Joined.Revision != 2 {
		t.Errorf("joined in revision %d", a.Joined.Revision)
	}
}

// The half that comes late revises the alert that stands.
func TestLateHalf(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.signal(10*minute, sig("external-transfer", 5*minute, 9*minute, strong, byPrincipal("arn:r"), bytesOf(900e6)))
	r.signal(25*minute, sig("bulk-object-read", 0, 4*minute, strong, byPrincipal("arn:r")))
	r.expectStory("a1:external-transfer:open!first a2:staging-then-exfil:updated!raised")
}

// Within a minute the order of arrival does not decide the id.
func TestOlderFounderTakesOver(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.signal(10*minute, sig("dns-tunnel", 5*minute, 9*minute, strong, onHost("web-1")))
	r.signal(10*minute+30*second, sig("archive-sensitive", 0, 4*minute, strong, onHost("web-1")))
	r.expectStory("a1:dns-tunnel:open!first b1:staging-then-exfil:open!first a2:dns-tunnel:retracted!retracted")
	all := r.alerts()
	if all[2].SupersededBy != all[1].ID {
		t.Error("the first id does not lead to the second")
	}
}

// Two alerts turn out to be one entity: the older stays.
func TestMerge(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.signal(minute, sig("archive-sensitive", 0, minute, strong, onHost("web-1")))
	r.signal(10*minute, sig("dns-tunnel", 5*minute, 9*minute, strong, onAddress("10.0.0.5"), about("t.example")))
	r.fact(20*minute, "address:default|10.0.0.5", "host:web-1", 0)
	r.expectStory("a1:archive-sensitive:open!first b1:dns-tunnel:open!first a2:staging-then-exfil:updated!raised b2:dns-tunnel:retracted!retracted")
	all := r.alerts()
	if all[3].SupersededBy != all[2].ID {
		t.Error("the retracted alert does not lead to the other")
	}
	// A verdict on the retracted one is about what it has become.
	r.verdict(21*minute, all[1].ID, "true")
	if a := r.alerts()[4]; a.ID != all[0].ID || a.Verdict == nil || a.Verdict.Verdict != "true" || a.Notify != "" {
		t.Errorf("%+v", a)
	}
}

// A corrected identity parts what was joined.
func TestCorrectedIdentity(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.fact(0, "address:default|10.0.0.5", "host:web-1", 0)
	r.signal(minute, sig("archive-sensitive", 0, minute, strong, onHost("web-1")))
	r.signal(10*minute, sig("external-transfer", 5*minute, 9*minute, onAddress("10.0.0.5"), bytesOf(50e6)))
	r.fact(20*minute, "address:default|10.0.0.5", "host:web-2", 4*minute)
	r.expectStory("a1:archive-sensitive:open!first a2:staging-then-exfil:updated!raised a3:archive-sensitive:updated")
}

func TestCorrectedIdentityRetracts(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.fact(0, "address:default|10.0.0.5", "host:web-1", 0)
	r.signal(minute, sig("archive-sensitive", 0, minute, onHost("web-1")))
	r.signal(10*minute, sig("external-transfer", 5*minute, 9*minute, onAddress("10.0.0.5"), bytesOf(50e6)))
	r.fact(20*minute, "address:default|10.0.0.5", "host:web-2", 4*minute)
	r.expectStory("a1:staging-then-exfil:open!first a2:staging-then-exfil:retracted!retracted")
}

// An address that changed hands joins neither host with the other's traffic.
func TestAddressReuse(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.fact(0, "address:default|10.0.0.5", "host:web-1", 0)
	r.fact(2*hour, "address:default|10.0.0.5", "host:web-2", 2*hour)
	r.signal(2*hour, sig("archive-sensitive", 100*minute, 110*minute, onHost("web-1")))
	r.signal(2*hour, sig("external-transfer", 125*minute, 130*minute, onAddress("10.0.0.5"), bytesOf(50e6)))
	r.expectStory("")
	r.signal(2*hour, sig("archive-sensitive", 101*minute, 119*minute, onHost("web-2"), about("x")))
	r.expectStanding("staging-then-exfil web-2 open")
}

// Two pods of a node do not incriminate each other; the node's own address
// fits to either and goes to the closer one.
func TestPods(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.signal(0, sig("archive-sensitive", 0, 0, onPod("node-1", "shop", "cart-1")))
	r.signal(0, sig("transfer-tool", minute, 2*minute, onPod("node-1", "shop", "cart-2")))
	r.expectStory("")
	r.signal(0, sig("archive-sensitive", 20*minute, 20*minute, onPod("node-1", "shop", "cart-3")))
	r.fact(0, "address:default|10.0.0.9", "host:node-1", 0)
	r.signal(0, sig("external-transfer", 22*minute, 25*minute, onAddress("10.0.0.9"), bytesOf(50e6)))
	r.expectStanding("staging-then-exfil node-1 open")
	if got := r.alerts()[0].Entity.Pods; len(got) != 1 || got[0] != "shop/cart-3" {
		t.Errorf("pods %v", got)
	}
}

// N stagings and M transfers are one alert.
func TestManyByMany(t *testing.T) {
	t.Parallel()
	r := newRunner(t, correlate.Config{})
	r.fact(0, "address:default|10.0.0.5", "host:web-1", 0)
	for i := range int64(30) {
		r.signal(i*minute, sig("archive-sensitive", i*minute, i*minute+1, strong, onHost("web-1"), about(fmt.Sprint(i))))
		r.signal(i*minute, sig("external-transfer", i*minute, i*minute+1, onAddress("10.0.0.5"), bytesOf(20e6), about(fmt.Sprint(i))))
	}
	r.markAt(31*minute, t0+30*minute)
	r.expectStanding("staging-then-exfil web-1 updated")
	all := r.alerts()
	if len(all) > 10 {
		t.Errorf("%d revisions", len(all))
	}
	if a := all[len(all)-1]; a.SignalsTotal < 50 || len(a.Signals) > 20 {
		t.Errorf("%d of %d signals", len(a.Signals), a.SignalsTotal)
	}
}

// A revision of a signal that changes nothing material waits, and nothing is
// emitted when nothing changed.
func TestQuiet(t *testing.T) {
	t.Parallel()
	r := run(t)
	s := sig("upload-ratio", 0, minute, strong, onHost("web-1"), bytesOf(20e6))
	r.signal(minute, s)
	r.signal(2*minute, s)
	bytesOf(30e6)(&s)
	r.signal(3*minute, s)
	r.expectStory("a1:upload-ratio:open!first")
	r.markAt(6*minute-1, t0)
	r.expectStory("a1:upload-ratio:open!first")
	r.markAt(6*minute, t0)
	r.expectStory("a1:upload-ratio:open!first a2:upload-ratio:updated")
	r.markAt(20*minute, t0)
	s.Severity = signal.Critical
	r.signal(21*minute, s)
	r.signal(21*minute+1, sig("archive-sensitive", 0, minute, onHost("web-9")))
	r.expectStory("a1:upload-ratio:open!first a2:upload-ratio:updated a3:upload-ratio:updated!raised")
}

// What waits comes out when all sources have ended.
func TestEndBringsOutWhatWaits(t *testing.T) {
	t.Parallel()
	r := run(t)
	s := sig("upload-ratio", 0, minute, strong, onHost("web-1"), bytesOf(20e6))
	r.signal(minute, s)
	bytesOf(30e6)(&s)
	r.signal(2*minute, s)
	r.markAt(2*minute, 1<<63-1)
	r.expectStory("a1:upload-ratio:open!first a2:upload-ratio:updated")
	if a := r.alerts()[1]; len(a.Completeness) != 1 || !a.Completeness[0].Ended {
		t.Errorf("completeness %+v", a.Completeness)
	}
}

// A signal that no longer reaches its threshold takes its alert with it; when
// it does again, the same alert comes back.
func TestSignalTakesItselfBack(t *testing.T) {
	t.Parallel()
	r := run(t)
	s := sig("dns-tunnel", 0, minute, strong, onHost("web-1"))
	r.signal(minute, s)
	weak := s
	weak.Alert, weak.Score = false, 3
	r.signal(2*minute, weak)
	r.signal(3*minute, s)
	r.expectStory("a1:dns-tunnel:open!first a2:dns-tunnel:retracted!retracted a3:dns-tunnel:updated!first")
}

func TestCloses(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.signal(minute, sig("dns-tunnel", 0, minute, strong, onHost("web-1"), about("a")))
	r.markAt(23*hour, t0+23*hour)
	r.expectStory("a1:dns-tunnel:open!first")
	r.markAt(24*hour+2*minute, t0+24*hour+minute)
	r.expectStory("a1:dns-tunnel:open!first a2:dns-tunnel:closed")
	r.signal(26*hour, sig("dns-tunnel", 25*hour, 26*hour, strong, onHost("web-1"), about("b")))
	r.expectStory("a1:dns-tunnel:open!first a2:dns-tunnel:closed b1:dns-tunnel:open!first")
}

// Without marks the append time closes.
func TestClosesByAppendTime(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.signal(minute, sig("dns-tunnel", 0, minute, strong, onHost("web-1"), about("a")))
	r.signal(25*hour, sig("transfer-tool", 25*hour, 25*hour, onHost("web-7")))
	r.expectStory("a1:dns-tunnel:open!first a2:dns-tunnel:closed")
}

// An incident that lasts days stays one although its signals are forgotten.
func TestLongIncident(t *testing.T) {
	t.Parallel()
	r := newRunner(t, correlate.Config{})
	for h := range int64(500) {
		r.signal(h*hour, sig("dns-tunnel", h*hour, h*hour+1, strong, onHost("web-1"), about("t")))
		r.markAt(h*hour, t0+h*hour)
	}
	r.expectStanding("dns-tunnel web-1 updated")
	if got := r.counts["signals_evicted/entity"]; got != 500-128 {
		t.Errorf("%d evicted", got)
	}
	all := r.alerts()
	if a := all[len(all)-1]; a.SignalsTotal != 500 {
		t.Errorf("%d signals", a.SignalsTotal)
	}
}

func TestDeployment(t *testing.T) {
	t.Parallel()
	window := signal.Deployment{Namespace: "shop", From: t0, Until: t0 + 10*hour}
	staging := func(first int64, opts ...option) signal.Signal {
		return sig("archive-sensitive", first, first+minute, append([]option{strong, onPod("node-1", "shop", "cart-1")}, opts...)...)
	}
	t.Run("excuses staging", func(t *testing.T) {
		t.Parallel()
		r := run(t)
		r.deployment(0, window)
		r.signal(minute, staging(0))
		r.expectStory("a1:archive-sensitive:suppressed")
	})
	t.Run("also when it is told afterwards", func(t *testing.T) {
		t.Parallel()
		r := run(t)
		r.signal(minute, staging(0))
		r.deployment(2*minute, window)
		r.expectStory("a1:archive-sensitive:open!first a2:archive-sensitive:suppressed")
	})
	t.Run("for half an hour", func(t *testing.T) {
		t.Parallel()
		r := run(t)
		r.deployment(0, window)
		r.signal(31*minute, staging(30*minute))
		r.expectStory("a1:archive-sensitive:open!first")
	})
	t.Run("not by one window after the other", func(t *testing.T) {
		t.Parallel()
		r := run(t)
		for i := range int64(6) {
			r.deployment(i*10*minute, signal.Deployment{Namespace: "shop", From: t0 + i*10*minute, Until: t0 + (i+1)*10*minute})
		}
		r.signal(42*minute, staging(40*minute))
		r.expectStory("a1:archive-sensitive:open!first")
	})
	t.Run("not restricted data", func(t *testing.T) {
		t.Parallel()
		r := run(t)
		r.deployment(0, window)
		r.signal(minute, staging(0, restricted))
		r.expectStory("a1:archive-sensitive:open!first")
	})
	t.Run("not another namespace", func(t *testing.T) {
		t.Parallel()
		r := run(t)
		r.deployment(0, signal.Deployment{Namespace: "other", From: t0, Until: t0 + hour})
		r.signal(minute, staging(0))
		r.expectStory("a1:archive-sensitive:open!first")
	})
	t.Run("not with a transfer", func(t *testing.T) {
		t.Parallel()
		r := run(t)
		r.deployment(0, window)
		r.signal(minute, staging(0))
		r.signal(9*minute, sig("external-transfer", 5*minute, 8*minute, onPod("node-1", "shop", "cart-1"), bytesOf(60e6)))
		r.expectStory("a1:archive-sensitive:suppressed a2:staging-then-exfil:updated!first")
	})
	t.Run("not after a transfer was joined", func(t *testing.T) {
		t.Parallel()
		r := run(t)
		r.fact(0, "address:default|10.0.0.5", "host:node-1", 0)
		r.deployment(0, window)
		r.signal(minute, staging(0))
		r.signal(9*minute, sig("external-transfer", 5*minute, 8*minute, onAddress("10.0.0.5"), bytesOf(60e6)))
		r.fact(20*minute, "address:default|10.0.0.5", "host:node-2", 4*minute)
		r.expectStory("a1:archive-sensitive:suppressed a2:staging-then-exfil:updated!first a3:archive-sensitive:updated")
	})
	t.Run("by host", func(t *testing.T) {
		t.Parallel()
		r := run(t)
		r.deployment(0, signal.Deployment{Host: "Node-1", From: t0, Until: t0 + hour})
		r.signal(minute, staging(0))
		r.expectStory("a1:archive-sensitive:suppressed")
	})
	t.Run("until it is ended", func(t *testing.T) {
		t.Parallel()
		r := run(t)
		r.deployment(0, signal.Deployment{Namespace: "shop", From: t0, Until: t0 + 30*minute})
		r.deployment(10*minute, signal.Deployment{Namespace: "shop", From: t0, Until: t0 + 10*minute})
		r.signal(11*minute, staging(8*minute))
		r.signal(21*minute, sig("archive-sensitive", 20*minute, 20*minute, strong, onPod("node-2", "shop", "cart-2")))
		r.expectStory("a1:archive-sensitive:suppressed b1:archive-sensitive:open!first")
	})
	t.Run("what the end excludes is told", func(t *testing.T) {
		t.Parallel()
		r := run(t)
		r.deployment(0, signal.Deployment{Namespace: "shop", From: t0, Until: t0 + 30*minute})
		r.signal(13*minute, staging(12*minute))
		r.deployment(20*minute, signal.Deployment{Namespace: "shop", From: t0, Until: t0 + 10*minute})
		r.expectStory("a1:archive-sensitive:suppressed a2:archive-sensitive:updated!first")
	})
	t.Run("told twice counts once", func(t *testing.T) {
		t.Parallel()
		r := run(t)
		for range 3 {
			r.deployment(0, window)
		}
		if r.counts["deployments/taken"] != 1 || r.counts["deployments/repeated"] != 2 {
			t.Errorf("%v", r.counts)
		}
	})
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	r := run(t)
	s := sig("upload-ratio", 0, minute, strong, onHost("web-1"), bytesOf(20e6))
	r.signal(minute, s)
	id := r.alerts()[0].ID
	r.verdict(2*minute, id, "unsure")
	r.verdict(3*minute, id, "benign")
	r.verdict(4*minute, id, "benign") // the same answer again
	r.expectStory("a1:upload-ratio:open!first a2:upload-ratio:updated a3:upload-ratio:closed")
	// More of the same stays closed, also where it is another window of it.
	bytesOf(40e6)(&s)
	r.signal(10*minute, s)
	r.signal(11*minute, sig("upload-ratio", 10*minute, 11*minute, strong, onHost("web-1"), bytesOf(20e6), about("2")))
	r.markAt(20*minute, t0)
	for _, a := range r.alerts()[3:] {
		if a.Status != alert.Closed || a.Notify != "" {
			t.Errorf("%s!%s", a.Status, a.Notify)
		}
	}
	// A staging is more than what was judged.
	r.signal(21*minute, sig("archive-sensitive", 10*minute, 11*minute, onHost("web-1")))
	if a := r.alerts()[len(r.out)-1]; a.Detector != alert.RuleJoined || a.Status != alert.Updated || a.Notify != alert.NotifyRaised {
		t.Errorf("%s %s!%s", a.Detector, a.Status, a.Notify)
	}
	r.verdict(22*minute, "nobody", "benign")
	if r.counts["verdicts/unknown"] != 1 {
		t.Errorf("%v", r.counts)
	}
}

func TestBudget(t *testing.T) {
	t.Parallel()
	r := newRunner(t, correlate.Config{Budget: 3})
	r.check = true
	for i := range int64(10) {
		r.signal(i*second, sig("upload-ratio", i*second, i*second+1, strong, onHost(fmt.Sprintf("web-%d", i)), bytesOf(20e6)))
	}
	r.markAt(10*minute, t0)
	single, rolled := 0, alert.Alert{}
	for _, a := range r.final() {
		if a.RollupTotal > 0 {
			rolled = a
		} else {
			single++
		}
	}
	if single != 3 || rolled.RollupTotal != 7 || len(rolled.Rollup) != 7 || rolled.Detector != "upload-ratio" || rolled.Severity != "high" || rolled.Revision != 2 {
		t.Errorf("%d single, roll-up %+v", single, rolled)
	}
	// A pair has no budget, and leaves the roll-up.
	r.signal(11*minute, sig("archive-sensitive", 0, minute, onHost("web-9")))
	r.markAt(20*minute, t0)
	pair := false
	for _, a := range r.final() {
		if a.Detector == alert.RuleJoined {
			pair = a.Notify == alert.NotifyFirst && a.Revision == 1
		}
		if a.ID == rolled.ID && a.RollupTotal != 6 {
			t.Errorf("roll-up still holds %d", a.RollupTotal)
		}
	}
	if !pair {
		t.Error("the pair was not told")
	}
	// Another day has a budget of its own.
	n := len(r.out)
	r.signal(day, sig("upload-ratio", day, day+1, strong, onHost("web-x"), bytesOf(20e6)))
	if a := r.alerts()[n]; a.RollupTotal != 0 {
		t.Error("rolled up on another day")
	}
}

// What deployments excuse does not use up the budget of what they do not.
func TestSuppressedHasItsOwnBudget(t *testing.T) {
	t.Parallel()
	r := newRunner(t, correlate.Config{Budget: 2})
	r.deployment(0, signal.Deployment{Namespace: "shop", From: t0, Until: t0 + hour})
	for i := range 9 {
		r.signal(minute, sig("archive-sensitive", 0, minute, strong, onPod("node-1", "shop", fmt.Sprint("p", i))))
	}
	r.signal(minute, sig("archive-sensitive", 0, minute, strong, onPod("node-1", "bank", "p")))
	all := r.alerts()
	if a := all[len(all)-1]; a.Status != alert.Open || a.RollupTotal != 0 || a.Entity.Pods[0] != "bank/p" {
		t.Errorf("%s %+v", a.Status, a.Entity)
	}
}

func TestHealthIsJoinedToNothing(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.signal(minute, sig("sensor-silent", 0, minute, strong, onHost("web-1")))
	r.signal(minute, sig("dns-tunnel", 0, minute, strong, onHost("web-1")))
	r.expectStanding("dns-tunnel web-1 open", "sensor-silent web-1 open")
}

func TestFleetRole(t *testing.T) {
	t.Parallel()
	r := run(t)
	for i := range 3 {
		r.fact(0, fmt.Sprintf("instance:i-%d", i), "principal:arn:r", 0)
		r.fact(0, fmt.Sprintf("address:default|10.0.0.%d", i), fmt.Sprintf("instance:i-%d", i), 0)
	}
	r.signal(minute, sig("bulk-object-read", 0, minute, byPrincipal("arn:r")))
	r.signal(minute, sig("external-transfer", 0, minute, onAddress("10.0.0.1"), bytesOf(50e6)))
	r.expectStory("")
	// With the session's instance in the signal it is known which one.
	r.signal(minute, sig("bulk-object-read", 0, 2*minute, byPrincipal("arn:r"), about("x"), func(s *signal.Signal) { s.Entity.Instance = "i-1" }))
	r.expectStanding("staging-then-exfil i-1 open")
}

func TestAggregatorNamesNobody(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.epoch("aggregators: [10.0.0.1]\n")
	for _, peer := range []string{"a", "b"} {
		r.signal(minute, sig("dns-tunnel", 0, minute, strong, onAddress("10.0.0.1"), func(s *signal.Signal) { s.Key += "|" + peer }))
	}
	r.expectStanding("dns-tunnel 10.0.0.1 open", "dns-tunnel 10.0.0.1 open")
}

func TestSite(t *testing.T) {
	t.Parallel()
	t.Run("inventory", func(t *testing.T) {
		t.Parallel()
		r := run(t)
		r.signal(minute, sig("archive-sensitive", 0, minute, onHost("web-1")))
		r.signal(minute, sig("external-transfer", 0, minute, onAddress("10.0.0.5"), bytesOf(50e6)))
		r.expectStory("")
		r.epoch("inventory: [{host: web-1, address: 10.0.0.5}]\nclassification: [{host: web-1, class: RESTRICTED}]\n")
		r.markAt(2*minute, t0)
		r.expectStory("a1:staging-then-exfil:open!first")
		if a := r.alerts()[0]; a.Classification != "RESTRICTED" {
			t.Errorf("class %s", a.Classification)
		}
		r.epoch("")
		r.markAt(3*minute, t0)
		r.expectStory("a1:staging-then-exfil:open!first a2:staging-then-exfil:retracted!retracted")
	})
	t.Run("exception", func(t *testing.T) {
		t.Parallel()
		r := run(t)
		r.signal(minute, sig("dns-tunnel", 0, minute, strong, onHost("web-1")))
		r.epoch("detectors: {dns-tunnel: {overrides: [{match: web-1, mode: off, why: test}]}}\n")
		r.markAt(2*minute, t0)
		r.expectStory("a1:dns-tunnel:open!first a2:dns-tunnel:retracted!retracted")
	})
	t.Run("thresholds", func(t *testing.T) {
		t.Parallel()
		r := run(t)
		r.epoch("detectors: {staging-then-exfil: {thresholds: {window: 10, slack: 0, transfer_bytes: 1000}}, staging-then-exfil-24h: {mode: off}}\n")
		r.signal(minute, sig("archive-sensitive", 0, 0, onHost("web-1")))
		r.signal(minute, sig("external-transfer", 11*minute, 12*minute, onHost("web-1"), bytesOf(5000)))
		r.expectStory("")
		r.signal(minute, sig("external-transfer", 10*minute, 12*minute, onHost("web-1"), bytesOf(5000), about("y")))
		r.expectStory("a1:staging-then-exfil:open!first")
	})
}

// A detector that goes back to shadow takes its signals with it.
func TestBackToShadow(t *testing.T) {
	t.Parallel()
	r := run(t)
	s := sig("dns-tunnel", 0, minute, strong, onHost("web-1"))
	r.signal(minute, s)
	shadow(&s)
	r.signal(2*minute, s)
	r.expectStory("a1:dns-tunnel:open!first a2:dns-tunnel:retracted!retracted")
}

func TestPoison(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.signal(minute, sig("dns-tunnel", 0, minute, strong, onHost("web-1")))
	before := append(r.buckets(), r.c.AppendShared(nil))
	for _, rec := range []operator.Record{
		{Kind: "deadletter", Value: []byte("{}")},
		{Kind: "", Value: []byte("{}")},
		{Kind: signal.KindSignal, Value: []byte("{")},
		{Kind: signal.KindSignal, Value: []byte(`{"kind":"signal","v":2,"id":"x","detector":"x","key":"x"}`)},
		{Kind: signal.KindFact, Value: []byte(`{}`)},
		{Kind: signal.KindDeployment, Value: []byte(`{}`)},
		{Kind: signal.KindVerdict, Value: []byte(`{}`)},
		{Kind: "mark", Value: []byte(`[]`)},
		{Kind: signal.KindVerdict, Value: []byte("{\"by\":\"\xff\"}")},
	} {
		rec.Time = t0 + hour
		if err := r.c.Apply(&rec, r); err == nil {
			t.Errorf("no error for %s %s", rec.Kind, rec.Value)
		}
	}
	after := append(r.buckets(), r.c.AppendShared(nil))
	for i := range before {
		if string(before[i]) != string(after[i]) {
			t.Errorf("state %d changed", i)
		}
	}
	if err := r.c.Epoch("lists", nil); err == nil {
		t.Error("no error for an unknown epoch")
	}
	if err := r.c.Epoch(correlate.EpochSite, []byte("nope: 1")); err == nil {
		t.Error("no error for a broken site")
	}
}

// A flood of weak signals forgets itself, not stagings or incidents.
func TestFlood(t *testing.T) {
	t.Parallel()
	r := newRunner(t, correlate.Config{MaxSignals: 500})
	r.signal(0, sig("archive-sensitive", 0, 0, onHost("web-1")))
	r.signal(0, sig("dns-tunnel", 0, 0, strong, onHost("web-2")))
	for i := range int64(3000) {
		r.signal(second+i, sig("external-transfer", i, i, onAddress(fmt.Sprintf("10.%d.%d.7", i/250, i%250)), bytesOf(20e6)))
	}
	if n := r.c.Signals(); n > 500 {
		t.Errorf("%d signals held", n)
	}
	r.signal(minute, sig("external-transfer", minute, minute, onHost("web-1"), bytesOf(20e6)))
	r.expectStanding("dns-tunnel web-2 open", "staging-then-exfil web-1 open")
}

// Weak signals are forgotten after a day.
func TestExpires(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.signal(0, sig("archive-sensitive", 0, 0, onHost("web-1")))
	for i := range int64(8) { // a part of the buckets at a time
		r.markAt(25*hour+i*minute, t0+25*hour)
	}
	if n := r.c.Signals(); n != 0 {
		t.Errorf("%d signals held", n)
	}
	if r.counts["signals_expired/age"] != 1 {
		t.Errorf("%v", r.counts)
	}
}

func TestCompleteness(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.markAt(0, t0-minute)
	r.signal(minute, sig("dns-tunnel", 0, minute, strong, onHost("web-1")))
	if got := r.alerts()[0].Completeness; len(got) != 1 || got[0] != (alert.Completeness{Type: "zeek", Until: t0 - minute}) {
		t.Errorf("%+v", got)
	}
}

// What has vanished is told of with the last it said, not as complete, and holds
// nobody up.
func TestCompletenessOfVanishedSources(t *testing.T) {
	t.Parallel()
	r := run(t)
	m := event.Mark{Instance: "detect/ebb.network.v1/0", Full: true, Sources: []event.SourceMark{
		{Type: "falco", Low: t0 - 9*minute, Expired: true},
		{Type: "packet", Low: t0 - 3*minute},
		{Type: "packet", Low: t0 - 8*minute, Expired: true},
		{Type: "vpcflow", Low: t0 - 2*minute},
		{Type: "zeek", Low: math.MaxInt64},
	}}
	value, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	r.feed(0, event.KindMark.String(), value)
	r.signal(minute, sig("dns-tunnel", 0, minute, strong, onHost("web-1")))
	want := []alert.Completeness{
		{Type: "falco", Until: t0 - 9*minute}, {Type: "packet", Until: t0 - 8*minute}, {Type: "vpcflow", Until: t0 - 2*minute}, {Type: "zeek", Ended: true},
	}
	if got := r.alerts()[0].Completeness; !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

// A hunt reports what a live system only counts.
func TestNoShadow(t *testing.T) {
	t.Parallel()
	r := newRunner(t, correlate.Config{NoShadow: true})
	r.epoch("detectors: {volume-anomaly: {mode: shadow}}\n")
	r.signal(minute, sig("volume-anomaly", 0, minute, shadow, score(6), onHost("web-1")))
	r.signal(minute, sig("external-transfer", 0, minute, shadow, score(6), onHost("web-2"), bytesOf(20e6)))
	r.expectStory("a1:volume-anomaly:open!first")
}

// A founder that has left its incident to others founds no second one under
// the same id.
func TestFounderLeaves(t *testing.T) {
	t.Parallel()
	r := run(t)
	r.fact(0, "address:default|10.0.0.5", "host:web-1", 0)
	r.signal(10*minute, sig("archive-sensitive", 0, minute, onHost("web-1")))
	r.signal(10*minute, sig("dns-tunnel", 5*minute, 9*minute, strong, onAddress("10.0.0.5")))
	r.expectStory("a1:staging-then-exfil:open!first")
	r.fact(20*minute, "address:default|10.0.0.5", "host:web-2", 4*minute)
	r.expectStory("a1:staging-then-exfil:open!first a2:dns-tunnel:updated")
	late := sig("upload-ratio", 12*minute, 13*minute, strong, onHost("web-1"), bytesOf(20e6))
	r.signal(21*minute, late)
	late.Severity = signal.Critical
	r.signal(21*minute+second, late)
	r.expectStanding("dns-tunnel web-2 updated", "staging-then-exfil web-1 open")
}
