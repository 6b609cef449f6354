//go:build race

package quality

// raceEnabled says that tests run ten times as slow.
const raceEnabled = true
