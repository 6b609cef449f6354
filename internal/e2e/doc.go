// Package e2e tests Ebbwatch as a whole: the built binaries as processes, and
// the same records through the services and through a hunt.
package e2e
