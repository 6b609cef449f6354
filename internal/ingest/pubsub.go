package ingest

import (
	"fmt"
	"net/url"
	"strings"
)

// PubSub says which subscriptions of Google's Pub/Sub are read
// (internal/ingest/pubsub).
type PubSub struct {
	Subscriptions  []string `yaml:"subscriptions" help:"subscriptions of Pub/Sub that are pulled, as NAME or projects/PROJECT/subscriptions/NAME"`
	Project        string   `yaml:"project" help:"project of subscriptions that are given as NAME"`
	Endpoint       string   `yaml:"endpoint" help:"host:port of an emulator, spoken to without TLS and credentials; empty: Google"`
	MaxOutstanding int      `yaml:"max_outstanding" help:"most messages of one subscription that wait for their commit"`
	Name           string   `yaml:"name" help:"sensor name of what messages hold; empty: the subscription"`
	Realm          string   `yaml:"realm" help:"address space of what messages hold; empty: by the site file"`
}

// defaultPubSub is the configuration unless set.
func defaultPubSub() PubSub { return PubSub{MaxOutstanding: 1000} }

// Enabled reports whether there is anything to read.
func (c *PubSub) Enabled() bool { return len(c.Subscriptions) > 0 }

// FullName is a subscription with its project.
func (c *PubSub) FullName(subscription string) string {
	if strings.Contains(subscription, "/") {
		return subscription
	}
	return "projects/" + c.Project + "/subscriptions/" + subscription
}

func (c *PubSub) validate(once bool, bad func(key, format string, args ...any)) {
	if !c.Enabled() {
		return
	}
	if once {
		bad("once", "does not go with pubsub.subscriptions: they have no end")
	}
	for i, name := range c.Subscriptions {
		key := fmt.Sprintf("pubsub.subscriptions[%d]", i)
		if !strings.Contains(name, "/") && name != "" {
			if c.Project == "" {
				bad(key, "%q needs pubsub.project", name)
			}
			continue
		}
		if p := strings.Split(name, "/"); len(p) != 4 || p[0] != "projects" || p[1] == "" || p[2] != "subscriptions" || p[3] == "" {
			bad(key, "%q is not projects/PROJECT/subscriptions/NAME", name)
		}
	}
	if u, err := url.Parse("//" + c.Endpoint); c.Endpoint != "" && (err != nil || u.Port() == "") {
		bad("pubsub.endpoint", "%q is not host:port", c.Endpoint)
	}
	if c.MaxOutstanding < 1 || c.MaxOutstanding > 100_000 {
		bad("pubsub.max_outstanding", "%d is not between 1 and 100000", c.MaxOutstanding)
	}
}
