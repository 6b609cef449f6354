package operator

// Report is what an operator holds, for a person who looks at a partition.
type Report struct {
	// Keys is how many record keys, or what stands for them, have a state,
	// Bytes about how much memory all takes.
	Keys  int   `json:"keys"`
	Bytes int64 `json:"bytes"`
	// Oldest and Newest are about when, in microseconds of append time, the
	// key that has been silent longest and the one heard last were heard; 0
	// without any.
	Oldest int64 `json:"oldest,omitempty"`
	Newest int64 `json:"newest,omitempty"`
	// Parts are the detectors and whatever else the state consists of.
	Parts []PartReport `json:"parts,omitempty"`
	// Sources say how far each source is.
	Sources []SourceReport `json:"sources,omitempty"`
}

// PartReport is one part of a Report.
type PartReport struct {
	Name  string `json:"name"`
	Keys  int    `json:"keys"`
	Bytes int64  `json:"bytes"`
}

// SourceReport is the watermark of one source: the event time, in microseconds,
// up to which it is complete. Low is 0 while that is not known.
type SourceReport struct {
	Name string `json:"name"`
	Low  int64  `json:"low"`
	// Ended says that nothing more is to come from it.
	Ended bool `json:"ended,omitempty"`
}

// Reporter is an Operator that can say what it holds.
type Reporter interface{ Report() Report }
