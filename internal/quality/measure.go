package quality

import (
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Figures are all that was measured: what docs/quality.md is made of, and what
// the tests compare with.
type Figures struct {
	// Lines are the captures, alone and mixed, from each source.
	Lines []Line `json:"lines"`
	// NoSite are the benign captures without a site file that alert.
	NoSite []Line `json:"no_site"`
	// Rates are the slowest forms of each attack that are found.
	Rates []Rate `json:"rates"`
	// Held are the thresholds, fitted without each tool in turn.
	Held []Held `json:"held"`

	// Hours are runs of benign hours.
	Hours []HourRun `json:"hours,omitempty"`

	Samples []Sample `json:"samples,omitempty"`
}

// Line is one capture in one setting.
type Line struct {
	Capture  string `json:"capture"`
	Tool     string `json:"tool"`
	Settings string `json:"settings"`
	Family   string `json:"family"`
	Label    string `json:"label"`
	Source   Source `json:"source"`
	Mix      string `json:"mix,omitempty"` // the profile, "" alone
	// Blind says why the source cannot show it.
	Blind    string `json:"blind,omitempty"`
	Detector string `json:"detector,omitempty"` // that found it first
	Points   string `json:"points,omitempty"`
	Spent    Spent  `json:"spent,omitzero"` // until the alert
	Total    Spent  `json:"total,omitzero"`
	// Payload is the share of the user's data that had gone, in bytes.
	Payload float64 `json:"payload,omitempty"`
	// Rules are the required rules that hold on the same data and, in a mix,
	// do not hold in the benign hour by itself.
	Rules string    `json:"rules,omitempty"`
	False []Finding `json:"false,omitempty"`
	// Why explains false alarms.
	Why string `json:"why,omitempty"`
}

func (l *Line) key() string { return l.Capture + "/" + string(l.Source) + "/" + l.Mix }

// Rate is the slowest form of a capture that is found.
type Rate struct {
	Capture string `json:"capture"`
	Tool    string `json:"tool"`
	Source  Source `json:"source"`
	// Found and Missed are payload rates in bytes a second (of name data where
	// there is no payload): the slowest that was found, the fastest that was
	// not; Missed is 0 where nothing was missed down to the slowest tried.
	Found  float64 `json:"found"`
	Missed float64 `json:"missed,omitempty"`
	Of     string  `json:"of"` // what the rate counts
	Hours  float64 `json:"hours"`
}

// Options of a measurement.
type Options struct {
	// Mutation, when set, makes the mutation of each run.
	Mutation func() *Mutation
}

// parallel runs a function for each index, on all cores.
func parallel(n int, f func(i int) error) error {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range n {
		g.Go(func() error { return f(i) })
	}
	return g.Wait()
}

// Lines measures captures alone from all sources and, where mixed, inside
// each profile's hour.
func (c *Corpus) Lines(captures []*Capture, mix bool, o Options) ([]Line, error) {
	type job struct {
		x *Capture
		s Source
		p *profile
	}
	var jobs []job
	for _, x := range captures {
		for _, s := range []Source{Zeek, Packets, Flow} {
			jobs = append(jobs, job{x, s, nil})
		}
	}
	if mix {
		for i := range profiles {
			for _, x := range captures {
				if x.Label != Benign {
					jobs = append(jobs, job{x, Zeek, &profiles[i]}, job{x, Packets, &profiles[i]})
				}
			}
		}
	}
	base, err := c.profileRules()
	if err != nil {
		return nil, err
	}
	out := make([]Line, len(jobs))
	err = parallel(len(jobs), func(i int) error {
		j := jobs[i]
		l, err := c.line(j.x, j.s, j.p, base, o)
		out[i] = l
		return err
	})
	return out, err
}

// profileRules are the required rules that hold in a benign hour by itself.
func (c *Corpus) profileRules() (map[string]Rules, error) {
	out := map[string]Rules{}
	for _, p := range profiles {
		for _, s := range []Source{Zeek, Packets} {
			in, client, err := c.mixed(c.Named("b_ping_56"), s, p, nil)
			if err != nil {
				return nil, err
			}
			for i := range in {
				in[i].Attack = false
			}
			o, err := Run(c.Site, client, in...)
			if err != nil {
				return nil, err
			}
			out[p.name+"/"+string(s)] = o.Rules
		}
	}
	return out, nil
}

// line measures one capture in one setting.
func (c *Corpus) line(x *Capture, s Source, p *profile, base map[string]Rules, opt Options) (Line, error) {
	l := Line{Capture: x.Name, Tool: x.Tool, Settings: x.Settings, Family: x.family(), Label: x.Label, Source: s, Blind: x.blind(s)}
	var m *Mutation
	siteFile := c.Site
	if opt.Mutation != nil {
		m = opt.Mutation()
		var err error
		if siteFile, err = m.site(siteFile); err != nil {
			return l, err
		}
	}
	var in []Input
	var client netip.Addr
	var err error
	if p == nil {
		in, client, err = alone(x, s, m)
	} else {
		l.Mix = p.name
		in, client, err = c.mixed(x, s, *p, m)
	}
	if err != nil {
		return l, err
	}
	o, err := Run(siteFile, client, in...)
	if err != nil {
		return l, fmt.Errorf("%s: %w", l.key(), err)
	}
	l.False, l.Total = o.False(), o.Total
	r := o.Rules
	if p != nil {
		b := base[p.name+"/"+string(s)]
		r = Rules{r.Entropy && !b.Entropy, r.TXT && !b.TXT, r.Label && !b.Label, r.ICMP && !b.ICMP}
	}
	l.Rules = r.String()
	if len(l.False) > 0 {
		l.Why = whyFalse[x.Name+"/"+string(s)]
	}
	if f := o.Found(x.expected()...); f != nil {
		l.Detector, l.Points, l.Spent = f.Detector, f.Points, f.Spent
		l.Payload = x.gone(&f.Spent, &o.Total)
	}
	return l, nil
}

// gone is how much of an attack's payload had gone at the most, in bytes. Each
// ICMP message has a header of the tool's or of what it carries, which is all of
// the smallest: the rest is counted. Else it is in proportion to progress.
func (x *Capture) gone(at, total *Spent) float64 {
	if x.family() == "icmp" {
		return min(x.Payload, float64(at.Bytes-at.Messages*total.Least))
	}
	return math.Round(x.Payload * x.progress(at, total))
}

// progress is how much of an attack's payload had gone: in proportion to what
// carries it. A tunnel's handshake carries none, so that this is more than
// what went.
func (x *Capture) progress(at, total *Spent) float64 {
	share := func(a, b uint64) float64 {
		if b == 0 {
			return 0
		}
		return min(1, float64(a)/float64(b))
	}
	switch {
	case strings.Contains(x.Settings, "download"):
		return share(at.Received, total.Received)
	case x.family() == "dns":
		return share(at.NameBytes, total.NameBytes)
	}
	return share(at.Bytes, total.Bytes)
}

// WithoutSite measures the benign captures without a site file and returns
// those that alert.
func (c *Corpus) WithoutSite() ([]Line, error) {
	bare := &Corpus{Captures: c.Captures}
	lines, err := bare.linesOf(c.Of(func(x *Capture) bool { return x.Label == Benign }), Zeek, Packets)
	if err != nil {
		return nil, err
	}
	for i := range lines {
		if len(lines[i].False) > 0 {
			lines[i].Why = whyWithoutSite[lines[i].Capture]
		}
	}
	return slices.DeleteFunc(lines, func(l Line) bool { return len(l.False) == 0 }), nil
}

// whyFalse explains the false alarms that stand.
var whyFalse = map[string]string{
	"b_restic_rest/flow": "The backup server is sanctioned by its name, and flow logs by themselves have no names: nothing ties the address to it. " +
		"With Zeek or packets beside them, as in the mixed hours, it is quiet; without, sanction the network.",
}

// whyWithoutSite explains the false alarms of a site that declares nothing.
var whyWithoutSite = map[string]string{
	"b_dns_ad": "An Active Directory client tries its search list, GUID names and a browser's random probes below the company's own domain; none exists. " +
		"That is what data in names of a domain without records looks like. `own_domains` says that the domain is the site's own.",
	"b_restic_rest": "11 MB go to a backup server that nobody has declared: the manifest calls it volumetric unless allow-listed. " +
		"`sanctioned_destinations` does that.",
}

// linesOf measures captures alone from some sources.
func (c *Corpus) linesOf(captures []*Capture, sources ...Source) ([]Line, error) {
	out := make([]Line, len(captures)*len(sources))
	err := parallel(len(out), func(i int) error {
		l, err := c.line(captures[i/len(sources)], sources[i%len(sources)], nil, nil, Options{})
		out[i] = l
		return err
	})
	return out, err
}

// slowest is how long the slowest form of a capture may take, in hours.
const slowest = 14 * 24

// Rates stretches each attack until it is no longer found.
func (c *Corpus) Rates() ([]Rate, error) {
	attacks := c.Of((*Capture).Malicious)
	out := make([]Rate, len(attacks))
	err := parallel(len(attacks), func(i int) error {
		r, err := c.rate(attacks[i])
		out[i] = r
		return err
	})
	return out, err
}

func (c *Corpus) rate(x *Capture) (Rate, error) {
	s := Zeek
	if x.family() == "icmp" {
		s = Packets
	}
	r := Rate{Capture: x.Name, Tool: x.Tool, Source: s, Of: "payload"}
	found := func(factor float64) (bool, float64, error) {
		in, client, err := stretched(x, s, factor)
		if err != nil {
			return false, 0, err
		}
		o, err := Run(c.Site, client, in...)
		if err != nil {
			return false, 0, err
		}
		size := x.Payload
		if size == 0 {
			size, r.Of = float64(o.Total.NameBytes), "name data"
			if x.family() != "dns" {
				size, r.Of = float64(o.Total.Bytes), "bytes sent"
			}
		}
		return o.Found(x.expected()...) != nil, size / (x.Seconds * factor), nil
	}
	// Double until it is missed, then look between the last two.
	factor, missed := 1.0, 0.0
	for x.Seconds*factor <= slowest*3600 {
		ok, at, err := found(factor)
		if err != nil {
			return r, err
		}
		if !ok {
			missed, r.Missed = factor, at
			break
		}
		r.Found, r.Hours = at, x.Seconds*factor/3600
		factor *= 2
	}
	if missed == 0 {
		return r, nil
	}
	for low, top := missed/2, missed; top/low > 1.1; {
		mid := math.Sqrt(low * top)
		ok, at, err := found(mid)
		if err != nil {
			return r, err
		}
		if ok {
			low, r.Found, r.Hours = mid, at, x.Seconds*mid/3600
		} else {
			top, r.Missed = mid, at
		}
	}
	return r, nil
}
