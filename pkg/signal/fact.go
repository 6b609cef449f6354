package signal

import (
	"fmt"

	"github.com/segmentio/encoding/json"
)

// IDType names a kind of identifier of an entity.
type IDType string

// The identifier types. An address is written realm|address, a container by
// its id, a pod as namespace/name.
const (
	IDAddress   IDType = "address"
	IDInterface IDType = "interface"
	IDInstance  IDType = "instance"
	IDHost      IDType = "host"
	IDPod       IDType = "pod"
	IDContainer IDType = "container"
	IDPrincipal IDType = "principal"
)

// Identifier is one name of an entity.
type Identifier struct {
	Type  IDType `json:"type"`
	Value string `json:"value"`
}

// Fact binds two identifiers for a span of time.
type Fact struct {
	Kind string     `json:"kind"` // always "fact"
	V    int        `json:"v"`
	A    Identifier `json:"a"`
	B    Identifier `json:"b"`
	// From and Until are microseconds; Until 0 is open. A fact seen in an
	// event holds from that event's time and is refreshed while it is seen.
	From  int64 `json:"from"`
	Until int64 `json:"until,omitempty"`
	// Source says where it was seen: vpcflow, falco, dhcp, inventory, …
	Source string `json:"source"`
}

// Append appends the JSON form.
func (f *Fact) Append(dst []byte) ([]byte, error) {
	f.Kind, f.V = KindFact, Version
	return json.Append(dst, f, 0)
}

// DecodeFact decodes an identity fact.
func DecodeFact(data []byte, f *Fact) error {
	*f = Fact{}
	if err := json.Unmarshal(data, f); err != nil {
		return fmt.Errorf("decode fact: %w", err)
	}
	if f.A.Value == "" || f.B.Value == "" {
		return fmt.Errorf("decode fact: empty identifier")
	}
	return nil
}

// Deployment is a deployment window: staging on what it names is expected. A
// later one of the same subject and From takes its place.
type Deployment struct {
	Kind      string `json:"kind"` // always "deployment"
	V         int    `json:"v"`
	Namespace string `json:"namespace,omitempty"`
	Host      string `json:"host,omitempty"`
	From      int64  `json:"from"`
	Until     int64  `json:"until"`
	By        string `json:"by,omitempty"`
	Why       string `json:"why,omitempty"`
}

// Append appends the JSON form.
func (d *Deployment) Append(dst []byte) ([]byte, error) {
	d.Kind, d.V = KindDeployment, Version
	return json.Append(dst, d, 0)
}

// DecodeDeployment decodes a deployment window.
func DecodeDeployment(data []byte, d *Deployment) error {
	*d = Deployment{}
	if err := json.Unmarshal(data, d); err != nil {
		return fmt.Errorf("decode deployment: %w", err)
	}
	if d.Until <= d.From || (d.Namespace == "" && d.Host == "") {
		return fmt.Errorf("decode deployment: empty window or subject")
	}
	return nil
}

// Verdict is an analyst's answer to an alert.
type Verdict struct {
	Kind    string `json:"kind"` // always "verdict"
	V       int    `json:"v"`
	AlertID string `json:"alert_id"`
	Verdict string `json:"verdict"` // benign, true, unsure
	By      string `json:"by"`
	Why     string `json:"why"`
	Time    int64  `json:"time"`
}

// Append appends the JSON form.
func (v *Verdict) Append(dst []byte) ([]byte, error) {
	v.Kind, v.V = KindVerdict, Version
	return json.Append(dst, v, 0)
}

// DecodeVerdict decodes a verdict.
func DecodeVerdict(data []byte, v *Verdict) error {
	*v = Verdict{}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("decode verdict: %w", err)
	}
	switch v.Verdict {
	case "benign", "true", "unsure":
		return nil
	}
	return fmt.Errorf("decode verdict: %q is not benign, true or unsure", v.Verdict)
}

// Release brings a verdict back to where the finding was made: the record of
// the plane's topic, under the key of the signal, by which what a source usually
// does is corrected. The correlator writes one for each signal of an answered
// alert that leans on a baseline (ADR 8).
type Release struct {
	Kind     string `json:"kind"` // always "release"
	V        int    `json:"v"`
	AlertID  string `json:"alert_id"`
	SignalID string `json:"signal_id"`
	Detector string `json:"detector"`
	Verdict  string `json:"verdict"` // benign or true
	// First and Last bound the event times of the finding, microseconds.
	First int64  `json:"first"`
	Last  int64  `json:"last"`
	By    string `json:"by"`
	Time  int64  `json:"time"`
}

// Append appends the JSON form.
func (r *Release) Append(dst []byte) ([]byte, error) {
	r.Kind, r.V = KindRelease, Version
	return json.Append(dst, r, 0)
}

// DecodeRelease decodes a release.
func DecodeRelease(data []byte, r *Release) error {
	*r = Release{}
	if err := json.Unmarshal(data, r); err != nil {
		return fmt.Errorf("decode release: %w", err)
	}
	if r.Verdict != "benign" && r.Verdict != "true" || r.Detector == "" || r.First < 0 || r.Last < r.First {
		return fmt.Errorf("decode release: verdict %q about %d to %d of %q", r.Verdict, r.First, r.Last, r.Detector)
	}
	return nil
}
