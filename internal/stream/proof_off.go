//go:build !ebbcrash

package stream

// proofFromEnvironment is nothing in a product build.
func proofFromEnvironment() proof { return proof{} }
