package survey_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	"github.com/ebbwatch/ebbwatch/pkg/survey"
)

const base = int64(1_767_600_000_000_000)

func ev(kind event.Kind, src, dst string) *event.Event {
	e := &event.Event{Kind: kind, Time: base}
	e.Observer.Type, e.Observer.Name = "zeek", "s1"
	if src != "" {
		e.Source.IP = netip.MustParseAddr(src)
	}
	if dst != "" {
		e.Destination.IP = netip.MustParseAddr(dst)
	}
	return e
}

// busy is a site with one of each that a draft names.
func busy(s *survey.Survey) {
	for i := range 40 {
		q := ev(event.KindDNS, fmt.Sprintf("10.0.1.%d", i%5+1), "10.0.0.53")
		q.DNS.Name, q.DNS.Type = fmt.Sprintf("h%d.corp.example.org", i%4), "A"
		q.DNS.Addresses = []netip.Addr{netip.MustParseAddr("10.0.9.9")}
		s.Observe(q)
		bl := ev(event.KindDNS, "10.0.1.1", "10.0.0.53")
		bl.DNS.Name, bl.DNS.Type = fmt.Sprintf("%d.2.0.192.zen.dnsbl-example.net", i), "A"
		bl.DNS.Addresses = []netip.Addr{netip.MustParseAddr("127.0.0.2")}
		s.Observe(bl)
		k := ev(event.KindDNS, "10.0.1.1", "10.0.0.53")
		k.DNS.Name, k.DNS.Type = "db.prod.svc.cluster.local", "A"
		k.DNS.Addresses = []netip.Addr{netip.MustParseAddr("10.96.0.9")}
		s.Observe(k)
		p := ev(event.KindICMP, "10.0.2.2", fmt.Sprintf("203.0.113.%d", i+1))
		p.ICMP.Type = event.N(8)
		s.Observe(p)
		m := ev(event.KindMail, "10.0.3.3", fmt.Sprintf("198.51.100.%d", i+1))
		s.Observe(m)
		f := ev(event.KindConn, fmt.Sprintf("192.0.2.%d", i+1), fmt.Sprintf("203.0.%d.1", 114+i))
		s.Observe(f)
	}
	for i := range 1200 {
		c := ev(event.KindConn, "10.0.4.4", fmt.Sprintf("203.0.%d.%d", i/250, i%250+1))
		c.Source.Bytes = event.N(1000)
		s.Observe(c)
	}
	up := ev(event.KindConn, "10.0.5.5", "203.0.113.200")
	up.Source.Bytes, up.Destination.Domain = event.N(3_000_000_000), "backup.files-example.com"
	s.Observe(up)
	obj := ev(event.KindObject, "", "")
	obj.Cloud.Account, obj.Object.Bucket, obj.Object.Owner, obj.User.ID = "111122223333", "exports: \"a\"", "111122223333", "arn:aws:iam::111122223333:role/r"
	obj.Object.BytesOut, obj.Outcome = event.N(12345), "success"
	s.Observe(obj)
}

func TestDraft(t *testing.T) {
	t.Parallel()
	s := survey.New(site.Default())
	busy(s)
	draft := string(s.Draft("3 files"))
	for _, want := range []string{
		"resolvers:\n  - 10.0.0.53  # ", "own_domains:\n", "  - example.org  # 4 names lead inside", "  - cluster.local  # 1 names lead inside",
		"# lookup_domains:\n#   - dnsbl-example.net  # 40 names", "# monitors:\n#   - 10.0.2.2  # pings 40 hosts", "# mail_relays:\n#   - 10.0.3.3  # SMTP to 40 servers",
		"# aggregators:\n#   - 10.0.4.4  # 1200 connections to 1200 hosts", "# sanctioned_destinations:\n#   - files-example.com  # 3.0 GB from 1 sources",
		"own_accounts:\n  - \"111122223333\"  # 1 records", `#   - {bucket: "exports: \"a\"", class: UNCLASSIFIED}`,
	} {
		if !strings.Contains(draft, want) {
			t.Errorf("the draft lacks %q", want)
		}
	}
	if _, err := site.Parse([]byte(draft)); err != nil {
		t.Errorf("the draft is no site file: %v", err)
	}
	// With the comments taken off it is one as well.
	var all map[string]any
	bare := strings.NewReplacer("\n#   - ", "\n  - ", "\n# lookup_domains:", "\nlookup_domains:", "\n# monitors:", "\nmonitors:", "\n# mail_relays:", "\nmail_relays:",
		"\n# aggregators:", "\naggregators:", "\n# sanctioned_destinations:", "\nsanctioned_destinations:", "\n# classification:", "\nclassification:").Replace(draft)
	if err := yaml.Unmarshal([]byte(bare), &all); err != nil {
		t.Errorf("without comments: %v\n%s", err, bare)
	}
	if t.Failed() {
		t.Log("\n" + draft)
	}
}

