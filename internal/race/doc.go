// Package race tells tests whether they run under the race detector, with which
// most take ten times as long.
package race
