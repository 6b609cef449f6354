//go:build !race

package dns_test

const floodSize = 1_000_000

const raceEnabled = false