// What is declared is not proposed again.
func TestDraftLeavesOutWhatIsDeclared(t *testing.T) {
	t.Parallel()
	st, err := site.Parse([]byte("resolvers: [10.0.0.53]\nown_domains: [example.org, cluster.local]\nlookup_domains: [dnsbl-example.net]\nmonitors: [10.0.2.2]\n" +
		"mail_relays: [10.0.3.3]\naggregators: [10.0.4.4]\nsanctioned_destinations: [files-example.com]\nown_accounts: ['111122223333']\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := survey.New(st)
	busy(s)
	draft := string(s.Draft("3 files"))
	for _, no := range []string{"resolvers:", "own_domains:", "lookup_domains:", "monitors:", "mail_relays:", "aggregators:", "sanctioned_destinations:", "own_accounts:"} {
		if strings.Contains(draft, no) {
			t.Errorf("the draft proposes %s again:\n%s", no, draft)
		}
	}
}

func TestHomeNetworks(t *testing.T) {
	t.Parallel()
	s := survey.New(site.Default())
	for i := range 200 {
		s.Observe(ev(event.KindConn, fmt.Sprintf("192.0.2.%d", i%20+1), fmt.Sprintf("203.%d.%d.1", i%100, i)))
	}
	draft := string(s.Draft("x"))
	if !strings.Contains(draft, "# home_networks:\n#   - 192.0.2.0/24  # 100 % of 200 contacts") || strings.Contains(draft, "203.") {
		t.Errorf("got\n%s", draft)
	}
	if n := s.Notes(); len(n) == 0 || !strings.Contains(fmt.Sprint(n), "home_networks") {
		t.Errorf("notes %v", n)
	}
}

func TestGaps(t *testing.T) {
	t.Parallel()
	s := survey.New(site.Default())
	busy(s)
	flow := ev(event.KindFlow, "10.0.0.1", "203.0.113.1")
	flow.Observer.Type, flow.Flow.InstanceID = "vpcflow", "i-1"
	s.Observe(flow)
	late := ev(event.KindProcess, "", "")
	late.Observer.Type, late.Future = "falco", true
	s.Observe(late)
	loss := ev(event.KindHealth, "", "")
	loss.Health.PercentLost = 12.5
	s.Observe(loss)
	gaps := s.Gaps([]survey.Need{
		{Detector: "a", Kinds: []event.Kind{event.KindMail}},
		{Detector: "b", Kinds: []event.Kind{event.KindTLS}},
		{Detector: "c", Kinds: []event.Kind{event.KindFlow}},
		{Detector: "d", Kinds: []event.Kind{event.KindDNS}, Off: true},
		{Detector: "e", Kinds: []event.Kind{event.KindConn, event.KindFlow, event.KindHTTP}},
	})
	for i, want := range []survey.Sight{survey.Clear, survey.Blind, survey.Part, survey.Off} {
		if gaps[i].Sight != want {
			t.Errorf("%+v, want %s", gaps[i], want)
		}
	}
	if m := strings.Join(gaps[4].Missing, "\n"); !strings.Contains(m, "no http records") || strings.Contains(m, "no flow records") || strings.Contains(m, "no conn records") {
		t.Errorf("of flows and connections one suffices: %v", gaps[4].Missing)
	}
	if !strings.Contains(strings.Join(gaps[2].Missing, "\n"), "flow-direction") || strings.Contains(strings.Join(gaps[2].Missing, "\n"), "instance-id") {
		t.Errorf("flow: %v", gaps[2].Missing)
	}
	notes := fmt.Sprint(s.Notes())
	for _, want := range []string{"a clock is wrong", "lost 12.5 %", "open connections are not reported", "no resolvers are declared", "10.0.4.4 behaves like many clients"} {
		if !strings.Contains(notes, want) {
			t.Errorf("notes lack %q: %s", want, notes)
		}
	}
}

// A flood of forged names and addresses costs bounded memory, and says so.
func TestBounds(t *testing.T) {
	t.Parallel()
	s := survey.New(site.Default())
	e := ev(event.KindDNS, "10.0.0.1", "10.0.0.53")
	for i := range survey.MaxKeys + 5000 {
		e.DNS.Name, e.DNS.Type = fmt.Sprintf("n.d%d.example%d.com", i, i), "A"
		s.Observe(e)
	}
	if s.LeftOut != 5000 {
		t.Errorf("left out %d", s.LeftOut)
	}
	if !strings.Contains(string(s.Draft("x")), "observations were left out") {
		t.Error("the draft does not say that something was left out")
	}
}
