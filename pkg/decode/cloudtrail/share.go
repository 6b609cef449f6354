package cloudtrail

import (
	"iter"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
)

// maxTargets is how many targets an event names.
const maxTargets = 32

// grants collects who is given access.
type grants struct {
	targets []string // of the event
	public  bool
	own     string // the account that owns the resource
	more    int    // targets beyond maxTargets
}

// parameters returns the parameters of a call; some EC2 calls wrap them in
// an object NAMERequest.
func (d *decoder) parameters(name string) rawjson.Value {
	p := d.rec.Parameters
	for key, inner := range rawjson.Object(p) {
		if len(key) == len(name)+len("Request") && strings.HasPrefix(key, name) && strings.HasSuffix(key, "Request") {
			return inner
		}
	}
	return p
}

// share fills in a call of the table that gives or takes access. It reports
// false, and leaves the event as it was, if the parameters hold neither.
func (d *decoder) share(c *call, name string) bool {
	e, params := &d.ev, d.parameters(name)
	given, gave := d.collect(c.give, params)
	took := c.revokes
	if !gave || len(given.targets) == 0 && !given.public {
		var taken grants
		var found bool
		if taken, found = d.collect(c.take, params); found && len(taken.targets) > 0 || taken.public {
			given, took = taken, true
		}
		gave = gave || found
	}
	if !gave && !took {
		e.Share.Targets = e.Share.Targets[:0]
		return false
	}
	e.Share.Resource = resource(c, params)
	if e.Share.Resource == "" {
		e.Share.Resource = firstARN(&d.rec)
	}
	if key := rawjson.Text(rawjson.Get(params, "key")); key != "" && e.Cloud.Service == "s3.amazonaws.com" {
		e.Share.Resource += "/" + key
	}
	e.Share.Targets, e.Share.Public, e.Share.Removed = given.targets, given.public, took
	return true
}

// manage fills in any other call.
func (d *decoder) manage(c *call, name string) {
	e, params := &d.ev, d.parameters(name)
	if !c.share && len(c.give) > 0 {
		to, _ := d.collect(c.give, params)
		e.Share.Targets = to.targets
	}
	s := resource(c, params)
	if s == "" && e.Cloud.Service != "s3.amazonaws.com" {
		s = firstARN(&d.rec)
	}
	if s == "" {
		s = likelyResource(params)
	}
	if s == "" {
		s = likelyResource(d.rec.ServiceDetails)
	}
	if s == "" {
		s = firstARN(&d.rec)
	}
	e.Share.Resource = s
}

// collect reads grants and reports whether the parameters have one of their
// places.
func (d *decoder) collect(list []grant, params rawjson.Value) (g grants, found bool) {
	g = grants{targets: d.ev.Share.Targets[:0], own: d.ev.Cloud.Account}
	if g.own == "" {
		g.own = d.ev.User.Account
	}
	for _, place := range list {
		if path, want, conditional := strings.Cut(place.when, "="); conditional &&
			!strings.EqualFold(rawjson.Text(rawjson.Get(params, path)), want) {
			continue
		}
		if place.path == "" {
			if rawjson.IsObject(params) {
				found = true
				g.read(place.form, params)
			}
			continue
		}
		for v := range follow(params, place.path) {
			found = true
			g.read(place.form, v)
		}
	}
	if g.more > 0 {
		g.targets[maxTargets-1] = "and " + strconv.Itoa(g.more+1) + " more"
	}
	return g, found
}

// follow yields the values at a path, each element where a list stands on
// the way but the list itself where it stands at the end.
func follow(v rawjson.Value, path string) iter.Seq[rawjson.Value] {
	return func(yield func(rawjson.Value) bool) { walk(v, path, yield) }
}

