package site

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Setting is what a detector runs with for one subject.
type Setting struct {
	Mode         string
	Floor, Alert float64
}

// Subject is what an override can match.
type Subject struct {
	Address   netip.Addr
	Host      string
	Principal string
	Domain    string
}

func (t *Tuning) validate() error {
	if err := validMode(t.Mode); err != nil {
		return err
	}
	for i, o := range t.Overrides {
		if o.Match == "" {
			return fmt.Errorf("overrides[%d].match is empty", i)
		}
		if err := validMode(o.Mode); err != nil {
			return fmt.Errorf("overrides[%d]: %w", i, err)
		}
	}
	return nil
}

func validMode(mode string) error {
	switch mode {
	case "", "off", "shadow", "alert":
		return nil
	}
	return fmt.Errorf("mode %q is not off, shadow or alert", mode)
}

// DetectorIDs returns the ids that the site tunes, for a check against those
// that exist.
func (s *Site) DetectorIDs() []string {
	out := make([]string, 0, len(s.tuning))
	for id := range s.tuning {
		out = append(out, id)
	}
	return out
}

// ThresholdNames returns the names that the site sets for a detector.
func (s *Site) ThresholdNames(id string) []string {
	var out []string
	t := s.tuning[id]
	for n := range t.Thresholds {
		out = append(out, n)
	}
	for _, o := range t.Overrides {
		for n := range o.Thresholds {
			out = append(out, n)
		}
	}
	return out
}

// OverridesThresholds reports whether an override of a detector sets a named
// threshold for what it matches.
func (s *Site) OverridesThresholds(id string) bool {
	return slices.ContainsFunc(s.tuning[id].Overrides, func(o Override) bool { return len(o.Thresholds) > 0 })
}

// Setting returns the mode and bounds of a detector for a subject, starting
// from the detector's own defaults. Later overrides win.
func (s *Site) Setting(id string, def Setting, on Subject, at int64) Setting {
	t, ok := s.tuning[id]
	if !ok {
		return def
	}
	out := apply(def, t.Mode, t.Floor, t.Alert)
	for _, o := range t.Overrides {
		if o.matches(on, at) {
			out = apply(out, o.Mode, o.Floor, o.Alert)
		}
	}
	return out
}

func apply(s Setting, mode string, floor, alert *float64) Setting {
	if mode != "" {
		s.Mode = mode
	}
	if floor != nil {
		s.Floor = *floor
	}
	if alert != nil {
		s.Alert = *alert
	}
	return s
}

// Threshold returns a named threshold of a detector, def where the site does
// not set it. It is meant for the time when a site becomes valid; for a
// subject with overrides see ThresholdFor.
func (s *Site) Threshold(id, name string, def float64) float64 {
	if v, ok := s.tuning[id].Thresholds[name]; ok {
		return v
	}
	return def
}

// HasOverrides reports whether a detector has overrides at all, so that the
// usual case costs nothing per record.
func (s *Site) HasOverrides(id string) bool { return len(s.tuning[id].Overrides) > 0 }

// ThresholdFor is Threshold for one subject.
func (s *Site) ThresholdFor(id, name string, def float64, on Subject, at int64) float64 {
	v := s.Threshold(id, name, def)
	for _, o := range s.tuning[id].Overrides {
		if x, ok := o.Thresholds[name]; ok && o.matches(on, at) {
			v = x
		}
	}
	return v
}

func (o *Override) matches(on Subject, at int64) bool {
	if o.Until != 0 && at >= int64(o.Until) {
		return false
	}
	if p, err := ParsePrefix(o.Match); err == nil {
		return on.Address.IsValid() && p.Contains(on.Address.Unmap())
	}
	if o.Match == on.Host || o.Match == on.Principal {
		return true
	}
	return on.Domain == o.Match || (on.Domain != "" && strings.HasSuffix(on.Domain, "."+o.Match))
}
