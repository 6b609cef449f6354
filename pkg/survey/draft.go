package survey

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// What makes a machine or name stand out.
const (
	minResolverClients = 3
	minResolverAsked   = 20
	minPinged          = 10
	minMailed          = 10
	minAggregated      = 1000
	minInternalNames   = 3
	minCodes           = 20
	minSinkBytes       = 500_000_000
	// homeShare is the part of the contacts between foreign addresses in which
	// a network takes part before it may be ours.
	homeShare    = 0.2
	minForeign   = 50
	maxProposals = 20
)

// proposal is one line of a draft.
type proposal struct {
	value, why string
	weight     uint64
}

// Draft writes a site file with what the survey proposes, in YAML; read is what
// was read ("12 files"). Entries that are facts stand as entries, those that take
// a decision as comments.
func (s *Survey) Draft(read string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# A draft of a site file, from %s: %d events", read, s.Events)
	if s.First > 0 {
		fmt.Fprintf(&b, " between %s and %s", stamp(s.First), stamp(s.Last))
	}
	b.WriteString(".\n# Nothing of this is applied by itself. Read each entry, delete what you do not know,\n" +
		"# and give exceptions an owner, an end and a reason: {value: …, owner: …, until: 2027-01-31, why: …}.\n")
	if s.LeftOut > 0 {
		fmt.Fprintf(&b, "# %d observations were left out: there are more machines and names than a survey holds.\n", s.LeftOut)
	}
	some := false
	section := func(key, doc string, list []proposal, decide bool) {
		if len(list) == 0 {
			return
		}
		some = true
		slices.SortFunc(list, func(x, y proposal) int {
			return cmp.Or(cmp.Compare(y.weight, x.weight), cmp.Compare(x.value, y.value))
		})
		more := max(0, len(list)-maxProposals)
		list = list[:len(list)-more]
		head, mark := key+":", ""
		if decide {
			head, mark = "# "+head, "# "
		}
		fmt.Fprintf(&b, "\n# %s\n%s\n", doc, head)
		for _, p := range list {
			fmt.Fprintf(&b, "%s  - %s  # %s\n", mark, p.value, p.why)
		}
		if more > 0 {
			fmt.Fprintf(&b, "# and %d more\n", more)
		}
	}
	section("home_networks", "Public networks that look like yours: traffic between addresses that are not home has one side here.", s.homes(), true)
	section("resolvers", "Machines that answer DNS questions of others.", s.resolvers(), false)
	section("own_domains", "Names that lead to internal addresses, or have no public suffix.", s.own(), false)
	section("lookup_domains", "Names there are questions (their answers are codes), not data.", s.lookups(), true)
	section("monitors", "Machines that ping many hosts outside.", s.monitors(), true)
	section("mail_relays", "Machines that speak SMTP to many servers outside.", s.relays(), true)
	section("aggregators", "Machines that talk to so many hosts outside that they may stand for many clients.", s.aggregators(), true)
	section("sanctioned_destinations", "Where most data goes. Only you know whether it should; say from which sources, and up to what volume.", s.destinations(), true)
	section("own_accounts", "Accounts and projects whose logs these are.", s.accounts(), false)
	section("classification", "Buckets that were read: give each PUBLIC, INTERNAL, CONFIDENTIAL or RESTRICTED.", s.objects(), true)
	if !some {
		b.WriteString("\n# Nothing stands out that is not declared already.\n")
	}
	return []byte(b.String())
}

func stamp(micros int64) string { return time.UnixMicro(micros).UTC().Format(time.RFC3339) }

// many writes a count that may have reached its bound.
func many(s set) string {
	if len(s) >= MaxDistinct {
		return fmt.Sprintf("%d or more", MaxDistinct)
	}
	return strconv.Itoa(len(s))
}

func (s *Survey) homes() (list []proposal) {
	if s.foreign < minForeign {
		return nil
	}
	for p, n := range s.nets {
		if share := float64(n.contacts) / float64(s.foreign); share >= homeShare {
			list = append(list, proposal{p.String(), fmt.Sprintf("%.0f %% of %d contacts", 100*share, s.foreign), n.contacts})
		}
	}
	return list
}

// machines proposes those of which pick says why.
func (s *Survey) machines(pick func(a netip.Addr, h *host) (why string, weight uint64)) (list []proposal) {
	for a, h := range s.hosts {
		if why, weight := pick(a, h); why != "" {
			list = append(list, proposal{a.String(), why, weight})
		}
	}
	return list
}

