package quality

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"go.yaml.in/yaml/v4"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// Held is what becomes of one threshold when it is fitted without one tool or
// benign capture at a time.
type Held struct {
	Detector  string  `json:"detector"`
	Threshold string  `json:"threshold"`
	Default   float64 `json:"default"`
	// Low and Top bound the tried values at which all captures are judged
	// right.
	Low float64 `json:"low"`
	Top float64 `json:"top"`
	// Found of Attacks are found by the value that was fitted without their
	// tool; False of Benign alert at the value that was fitted without them.
	Found   int `json:"found"`
	Attacks int `json:"attacks"`
	False   int `json:"false"`
	Benign  int `json:"benign"`
	// Worst names the captures that are judged wrong.
	Worst []string `json:"worst,omitempty"`
}

// factors are what a threshold is multiplied with. The middle one is 1.
var factors = [...]float64{0.25, 0.5, 1, 2, 4}

// alertPoints stands for the points at which a detector alerts.
const alertPoints = "alert"

// values are what is tried for a threshold.
func (h *Held) values() (v [len(factors)]float64) {
	for i, f := range factors {
		v[i] = h.Default * f
		if h.Threshold == alertPoints {
			v[i] = h.Default + float64(i-len(factors)/2)
		}
	}
	return v
}

// named thresholds weigh nothing, or are not a bound that captures decide.
var unfitted = []string{"entropy", "entropy_queries", "txt_queries", "label_length", "rule_bytes", "rule_seconds", "short_answer_ttl"}

// LeaveOneOut fits each threshold of the tunnel and upload detectors without
// one tool at a time. The fit takes the middle, on a logarithmic scale, of the
// tried values at which every capture that is left is judged right.
func (c *Corpus) LeaveOneOut() ([]Held, error) {
	var out []Held
	var infos []detect.Info
	for _, d := range pipeline.Detectors() {
		infos = append(infos, d.Info())
	}
	for _, info := range infos {
		family := map[string]string{"dns-tunnel": "dns", "icmp-tunnel": "icmp", "upload-ratio": "upload"}[info.ID]
		if family == "" {
			continue
		}
		for _, th := range info.Thresholds {
			if th.Default == 0 || slices.Contains(unfitted, th.Name) {
				continue
			}
			out = append(out, Held{Detector: info.ID, Threshold: th.Name, Default: th.Default})
		}
		out = append(out, Held{Detector: info.ID, Threshold: alertPoints, Default: info.Default.Alert})
	}
	families := map[string]string{"dns-tunnel": "dns", "icmp-tunnel": "icmp", "upload-ratio": "upload"}
	ready := &readied{m: map[*Capture]*prepared{}}
	err := parallel(len(out), func(i int) error {
		h := &out[i]
		return c.hold(h, families[h.Detector], ready)
	})
	return out, err
}

// readied keeps the captures as a chain takes them: what differs is the site.
type readied struct {
	mu sync.Mutex
	m  map[*Capture]*prepared
}

func (r *readied) of(x *Capture, s Source, st *site.Site) (*prepared, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.m[x]; p != nil {
		return p, nil
	}
	in, client, err := alone(x, s, nil)
	if err != nil {
		return nil, err
	}
	p, err := prepare(st, client, in)
	r.m[x] = p
	return p, err
}

// subject is one capture that a threshold decides about.
type subject struct {
	x     *Capture
	right [len(factors)]bool // judged right at each factor
}

func (c *Corpus) hold(h *Held, family string, ready *readied) error {
	var list []subject
	for _, x := range c.Captures {
		if x.family() == family && x.Malicious() || x.Label == Benign && concerns(x, family) {
			list = append(list, subject{x: x})
		}
	}
	source := Zeek
	if family == "icmp" {
		source = Packets
	}
	st, err := site.Parse(c.Site)
	if err != nil {
		return err
	}
	values := h.values()
	for f, value := range values {
		siteFile, err := withThreshold(c.Site, h.Detector, h.Threshold, value)
		if err != nil {
			return err
		}
		for i := range list {
			s := &list[i]
			p, err := ready.of(s.x, source, st)
			if err != nil {
				return err
			}
			o, err := p.play(siteFile, h.Detector)
			if err != nil {
				return err
			}
			if s.x.Label == Benign {
				s.right[f] = !slices.ContainsFunc(o.Findings, func(f Finding) bool { return f.Detector == h.Detector })
			} else {
				s.right[f] = o.Found(s.x.expected()...) != nil
			}
		}
	}
	low, top := feasible(list, nil)
	h.Low, h.Top = values[low], values[top]
	for i := range list {
		s := &list[i]
		// A benign capture is held back by itself, an attack with its tool.
		from, to := feasible(list, func(o *subject) bool {
			return o.x == s.x || s.x.Label != Benign && o.x.Tool == s.x.Tool
		})
		right := s.right[(from+to)/2]
		if s.x.Label == Benign {
			h.Benign++
			if !right {
				h.False++
			}
		} else {
			h.Attacks++
			if right {
				h.Found++
			}
		}
		if !right {
			h.Worst = append(h.Worst, s.x.Name)
		}
	}
	return nil
}

// feasible returns the range of factors around 1 at which most captures are
// judged right, of those that are not left out.
func feasible(list []subject, out func(*subject) bool) (low, top int) {
	var wrong [len(factors)]int
	for i := range list {
		if out != nil && out(&list[i]) {
			continue
		}
		for f, ok := range list[i].right {
			if !ok {
				wrong[f]++
			}
		}
	}
	best := slices.Min(wrong[:])
	low, top = -1, -1
	for f, n := range wrong {
		if n != best {
			if top >= len(factors)/2 || low > len(factors)/2 {
				break
			}
			low, top = -1, -1
			continue
		}
		if low < 0 {
			low = f
		}
		top = f
	}
	if low < 0 {
		low = slices.Index(wrong[:], best)
		top = low
	}
	return low, top
}

// concerns reports whether a benign capture shows what a family is judged by.
func concerns(x *Capture, family string) bool {
	switch family {
	case "dns":
		return len(x.Name) > 5 && x.Name[:5] == "b_dns"
	case "icmp":
		return x.RecordType == "ICMP echo" || x.RecordType == "ICMP"
	}
	return x.RecordType == "TLS 443" || x.RecordType == "SMTP 25"
}

// withThreshold is a site file with one threshold of a detector.
func withThreshold(siteFile []byte, detector, name string, value float64) ([]byte, error) {
	doc := map[string]any{}
	if err := yaml.Load(siteFile, &doc); err != nil {
		return nil, fmt.Errorf("site file: %w", err)
	}
	value = math.Round(value*1e6) / 1e6
	tuning := map[string]any{"thresholds": map[string]any{name: value}}
	if name == alertPoints {
		tuning = map[string]any{"alert": value}
	}
	doc["detectors"] = map[string]any{detector: tuning}
	return yaml.Dump(doc)
}
