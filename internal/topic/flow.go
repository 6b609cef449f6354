package topic

// Flow is what a service with state reads and writes. Its engine and the
// commands that look at or move its state must agree on both: on the embedded
// broker the ends of the outputs are committed with the state.
type Flow struct {
	Service string
	// Inputs stand in the order of the state topic's partitions.
	Inputs, Outputs []string
}

// Detect is the flow of detection.
func Detect() Flow {
	return Flow{Service: "detect", Inputs: []string{Network, Host, Cloud}, Outputs: []string{Signals}}
}

// Correlate is the flow of correlation. What analysts answer goes back to where
// the finding was made (ADR 8).
func Correlate() Flow {
	return Flow{Service: "correlate", Inputs: []string{Signals}, Outputs: []string{Alerts, Network}}
}