func (s *Survey) resolvers() []proposal {
	return s.machines(func(a netip.Addr, h *host) (string, uint64) {
		if len(h.clientSet) < minResolverClients || h.asked < minResolverAsked || s.site.Resolver(a, s.Last) {
			return "", 0
		}
		return fmt.Sprintf("%d questions of %s clients", h.asked, many(h.clientSet)), h.asked
	})
}

func (s *Survey) monitors() []proposal {
	return s.machines(func(a netip.Addr, h *host) (string, uint64) {
		if len(h.pinged) < minPinged || s.site.Monitor(a, s.Last) {
			return "", 0
		}
		return fmt.Sprintf("pings %s hosts", many(h.pinged)), uint64(len(h.pinged))
	})
}

func (s *Survey) relays() []proposal {
	return s.machines(func(a netip.Addr, h *host) (string, uint64) {
		if len(h.mailed) < minMailed || s.site.MailRelay(a, s.Last) {
			return "", 0
		}
		return fmt.Sprintf("SMTP to %s servers", many(h.mailed)), uint64(len(h.mailed))
	})
}

func (s *Survey) aggregators() []proposal {
	return s.machines(func(a netip.Addr, h *host) (string, uint64) {
		if len(h.peers) < minAggregated || s.site.Aggregator(a, s.Last) {
			return "", 0
		}
		return fmt.Sprintf("%d connections to %s hosts, %s sent", h.contacts, many(h.peers), size(h.bytesOut)), uint64(len(h.peers))
	})
}

func (s *Survey) own() (list []proposal) {
	for name, d := range s.domains {
		if s.site.OwnDomain(name, s.Last) {
			continue
		}
		switch {
		case len(d.internal) >= minInternalNames, len(d.internal) > 0 && !d.public:
			list = append(list, proposal{quote(name), fmt.Sprintf("%s names lead inside, asked by %s clients", many(d.internal), many(d.clients)), d.questions})
		default:
		}
	}
	return list
}

func (s *Survey) lookups() (list []proposal) {
	for name, d := range s.domains {
		if len(d.codes) >= minCodes && !s.site.LookupDomain(name, s.Last) {
			list = append(list, proposal{quote(name), fmt.Sprintf("%s names with answers in 127.0.0.0/8", many(d.codes)), d.questions})
		}
	}
	return list
}

func (s *Survey) destinations() (list []proposal) {
	for name, to := range s.sinks {
		addr, err := netip.ParseAddr(name)
		domain := name
		if err == nil {
			domain = ""
		}
		if to.bytes < minSinkBytes {
			continue
		}
		if _, declared := s.site.Sanctioned(domain, addr, netip.Addr{}, "", s.Last); declared {
			continue
		}
		list = append(list, proposal{quote(name), fmt.Sprintf("%s from %s sources", size(to.bytes), many(to.sources)), to.bytes})
	}
	return list
}

func (s *Survey) accounts() (list []proposal) {
	for _, a := range slices.Sorted(maps.Keys(s.account)) {
		if !s.site.OwnAccount(a, s.Last) {
			list = append(list, proposal{quote(a), fmt.Sprintf("%d records", s.account[a]), s.account[a]})
		}
	}
	return list
}

func (s *Survey) objects() (list []proposal) {
	for name, b := range s.buckets {
		if class, _ := s.site.ClassifyObject(name, "", "", s.Last); class != site.Unclassified && class != "" {
			continue
		}
		list = append(list, proposal{
			"{bucket: " + quote(name) + ", class: UNCLASSIFIED}", fmt.Sprintf("%d accesses by %s principals, %s read", b.reads, many(b.readers), size(b.bytes)), b.reads,
		})
	}
	return list
}

// quote makes a YAML scalar of text that others wrote.
func quote(s string) string {
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && (c == '.' || c == '-' || c == '_' || c >= '0' && c <= '9') {
			continue
		}
		return fmt.Sprintf("%q", s)
	}
	switch strings.ToLower(s) {
	case "", "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return fmt.Sprintf("%q", s)
	}
	return s
}

// size writes bytes for people.
func size(n uint64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	x, i := float64(n), -1
	for x >= unit {
		x /= unit
		i++
	}
	return fmt.Sprintf("%.1f %cB", x, "kMGTPE"[i])
}
