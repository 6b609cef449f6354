package correlate

import (
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// deployment is a window in which staging on its subject is expected.
type deployment struct {
	namespace, host string
	from, until     int64
	// run is when the chain of windows began that this one belongs to: windows
	// that follow each other closely excuse as much as one.
	run   int64
	heard int64 // append time
}

// onDeployment takes a deployment window, and looks again at the alerts that
// it may excuse. A window of the same subject and beginning as one that is held
// takes its place: so one is ended before its time, and what is told twice
// counts once.
func (c *Correlator) onDeployment(in *signal.Deployment) {
	d := deployment{namespace: in.Namespace, host: strings.ToLower(in.Host), from: in.From, until: in.Until, run: in.From, heard: c.now}
	for _, o := range c.deployments {
		if o.namespace == d.namespace && o.host == d.host && o.from <= d.from && d.from <= o.until+maxDeployment {
			d.run = min(d.run, o.run)
		}
	}
	d.until = min(d.until, d.run+maxDeployment)
	if d.until <= d.from {
		c.ctx.Count("deployments", "too_close", 1)
		return
	}
	before := d
	if i := slices.IndexFunc(c.deployments, func(o deployment) bool { return o.namespace == d.namespace && o.host == d.host && o.from == d.from }); i >= 0 {
		before = c.deployments[i]
		if before.until == d.until && before.run == d.run {
			c.ctx.Count("deployments", "repeated", 1)
			return
		}
		c.deployments = slices.Delete(c.deployments, i, i+1)
	}
	c.ctx.Count("deployments", "taken", 1)
	if len(c.deployments) == maxDeployments {
		c.ctx.Count("deployments", "evicted", 1)
		c.deployments = slices.Delete(c.deployments, 0, 1)
	}
	c.deployments = append(c.deployments, d)
	for _, inc := range c.standing() {
		if slices.ContainsFunc(inc.members, func(h *held) bool { return d.excuses(h) || before.excuses(h) }) {
			c.publish(inc)
		}
	}
}

// standing lists the incidents that are not gone, oldest first.
func (c *Correlator) standing() []*incident {
	var out []*incident
	for b := range buckets {
		for _, inc := range c.incidents[b] {
			if !inc.gone && len(inc.members) > 0 {
				out = append(out, inc)
			}
		}
	}
	slices.SortFunc(out, earlier)
	return out
}

// excuses reports whether a signal lies in the window and is of its subject.
func (d *deployment) excuses(h *held) bool {
	if h.sig.Role != signal.RoleStaging || h.sig.First < d.from || h.sig.Time > d.until {
		return false
	}
	if d.namespace != "" && !inNamespace(h, d.namespace) {
		return false
	}
	return d.host == "" || slices.Contains(h.profile.Of(signal.IDHost), d.host)
}

func inNamespace(h *held, ns string) bool {
	if h.sig.Entity.Namespace != "" {
		return h.sig.Entity.Namespace == ns
	}
	return slices.ContainsFunc(h.profile.Of(signal.IDPod), func(p string) bool { return strings.HasPrefix(p, ns+"/") })
}

// deploying reports whether an alert is only staging that deployments explain.
// It never is once a transfer was joined, and never for RESTRICTED data:
// starting a deployment must not be a cloak.
func (c *Correlator) deploying(inc *incident, a *alert.Alert) bool {
	if a.Joined != nil || a.Classification == string(site.Restricted) || inc.joinedRev != 0 || len(inc.members) == 0 {
		return false
	}
	for _, h := range inc.members {
		if !slices.ContainsFunc(c.deployments, func(d deployment) bool { return d.excuses(h) }) {
			return false
		}
	}
	return true
}
