package main

import (
	"bytes"
	"fmt"

	"github.com/ebbwatch/ebbwatch/internal/app"
	"github.com/ebbwatch/ebbwatch/internal/config"
)

// configPage is the reference page of the services' configuration.
func configPage() []byte {
	var b bytes.Buffer
	b.WriteString(`# Configuration

Generated from the configuration structs; do not edit. Defaults < file (` + "`-config FILE`" + `, YAML) < environment < flags. A key ` + "`kafka.brokers`" + ` is the nested key of the file,
the flag ` + "`-kafka.brokers`" + ` and the variable ` + "`EBB_KAFKA_BROKERS`" + `; lists are separated by commas there. Unknown keys are errors. ` + "`-config.check`" + ` prints the configuration as it
would be used, ` + "`-version`" + ` the version.
`)
	for _, s := range app.Configurations() {
		keys, err := config.Keys(s.Config)
		if err != nil {
			fatal(err)
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n| key | default | meaning |\n|---|---|---|\n", s.Service, s.Description)
		for _, k := range keys {
			def := k.Default
			if def != "" {
				def = "`" + def + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.Name, def, k.Help)
		}
	}
	return b.Bytes()
}
