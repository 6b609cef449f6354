// Package deploy has the tests of what deploy/ gives to other programs: rules
// of Falco and scripts of Zeek. It contains no code.
package deploy
