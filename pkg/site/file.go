package site

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// File is the site file as written. Unknown keys are errors.
type File struct {
	HomeNetworks []Entry           `yaml:"home_networks"`
	Realms       map[string]string `yaml:"realms"` // vpc-id, sensor or cluster → realm
	// Roles name sources that do the same, by networks: what is usual for one
	// is a measure for another that has no history.
	Roles         map[string][]string `yaml:"roles"`
	Aggregators   []Entry             `yaml:"aggregators"`
	Resolvers     []Entry             `yaml:"resolvers"`
	OwnDomains    []Entry             `yaml:"own_domains"`
	LookupDomains []Entry             `yaml:"lookup_domains"`
	Sanctioned    []Sanction          `yaml:"sanctioned_destinations"`
	BackupSources []Entry             `yaml:"backup_sources"`
	Monitors      []Entry             `yaml:"monitors"`
	MailRelays    []Entry             `yaml:"mail_relays"`
	OwnAccounts   []Entry             `yaml:"own_accounts"`
	OwnTenants    []Entry             `yaml:"own_tenants"`
	Classified    []Classified        `yaml:"classification"`
	Inventory     []Inventory         `yaml:"inventory"`
	Detectors     map[string]Tuning   `yaml:"detectors"`
}

// Entry is a plain value or a value with its owner, expiry and reason.
type Entry struct {
	Value string `yaml:"value"`
	Owner string `yaml:"owner"`
	Until Date   `yaml:"until"`
	Why   string `yaml:"why"`
}

// UnmarshalYAML reads either form.
func (e *Entry) UnmarshalYAML(n *yaml.Node) error {
	*e = Entry{}
	if n.Kind != yaml.MappingNode {
		return n.Load(&e.Value)
	}
	type entry Entry
	return n.Load((*entry)(e), yaml.WithKnownFields())
}

// Applies reports whether the entry holds at an event time.
func (e Entry) Applies(at int64) bool { return e.Until == 0 || at < int64(e.Until) }

// Sanction is a destination that may receive data: a domain or a network,
// from given sources and up to a volume, where those are declared.
type Sanction struct {
	Entry   `yaml:",inline"`
	Sources []string `yaml:"sources"` // addresses, networks or host names; empty: any
	// DailyBytes caps what one source may send in 24 h; 0: no cap.
	DailyBytes uint64 `yaml:"daily_bytes"`
}

// UnmarshalYAML reads either form.
func (s *Sanction) UnmarshalYAML(n *yaml.Node) error {
	*s = Sanction{}
	if n.Kind != yaml.MappingNode {
		return n.Load(&s.Value)
	}
	var full struct {
		Value      string   `yaml:"value"`
		Owner      string   `yaml:"owner"`
		Until      Date     `yaml:"until"`
		Why        string   `yaml:"why"`
		Sources    []string `yaml:"sources"`
		DailyBytes uint64   `yaml:"daily_bytes"`
	}
	if err := n.Load(&full, yaml.WithKnownFields()); err != nil {
		return err
	}
	*s = Sanction{Entry{full.Value, full.Owner, full.Until, full.Why}, full.Sources, full.DailyBytes}
	return nil
}

// Classified gives a class to a bucket (with an optional prefix) or a host.
type Classified struct {
	Bucket  string `yaml:"bucket"`
	Prefix  string `yaml:"prefix"`
	Host    string `yaml:"host"`
	Dataset string `yaml:"dataset"`
	Class   Class  `yaml:"class"`
	Owner   string `yaml:"owner"`
	// Principals may read it in bulk.
	Principals []string `yaml:"principals"`
	Until      Date     `yaml:"until"`
	Why        string   `yaml:"why"`
}

// Inventory binds identifiers of one machine; at least two must be given.
type Inventory struct {
	Realm     string `yaml:"realm"`
	Address   string `yaml:"address"`
	Interface string `yaml:"interface"`
	Instance  string `yaml:"instance"`
	Host      string `yaml:"host"`
	Namespace string `yaml:"namespace"`
	Pod       string `yaml:"pod"`
	Principal string `yaml:"principal"`
	Owner     string `yaml:"owner"`
	Until     Date   `yaml:"until"`
	Why       string `yaml:"why"`
}

// Tuning is a site's setting of one detector.
type Tuning struct {
	Mode       string             `yaml:"mode"`
	Floor      *float64           `yaml:"floor"`
	Alert      *float64           `yaml:"alert"`
	Thresholds map[string]float64 `yaml:"thresholds"`
	Overrides  []Override         `yaml:"overrides"`
}

// Override changes a tuning for what it matches: an address or network, a
// host, a principal or a domain.
type Override struct {
	Match      string             `yaml:"match"`
	Mode       string             `yaml:"mode"`
	Floor      *float64           `yaml:"floor"`
	Alert      *float64           `yaml:"alert"`
	Thresholds map[string]float64 `yaml:"thresholds"`
	Owner      string             `yaml:"owner"`
	Until      Date               `yaml:"until"`
	Why        string             `yaml:"why"`
}

// Class is a classification.
type Class string

// The classes. An empty class is UNCLASSIFIED.
const (
	Public       Class = "PUBLIC"
	InternalUse  Class = "INTERNAL"
	Confidential Class = "CONFIDENTIAL"
	Restricted   Class = "RESTRICTED"
	Unclassified Class = "UNCLASSIFIED"
)

// Date is a point in event time, microseconds; 0 is none. It is written as a
// day (2026-12-31, which ends at its midnight UTC) or in RFC 3339.
type Date int64

// UnmarshalYAML reads a date.
func (d *Date) UnmarshalYAML(n *yaml.Node) error {
	text := n.Value
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			*d = Date(t.UnixMicro())
			return nil
		}
	}
	return fmt.Errorf("%q is neither a day (2026-12-31) nor an RFC 3339 time", text)
}

// decodeFile decodes the YAML; an empty document is an empty file.
func decodeFile(data []byte) (*File, error) {
	f := new(File)
	var docs []any
	if err := yaml.Load(data, &docs, yaml.WithAllDocuments()); err == nil && (len(docs) == 0 || docs[0] == nil) {
		return f, nil
	}
	if err := yaml.Load(data, f, yaml.WithKnownFields()); err != nil {
		return nil, errors.New(strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: ")), " "))
	}
	return f, nil
}