// walk recurses by the parts of a path, never by the depth of the input.
func walk(v rawjson.Value, path string, yield func(rawjson.Value) bool) bool {
	key, rest, more := strings.Cut(path, ".")
	for element := range rawjson.Each(v) {
		inner := rawjson.Get(element, key)
		switch {
		case inner == nil:
		case more:
			if !walk(inner, rest, yield) {
				return false
			}
		case !yield(inner):
			return false
		}
	}
	return true
}

// read takes what stands at one place.
func (g *grants) read(f form, v rawjson.Value) {
	switch f {
	case principals:
		for p := range rawjson.Each(v) {
			g.principal(rawjson.Scalar(p))
		}
	case members:
		for m := range rawjson.Each(v) {
			g.principal(rawjson.Scalar(rawjson.Get(m, "userId")))
			g.principal(rawjson.Text(rawjson.Get(m, "organizationArn")))
			g.principal(rawjson.Text(rawjson.Get(m, "organizationalUnitArn")))
			if group := rawjson.Text(rawjson.Get(m, "group")); group == "all" {
				g.public = true
			} else if group != "" && group != "none" {
				g.target("group:" + group)
			}
		}
	case policy:
		g.policy(v)
	case bucket:
		for b := range rawjson.Each(v) {
			g.bucket(rawjson.Text(b))
		}
	case endpoint:
		g.endpoint(rawjson.Text(v))
	case acl:
		g.acl(v)
	case permission:
		g.permission(v)
	case replication:
		for dest := range rawjson.Each(v) {
			if account := firstOf(dest, "Account", "AccountId", "s3BucketOwner"); account != "" {
				g.principal(account) // S3 holds the bucket to it
			} else {
				g.bucket(firstOf(dest, "Bucket", "s3Bucket"))
			}
		}
	}
}

func firstOf(v rawjson.Value, keys ...string) string {
	for _, key := range keys {
		if s := rawjson.Scalar(rawjson.Get(v, key)); s != "" {
			return s
		}
	}
	return ""
}

// target adds one target, once.
func (g *grants) target(s string) {
	if s == "" || s == g.own {
		return
	}
	if slices.Contains(g.targets, s) {
		return
	}
	if len(g.targets) == maxTargets {
		g.more++
		return
	}
	g.targets = append(g.targets, s)
}

// principal adds whoever a principal stands for: the account of an arn, the
// organisation of an arn of Organizations, everyone, or itself. A service of
// AWS is nobody: it acts for the account whose resources a condition names.
func (g *grants) principal(s string) {
	switch {
	case s == "*" || s == "all":
		g.public = true
	case isService(s):
	case strings.HasPrefix(s, "arn:"):
		g.arn(s)
	default:
		g.target(s)
	}
}

func isService(s string) bool {
	return strings.HasSuffix(s, ".amazonaws.com") || strings.HasSuffix(s, ".amazonaws.com.cn")
}

func (g *grants) arn(s string) {
	if i := strings.Index(s, ":organizations:"); i > 0 {
		// …:organization/o-ID, …:ou/o-ID/ou-ID, …:account/o-ID/ACCOUNT
		parts := strings.Split(s[strings.LastIndexByte(s, ':')+1:], "/")
		switch {
		case len(parts) == 3 && parts[0] == "account":
			g.target(parts[2])
			return
		case len(parts) >= 2:
			g.target(parts[1])
			return
		}
	}
	if account := accountOf(s); len(account) == 12 && digits(account) {
		g.target(account)
		return
	}
	g.target(s)
}

// bucket adds a bucket, in one spelling.
func (g *grants) bucket(s string) {
	switch {
	case s == "":
	case strings.HasPrefix(s, "arn:"):
		g.target(s)
	default:
		g.target("arn:aws:s3:::" + s)
	}
}

// endpoint adds where a subscription sends: the account of a queue or a
// function, the domain of a URL or a mail address, or the text itself.
func (g *grants) endpoint(s string) {
	if strings.HasPrefix(s, "arn:") {
		g.arn(s)
		return
	}
	if u, err := url.Parse(s); err == nil && u.Hostname() != "" {
		g.target(strings.ToLower(u.Hostname()))
		return
	}
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		s = strings.ToLower(s[i+1:])
	}
	g.target(s)
}

