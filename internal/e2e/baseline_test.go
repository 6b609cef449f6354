package e2e

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// baselines: what a history taught detect is shown, audited and exported; a
// purge takes it out through the log.
func (s *system) baselines(t *testing.T) {
	t.Helper()
	const address, key = "10.99.0.5", "default|10.99.0.5"
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.brokers))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	today := time.Now().UTC().Truncate(24 * time.Hour)
	for day := range 16 {
		h := signal.History{Observer: "zeek", Source: netip.MustParseAddr(address)}
		for hour := range 24 {
			x := signal.HistoryHour{Start: today.Add(time.Duration((day-17)*24+hour) * time.Hour).UnixMicro(), Bytes: 40e6, Records: 1}
			if day == 15 && hour == 12 {
				x.Bytes = 5e9
			}
			h.Hours = append(h.Hours, x)
		}
		value, err := h.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		r := &kgo.Record{Topic: "ebb.network.v1", Key: []byte(key), Value: value, Headers: []kgo.RecordHeader{{Key: "kind", Value: []byte(signal.KindHistory)}, {Key: "v", Value: []byte("1")}}}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	s.drained("detect", 8)

	type shown struct {
		Key, Observer, What string
		Complete            bool
		States              map[string]int
		Next                struct{ Limit, P95 uint64 }
		History             []struct{ State string }
	}
	show := func() (list []shown) {
		code, stdout, stderr := s.command("baseline", "show", "--json", address)
		if err := json.Unmarshal([]byte(stdout), &list); code != 0 || err != nil {
			t.Fatalf("exit %d, %v: %s", code, err, stderr)
		}
		return list
	}
	list := show()
	if len(list) != 1 || list[0].Key != key || list[0].Observer != "zeek" || list[0].What != "sent" || !list[0].Complete ||
		list[0].States["quarantined"] != 1 || list[0].Next.Limit < 150e6 || list[0].Next.Limit > 250e6 {
		t.Fatalf("%+v", list)
	}
	code, text, stderr := s.command("baseline", "show", address)
	if code != 0 || stderr != "" || !strings.HasPrefix(text, key+", sent, by zeek\n") || !strings.Contains(text, "1 quarantined") || strings.Count(text, "plain\n") < 300 {
		t.Errorf("exit %d, %q, %q", code, text, stderr)
	}
	code, text, stderr = s.command("baseline", "audit")
	if code != 0 || strings.Count(text, "quarantined  "+key+"  sent") != 1 || !strings.Contains(stderr, "1 hours in quarantine") {
		t.Errorf("exit %d, %q, %q", code, text, stderr)
	}
	code, text, stderr = s.command("baseline", "export", "--format", "csv")
	lines := strings.Split(strings.TrimSpace(text), "\n")
	mine := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.HasPrefix(l, key+",zeek,sent,") })
	if code != 0 || stderr != "" || lines[0] != "key,observer,what,hour,bytes,state" || len(mine) != len(list[0].History) {
		t.Errorf("exit %d, %d of %d lines, %q", code, len(mine), len(lines), stderr)
	}

	if code, _, stderr := s.command("baseline", "purge", "10.99.0.6", "--all", "--by", "kim", "--why", "x"); code != 1 || !oneLine(stderr) || !strings.Contains(stderr, "nothing was written") {
		t.Errorf("exit %d, %q", code, stderr)
	}
	code, text, stderr = s.command("baseline", "purge", address, "--from", today.Add(-7*24*time.Hour).Format(time.RFC3339), "--by", "kim", "--why", "it was the attacker")
	if code != 0 || stderr != "" || !strings.HasPrefix(text, key+": 144 hours from ") {
		t.Fatalf("exit %d, %q, %q", code, text, stderr)
	}
	s.drained("detect", 8)
	if after := show(); len(after) != 1 || after[0].States["purged"] != 144 || after[0].States["quarantined"] != 0 {
		t.Errorf("after the purge: %+v", after[0].States)
	}
}
