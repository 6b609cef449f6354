package volume_test

import (
	"fmt"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	godiff "github.com/google/go-cmp/cmp"
)

// TestNamesOfFlowRecords: flow logs tell no names and come minutes after the
// traffic, when its address may have been called otherwise since. A sanction
// holds for what was sent to its name, and for nothing else.
func TestNamesOfFlowRecords(t *testing.T) {
	t.Parallel()
	const site = "sanctioned_destinations: [vault.example]\n"
	ours := func(n uint64) option { return func(e *event.Event) { e.Source.Port = event.N(n) } }
	// both is a flow of some seconds that ends at a time, from a port.
	both := func(at int64, sent uint64, from uint64) []event.Event {
		return []event.Event{flow(at, sent, ours(from), lasted(3*second)), flow(at, 50_000, ours(from), lasted(3*second), back)}
	}
	list := func(parts ...[]event.Event) (out []event.Event) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	asked := func(at int64, name string) []event.Event { return []event.Event{answer(at, name, "203.0.113.9")} }
	said := func(id string, at int64, name string, from uint64) []event.Event {
		return []event.Event{hello(id, at, name, ours(from))}
	}
	// browsing asks for many addresses that are never contacted.
	browsing := func(at int64, n int) (out []event.Event) {
		for i := range n {
			out = append(out, answer(at+int64(i)*second/10, fmt.Sprintf("n%d.web.example", i), fmt.Sprintf("198.18.%d.%d", i/250, 1+i%250)))
		}
		return out
	}
	// turns are connections to one address that call it one and the other.
	turns := func(at int64) (out []event.Event) {
		for i := range int64(20) {
			out = append(out, hello(fmt.Sprint("T", i), at+i*10*second, []string{"a.vault.example", "b.evil.example"}[i%2], ours(50_000+uint64(i))))
		}
		return out
	}
	const alert = ":443 ratio_and_10mb ratio_and_8mb"
	for name, tc := range map[string]struct {
		events []event.Event
		want   string
	}{
		"called otherwise before the record comes": {list(asked(0, "eu.vault.example"), asked(8*minute, "b.evil.example"), both(10*second, 12*mb, 40_000)), ""},
		"the other is not sanctioned":              {list(asked(0, "eu.vault.example"), asked(8*minute, "b.evil.example"), both(9*minute, 12*mb, 40_000)), "evil.example" + alert},
		"nor what went to the other before":        {list(asked(0, "b.evil.example"), asked(8*minute, "eu.vault.example"), both(10*second, 12*mb, 40_000)), "evil.example" + alert},
		"called otherwise seconds later":           {list(asked(0, "eu.vault.example"), asked(30*second, "b.evil.example"), both(10*second, 12*mb, 40_000)), ""},
		"and what was sent then": {
			list(asked(0, "eu.vault.example"), asked(30*second, "b.evil.example"), both(40*second, 12*mb, 40_000)), "evil.example" + alert,
		},
		"an answer that comes last": {list(asked(8*minute, "b.evil.example"), asked(0, "eu.vault.example"), both(10*second, 12*mb, 40_000)), ""},
		"the connection has said it": {
			list(said("A", 0, "eu.vault.example", 40_000), said("B", second, "b.evil.example", 40_001), both(10*second, 12*mb, 40_000)), "",
		},
		"another connection has": {
			list(said("A", 0, "eu.vault.example", 40_000), said("B", second, "b.evil.example", 40_001), both(10*second, 12*mb, 40_001)), "evil.example" + alert,
		},
		"ports that are used again": {
			list(said("A", 0, "b.evil.example", 40_000), said("B", 5*minute, "eu.vault.example", 40_000), both(6*minute, 12*mb, 40_000)), "",
		},
		"called in turns, the sanctioned one": {list(turns(0), both(21*second, 12*mb, 50_002)), ""},
		"called in turns, the other":          {list(turns(0), both(31*second, 12*mb, 50_003)), "evil.example" + alert},
		"much was asked meanwhile": {
			list(said("A", 0, "eu.vault.example", 40_000), browsing(minute, 1500), both(10*second, 12*mb, 40_000)), "",
		},
		"asked twice, and much meanwhile": {
			list(asked(0, "eu.vault.example"), asked(second, "eu.vault.example"), browsing(minute, 600), both(10*second, 12*mb, 40_000)), "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := play(t, site, tc.events...)
			if d := godiff.Diff(tc.want, found(p, "upload-ratio")); d != "" {
				t.Error(d)
			}
		})
	}
}
