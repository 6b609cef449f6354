package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/ebbwatch/ebbwatch/internal/app"
)

// metricPage is the reference page of the services' metrics.
func metricPage() []byte {
	list, err := app.Metrics()
	if err != nil {
		fatal(err)
	}
	var b bytes.Buffer
	b.WriteString(`# Metrics

Generated from what the services register; do not edit. They are on the admin port of each service under ` + "`/metrics`" + `, beside those of the Go runtime (` + "`go_`" + `) and the process (` + "`process_`" + `).
Families with a label per host or address are capped: what goes beyond is counted under ` + "`other`" + `. [Alert rules](../../deploy/prometheus/ebbwatch.rules.yml), [runbooks](../runbooks/).

| metric | type | labels | meaning |
|---|---|---|---|
`)
	for _, m := range list {
		labels := ""
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "` `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Type, labels, m.Help)
	}
	return b.Bytes()
}
