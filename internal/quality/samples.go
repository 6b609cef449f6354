package quality

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/internal/hunt"
)

// Sample is a set of other people's recordings, read beside the repository.
type Sample struct {
	Path    string `json:"path"`
	Attack  bool   `json:"attack,omitempty"` // it is one
	Records int64  `json:"records"`
	Events  int64  `json:"events"`
	Alerts  []Told `json:"alerts,omitempty"`
}

// Told is one alert on sample data, with our judgement.
type Told struct {
	Detector  string `json:"detector"`
	Severity  string `json:"severity"`
	Entity    string `json:"entity"`
	Reason    string `json:"reason"`
	Judgement string `json:"judgement"`
}

// judgements say whether an alert on sample data is right, by folder and
// detector. What is not judged is a gap, and says so.
var judgements = map[string]string{
	"dns_tunnel/dns-tunnel": "right: the capture is one of this tool by its publisher's label",
}

// unjudged stands where an alert has no judgement yet.
const unjudged = "not judged yet"

// Samples hunts through the public samples without a site file: each capture
// of a tunnel by itself, the others by folder.
func Samples(root string) ([]Sample, error) {
	if _, err := os.Stat(root); err != nil {
		return nil, nil //nolint:nilerr // absent samples are no failure
	}
	sets := map[string][]string{} // name → paths
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		name := filepath.ToSlash(filepath.Dir(rel))
		switch {
		case name == "." || strings.HasSuffix(rel, ".csv") || strings.HasSuffix(rel, ".csv.gz"):
			return nil
		case name == "dns_tunnel":
			// One capture is a pcap, or the logs made from it.
			base := strings.TrimSuffix(filepath.Base(rel), ".gz")
			stem, ext, _ := strings.Cut(base, ".")
			name += "/" + stem + " (Zeek logs)"
			if ext == "pcap" {
				name = "dns_tunnel/" + stem + " (packets)"
			}
		}
		sets[name] = append(sets[name], path)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var names []string
	for n := range sets {
		names = append(names, n)
	}
	slices.Sort(names)
	out := make([]Sample, len(names))
	err = parallel(len(names), func(i int) error {
		s, err := sample(names[i], sets[names[i]])
		out[i] = s
		return err
	})
	return slices.DeleteFunc(out, func(s Sample) bool { return s.Events == 0 }), err
}

func sample(name string, paths []string) (Sample, error) {
	s := Sample{Path: name, Attack: strings.HasPrefix(name, "dns_tunnel/")}
	slices.Sort(paths)
	inputs, _, err := hunt.Open(paths)
	if err != nil {
		return s, err
	}
	res, err := hunt.Run(context.Background(), inputs, hunt.Options{})
	if err != nil {
		return s, fmt.Errorf("%s: %w", name, err)
	}
	for _, r := range res.Report.Sources {
		s.Records += r.Records
		s.Events += r.Events
	}
	for _, a := range res.Alerts {
		why := judgements[name+"/"+a.Detector]
		if folder, _, ok := strings.Cut(name, "/"); why == "" && ok {
			why = judgements[folder+"/"+a.Detector]
		}
		if why == "" {
			why = unjudged
		}
		s.Alerts = append(s.Alerts, Told{a.Detector, a.Severity, a.Entity.Name, a.Reason, why})
	}
	return s, nil
}

// samples writes the section of the page.
func (f *Figures) samples(p *page) {
	var events int64
	attacks, found := 0, 0
	for i := range f.Samples {
		s := &f.Samples[i]
		events += s.Events
		if s.Attack {
			attacks++
			if len(s.Alerts) > 0 {
				found++
			}
		}
	}
	p.f("## Other people's recordings\n\nThe public samples beside the repository (Zeek's own traces, WRCCDC 2018, RITA, ZAT, Korving's tunnels; %d events), without a site file. Of their DNS tunnels %s are found. Every alert, with our judgement:\n\n", events, proportion(found, attacks))
	p.f("| sample | alert | severity | who | what | judgement |\n|---|---|---|---|---|---|\n")
	quiet := []string{}
	for i := range f.Samples {
		s := &f.Samples[i]
		if len(s.Alerts) == 0 {
			quiet = append(quiet, s.Path)
		}
		for _, a := range s.Alerts {
			reason, _, _ := strings.Cut(a.Reason, ": ")
			p.f("| %s | %s | %s | %s | %s | %s |\n", s.Path, a.Detector, a.Severity, a.Entity, strings.ReplaceAll(reason, "|", "\\|"), a.Judgement)
		}
	}
	p.f("\nNo alert on: %s.\n\n", strings.Join(quiet, ", "))
}
