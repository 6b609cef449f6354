package gcp

import (
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
)

// maxTargets is how many targets an event lists (event.Share).
const maxTargets = 32

// policy reads who a call gave access to, or took it from, and reports whether
// it is a call about access at all. What was added outweighs what was removed.
func (d *Decoder) policy(a *auditLog) bool {
	method := strings.ToLower(d.ev.Action)
	if !strings.HasSuffix(method, "setiampolicy") && !strings.HasSuffix(method, "setiampermissions") && !strings.HasSuffix(method, ".addgroupmember") {
		return false
	}
	deltas := rawjson.Get(a.ServiceData, "policyDelta", "bindingDeltas")
	if !rawjson.IsArray(deltas) {
		deltas = rawjson.Get(a.Metadata, "policyDelta", "bindingDeltas")
	}
	if rawjson.IsArray(deltas) {
		d.deltas(deltas)
		return true
	}
	// Without deltas the whole policy is what we know.
	policy := rawjson.Get(a.Request, "policy")
	if !rawjson.IsObject(policy) {
		policy = a.Request
	}
	for b := range rawjson.Each(rawjson.Get(policy, "bindings")) {
		for m := range rawjson.Each(rawjson.Get(b, "members")) {
			d.member(rawjson.Text(m))
		}
	}
	return true
}

// deltas reads bindingDeltas: the members who were added, or where nobody was,
// those who were removed.
func (d *Decoder) deltas(deltas rawjson.Value) {
	added := false
	for delta := range rawjson.Each(deltas) {
		added = added || rawjson.Text(rawjson.Get(delta, "action")) != "REMOVE"
	}
	for delta := range rawjson.Each(deltas) {
		if (rawjson.Text(rawjson.Get(delta, "action")) != "REMOVE") == added {
			d.member(rawjson.Text(rawjson.Get(delta, "member")))
		}
	}
	d.ev.Share.Removed = !added
}

// member adds one member of a binding: user:E-MAIL, group:…, domain:…,
// serviceAccount:NAME@PROJECT.iam.gserviceaccount.com, projectOwner:PROJECT,
// allUsers, allAuthenticatedUsers, or a principal of a pool.
func (d *Decoder) member(m string) {
	m = strings.TrimPrefix(m, "deleted:")
	kind, who, _ := strings.Cut(m, ":")
	who, _, _ = strings.Cut(who, "?uid=")
	switch kind {
	case "allUsers", "allAuthenticatedUsers":
		d.ev.Share.Public = true
		return
	case "serviceAccount":
		if _, domain, ok := strings.Cut(who, "@"); ok {
			if project, own := strings.CutSuffix(domain, ".iam.gserviceaccount.com"); own {
				d.target(project)
				return
			}
		}
		d.target(who)
	case "user", "group", "domain", "projectOwner", "projectEditor", "projectViewer":
		d.target(who)
	default:
		d.target(m)
	}
}

// place returns where a log sink writes: the project, or the bucket as
// gs://NAME.
func place(destination string) string {
	service, rest, ok := strings.Cut(destination, "/")
	if !ok {
		return ""
	}
	if service == "storage.googleapis.com" {
		name, _, _ := strings.Cut(rest, "/")
		return "gs://" + name
	}
	return projectOf(rest)
}

// projectOf returns P of projects/P/….
func projectOf(resource string) string {
	_, rest, ok := strings.Cut(resource, "projects/")
	if !ok {
		return ""
	}
	p, _, _ := strings.Cut(rest, "/")
	return p
}

// bucketOf returns gs://BUCKET of gs://BUCKET/OBJECT, "" for anything else.
func bucketOf(uri string) string {
	rest, ok := strings.CutPrefix(uri, "gs://")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return uri[:len("gs://")+len(name)]
}
