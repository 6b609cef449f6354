//go:build race

package dns_test

// floodSize is how many questions a flood has: under the race detector each
// takes ten times as long.
const floodSize = 60_000

const raceEnabled = true
