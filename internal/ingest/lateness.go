package ingest

import "time"

// The low watermark of a stream is its newest event time minus what the table of
// pkg/decode (decode.DelayOf) says of it, or its source's own lateness.
//
// A stream whose files are read to their end also follows the newest event of
// its sensor: Zeek that writes a conn record of 10:05 has written the dns
// records of 10:04. Without that, a quiet stream would hold up all others.
// Wall time is never taken for event time: a sensor that is silent as a whole
// is not complete, it is silent.

// crossSlack is added to the lateness of a stream that follows another stream
// of its sensor: the logs of a process are not flushed at the same moment.
const crossSlack = 5 * time.Second
