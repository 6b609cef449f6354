package alert

import "github.com/segmentio/encoding/json"

// The document as it stands on the wire. Field order is that of the structs.
type document struct {
	Timestamp    string           `json:"@timestamp"`
	ECS          docECS           `json:"ecs"`
	Message      string           `json:"message"`
	Event        docEvent         `json:"event"`
	Rule         docRule          `json:"rule"`
	Threat       *docThreat       `json:"threat,omitempty"`
	Source       *docEndpoint     `json:"source,omitempty"`
	Destination  *docEndpoint     `json:"destination,omitempty"`
	Network      *docNetwork      `json:"network,omitempty"`
	Host         *docHost         `json:"host,omitempty"`
	Container    *docID           `json:"container,omitempty"`
	Orchestrator *docOrchestrator `json:"orchestrator,omitempty"`
	User         *docUser         `json:"user,omitempty"`
	Cloud        *docCloud        `json:"cloud,omitempty"`
	Related      *docRelated      `json:"related,omitempty"`
	Ebbwatch     docOwn           `json:"ebbwatch"`
}

type docECS struct {
	Version string `json:"version"`
}

type docEvent struct {
	Kind      string   `json:"kind"`
	Category  []string `json:"category"`
	Type      []string `json:"type"`
	ID        string   `json:"id"`
	Module    string   `json:"module"`
	Dataset   string   `json:"dataset"`
	Severity  int      `json:"severity"`
	RiskScore int      `json:"risk_score"`
	Start     string   `json:"start"`
	End       string   `json:"end"`
	Duration  int64    `json:"duration"` // nanoseconds
	Created   string   `json:"created,omitempty"`
	Reason    string   `json:"reason"`
}

type docRule struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Category  string `json:"category"`
	Ruleset   string `json:"ruleset"`
	Reference string `json:"reference"`
}

type docThreat struct {
	Framework string       `json:"framework"`
	Tactic    *docNamed    `json:"tactic,omitempty"`
	Technique docTechnique `json:"technique"`
}

// docNamed holds arrays of equal meaning: the n-th of each belong together.
type docNamed struct {
	ID        []string `json:"id"`
	Name      []string `json:"name"`
	Reference []string `json:"reference"`
}

type docTechnique struct {
	ID           []string  `json:"id"`
	Name         []string  `json:"name"`
	Reference    []string  `json:"reference"`
	Subtechnique *docNamed `json:"subtechnique,omitempty"`
}

type docEndpoint struct {
	Address string  `json:"address,omitempty"`
	IP      string  `json:"ip,omitempty"`
	Port    uint64  `json:"port,omitempty"`
	Domain  string  `json:"domain,omitempty"`
	Bytes   *uint64 `json:"bytes,omitempty"`
}

type docNetwork struct {
	Protocol  string `json:"protocol,omitempty"`
	Transport string `json:"transport,omitempty"`
	Direction string `json:"direction,omitempty"`
}

type docHost struct {
	Name string   `json:"name,omitempty"`
	ID   string   `json:"id,omitempty"`
	IP   []string `json:"ip,omitempty"`
}

type docID struct {
	ID string `json:"id"`
}

type docOrchestrator struct {
	Type      string      `json:"type"`
	Namespace string      `json:"namespace,omitempty"`
	Resource  docResource `json:"resource"`
}

type docResource struct {
	Type string `json:"type"`
	Name string `json:"name"`
}

type docUser struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type docCloud struct {
	Provider string `json:"provider,omitempty"`
	Account  *docID `json:"account,omitempty"`
	Instance *docID `json:"instance,omitempty"`
}

type docRelated struct {
	IP    []string `json:"ip,omitempty"`
	Hosts []string `json:"hosts,omitempty"`
	User  []string `json:"user,omitempty"`
}

type docOwn struct {
	V              int                    `json:"v"`
	ID             string                 `json:"id"`
	Revision       uint64                 `json:"revision"`
	Status         Status                 `json:"status"`
	Notify         Notify                 `json:"notify,omitempty"`
	Detector       string                 `json:"detector"`
	Entity         Entity                 `json:"entity"`
	Severity       string                 `json:"severity"`
	Confidence     string                 `json:"confidence"`
	Classification string                 `json:"classification,omitempty"`
	Reason         string                 `json:"reason"`
	Channel        string                 `json:"channel,omitempty"`
	Subject        string                 `json:"subject,omitempty"`
	Layer          string                 `json:"layer,omitempty"`
	Technique      []string               `json:"technique,omitempty"`
	Points         map[string]docPoint    `json:"points"`
	Window         docSpan                `json:"window"`
	Joined         *docJoined             `json:"joined,omitempty"`
	Signals        []Signal               `json:"signals"`
	SignalsTotal   int                    `json:"signals_total"`
	Evidence       []docEvidence          `json:"evidence"`
	Trimmed        bool                   `json:"evidence_trimmed,omitempty"`
	Completeness   map[string]docComplete `json:"completeness"`
	Action         string                 `json:"recommended_action"`
	SupersededBy   string                 `json:"superseded_by,omitempty"`
	Verdict        *docVerdict            `json:"verdict,omitempty"`
	Rollup         *docRollup             `json:"rollup,omitempty"`
}

type docPoint struct {
	Points    float64 `json:"points"`
	Value     float64 `json:"value"`
	Threshold float64 `json:"threshold"`
}

type docSpan struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

type docJoined struct {
	Staged   docHalf `json:"staged"`
	Sent     docHalf `json:"sent"`
	Delta    float64 `json:"delta_minutes"`
	SameSize bool    `json:"same_size,omitempty"`
	Revision uint64  `json:"revision"`
}

type docHalf struct {
	Signal   string  `json:"signal"`
	Detector string  `json:"detector"`
	Channel  string  `json:"channel,omitempty"`
	Subject  string  `json:"subject,omitempty"`
	Start    string  `json:"start"`
	End      string  `json:"end"`
	Bytes    *uint64 `json:"bytes,omitempty"`
	Layer    string  `json:"layer,omitempty"`
	IP       string  `json:"destination_ip,omitempty"`
	Port     uint64  `json:"destination_port,omitempty"`
	Domain   string  `json:"destination_domain,omitempty"`
}

type docEvidence struct {
	Topic     string          `json:"topic"`
	Partition int32           `json:"partition"`
	Offset    int64           `json:"offset"`
	File      string          `json:"file,omitempty"`
	Line      uint64          `json:"line,omitempty"`
	At        *int64          `json:"at,omitempty"` // byte offset, absent when not known
	Record    json.RawMessage `json:"record,omitempty"`
}

type docComplete struct {
	Until string `json:"until,omitempty"`
	Ended bool   `json:"ended,omitempty"`
}

type docVerdict struct {
	Verdict string `json:"verdict"`
	By      string `json:"by"`
	Why     string `json:"why,omitempty"`
	Time    string `json:"time,omitempty"`
}

type docRollup struct {
	Alerts []Rolled `json:"alerts"`
	Total  int      `json:"total"`
}
