package input

import (
	"errors"
	"io"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// packets reads captures. What it knows of connections lies in the tracker,
// so that a resumed capture is read from its beginning. At the end of a file
// all connections are reported: one that goes on in the next file is another
// one there.
type packets struct {
	reader  *packet.Reader
	tracker *packet.Tracker
	skipper
	name  string
	close func() error
	ended bool
}

func openPackets(src io.Reader, closing func() error, name string, at Position) *packets {
	t := packet.NewTracker(packet.Default())
	return &packets{reader: packet.NewReader(src, name, t), tracker: t, skipper: skipper{skip: at.Records}, name: name, close: closing}
}

// Next implements Reader: one packet, and at the end of the capture the
// connections that were still open.
func (p *packets) Next(sink decode.Sink) error {
	p.sink = sink
	if p.ended {
		return io.EOF
	}
	err := p.reader.Next(&p.skipper)
	if errors.Is(err, io.EOF) {
		p.ended = true
		p.tracker.Flush(&p.skipper)
		return nil
	}
	return err
}

// End implements Reader.
func (p *packets) End(err error, sink decode.Sink) {
	p.sink = sink
	if err != nil && !p.ended {
		p.ended = true
		p.tracker.Flush(&p.skipper)
		if reason := reasonOf(err); reason != "" {
			p.Dead(reason, nil, event.Origin{Name: p.name, Line: event.N(p.reader.Packets() + 1), Offset: event.N(p.reader.Offset())})
		}
	}
}

// Position implements Reader.
func (p *packets) Position() Position { return Position{Records: p.records} }

// Again implements Reader.
func (p *packets) Again() error { return nil }

// Closed implements Reader.
func (p *packets) Closed() bool { return true }

// Close implements Reader.
func (p *packets) Close() error { return p.close() }