// permission reads the parameters of Lambda's AddPermission and
// AddLayerVersionPermission.
func (g *grants) permission(params rawjson.Value) {
	principal := rawjson.Scalar(rawjson.Get(params, "principal"))
	narrowed := false
	for _, key := range [...]string{"principalOrgID", "organizationId", "sourceAccount"} {
		if s := rawjson.Scalar(rawjson.Get(params, key)); s != "" {
			narrowed = true
			g.target(s)
		}
	}
	if account := accountOf(rawjson.Text(rawjson.Get(params, "sourceArn"))); account != "" {
		narrowed = true
		g.target(account)
	}
	if principal != "*" || !narrowed {
		g.principal(principal)
	}
}

// acl reads an S3 ACL in its three forms: a canned name, grants in headers,
// or a document.
func (g *grants) acl(params rawjson.Value) {
	const headers = "x-amz-grant-"
	list := rawjson.Get(params, "accessControlList")
	for _, from := range [...]rawjson.Value{params, list} {
		for key, v := range rawjson.Object(from) {
			switch {
			case key == "x-amz-acl":
				switch rawjson.Text(v) {
				case "public-read", "public-read-write", "authenticated-read":
					g.public = true
				}
			case strings.HasPrefix(key, headers):
				for grantee := range strings.SplitSeq(rawjson.Text(v), ",") {
					_, who, _ := strings.Cut(grantee, "=")
					g.grantee(strings.Trim(who, ` "`))
				}
			}
		}
	}
	document := rawjson.Get(params, "AccessControlPolicy")
	owner := rawjson.Text(rawjson.Get(document, "Owner", "ID"))
	for one := range follow(document, "AccessControlList.Grant") {
		for v := range rawjson.Each(one) {
			grantee := rawjson.Get(v, "Grantee")
			g.grantee(rawjson.Text(rawjson.Get(grantee, "URI")))
			g.grantee(rawjson.Text(rawjson.Get(grantee, "EmailAddress")))
			if id := rawjson.Text(rawjson.Get(grantee, "ID")); id != owner {
				g.grantee(id)
			}
		}
	}
}

// grantee adds one grantee of an ACL: a group's URI, a canonical id, or a mail
// address.
func (g *grants) grantee(s string) {
	switch {
	case strings.HasSuffix(s, "/groups/global/AllUsers") || strings.HasSuffix(s, "/groups/global/AuthenticatedUsers"):
		g.public = true
	case strings.HasSuffix(s, "/groups/s3/LogDelivery"):
	default:
		g.target(s)
	}
}

// resource returns what a call of the table is about.
func resource(c *call, params rawjson.Value) string {
	for _, path := range c.resource {
		for v := range follow(params, path) {
			for one := range rawjson.Each(v) {
				if s := rawjson.Scalar(one); s != "" {
					return s
				}
			}
		}
	}
	return ""
}

// firstARN returns the first resource that the record names.
func firstARN(rec *record) string {
	for r := range rawjson.Each(rec.Resources) {
		if s := rawjson.Text(rawjson.Get(r, "ARN")); s != "" {
			return s
		}
	}
	return ""
}

// likelyResource picks the parameter that most likely names the resource.
func likelyResource(params rawjson.Value) string {
	best, found := len(resourceParameters)+1, ""
	var lower [32]byte
	for key, v := range rawjson.Object(params) {
		if len(key) > len(lower) {
			continue
		}
		for i := range len(key) {
			lower[i] = key[i] | 0x20 // letters to lower case; keys hold no others that matter
		}
		rank, known := resourceParameters[string(lower[:len(key)])]
		if !known || rank >= best {
			continue
		}
		if s := rawjson.Scalar(v); s != "" {
			best, found = rank, s
		}
	}
	return found
}
