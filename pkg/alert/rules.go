package alert

// A rule is what a document says of a detector beside its id.
type rule struct {
	name     string
	category string // one of event.category of ECS
	typ      string // one of event.type of ECS
	action   string
}

// Ids of the correlated rules and of the roll-up.
const (
	RuleJoined    = "staging-then-exfil"
	RuleJoinedDay = "staging-then-exfil-24h"
)

// Actions that several rules share.
const (
	// ActionJoined is prescribed (detections.md §7): memory first, since
	// isolating a host makes a careful attacker wipe it.
	ActionJoined = "1. Preserve a memory image of the host before anything else. 2. Then isolate the host. " +
		"3. Then review all outbound connections of the last 24 hours of this host."
	actionTransfer = "Find the process and the user behind the transfer, ask the owner of the host whether it is expected, " +
		"block the destination if not, and review the host's other outbound connections of the last 24 hours."
	actionTunnel = "Block the domain or peer at the resolver and the firewall, find the process on the host that speaks to it, " +
		"preserve a memory image before isolating the host."
	actionStaging = "Look at the process, its parent and its user on the host, find what it wrote and where it went, " +
		"and watch the host's outbound traffic for the next 24 hours."
	actionCloud = "Ask the owner of the principal whether the access is expected, revoke its sessions and keys if not, " +
		"and list what else it read or shared in the last 24 hours."
	actionShare = "Take the access away if the other account is not ours, find who granted it and with which session, " +
		"and check what was copied meanwhile."
)

// rules are the detectors of DESIGN §5 and the correlated rules.
var rules = map[string]rule{
	"external-transfer":      {"Large transfer to an external destination", "network", "connection", actionTransfer},
	"volume-anomaly":         {"Outbound volume far above the source's own baseline", "network", "connection", actionTransfer},
	"volume-fixed":           {"Outbound volume above the fixed limit", "network", "connection", actionTransfer},
	"upload-ratio":           {"Upload-dominated connections to an external destination", "network", "connection", actionTransfer},
	"sustained-upload":       {"Sustained upload", "network", "connection", actionTransfer},
	"slow-upload":            {"Slow upload over many hours", "network", "connection", actionTransfer},
	"new-destination-upload": {"Upload to a destination never used before", "network", "connection", actionTransfer},
	"distributed-upload":     {"Several sources upload to one destination", "network", "connection", actionTransfer},
	"no-dns-upload":          {"Upload to an address that was never looked up", "network", "connection", actionTransfer},
	"sanctioned-abuse":       {"Unusual volume to a sanctioned service", "network", "connection", actionTransfer},
	"foreign-tenant":         {"Upload to a tenant that is not ours", "network", "connection", actionTransfer},
	"mail-upload":            {"Large mail sent outside", "email", "info", "Read the mail at the relay, ask the sender, and block the recipient if it is not expected."},
	"dns-tunnel":             {"DNS tunnel", "network", "protocol", actionTunnel},
	"dns-not-dns":            {"Traffic on port 53 that is not DNS", "network", "protocol", actionTunnel},
	"encrypted-dns":          {"Encrypted DNS past the resolvers of the site", "network", "protocol", actionTunnel},
	"icmp-tunnel":            {"ICMP tunnel", "network", "protocol", actionTunnel},
	"internal-fan-in":        {"One host collects data from many", "network", "connection", actionStaging},
	"archive-sensitive":      {"Archive of sensitive files", "process", "info", actionStaging},
	"bulk-secret-read":       {"Bulk read of secrets", "file", "access", actionStaging},
	"transfer-tool":          {"Transfer tool on a host", "process", "info", actionStaging},
	"mounted-share-write":    {"Bulk write to a mounted share", "file", "change", actionStaging},
	"removable-media":        {"Removable medium on a server", "host", "info", "Find who is at the machine, keep the medium, and compare what was read on the host before."},
	"bulk-object-read":       {"Bulk read from object storage", "file", "access", actionCloud},
	"sensitive-object-read":  {"Read of sensitive objects by an unlisted principal", "file", "access", actionCloud},
	"principal-anomaly":      {"Principal reads far beyond its own habit", "iam", "info", actionCloud},
	"role-used-outside":      {"Instance role used from outside", "iam", "info", "Revoke the role's sessions now, treat the instance as compromised, and preserve its memory before isolating it."},
	"foreign-share":          {"Resource shared with a foreign account", "configuration", "change", actionShare},
	"foreign-copy":           {"Data copied to a foreign account", "file", "access", actionShare},
	"snapshot-read":          {"Snapshot read or copied outside", "file", "access", actionShare},
	"bulk-export":            {"Bulk export of a database or dataset", "database", "access", actionCloud},
	"telemetry-tampering":    {"Telemetry switched off or changed", "configuration", "change", "Switch the telemetry on again, find who did it, and treat what happened meanwhile as unseen."},
	"sensor-silent":          {"Sensor silent", "host", "info", "Bring the sensor back; while it is silent its detections do not see. This goes to the owner of the sensor."},
	RuleJoined:               {"Staging then exfiltration", "intrusion_detection", "info", ActionJoined},
	RuleJoinedDay:            {"Staging then exfiltration within a day", "intrusion_detection", "info", ActionJoined},
}

// RuleName is the name of a detector or rule for a reader; an unknown id is
// its own name.
func RuleName(id string) string {
	if r, ok := rules[id]; ok {
		return r.name
	}
	return id
}

// Action is the recommended action for a rule.
func Action(id string) string {
	if r, ok := rules[id]; ok {
		return r.action
	}
	return actionTransfer
}

// RuleIDs returns the ids that have an entry of their own, unordered.
func RuleIDs() []string {
	out := make([]string, 0, len(rules))
	for id := range rules {
		out = append(out, id)
	}
	return out
}
