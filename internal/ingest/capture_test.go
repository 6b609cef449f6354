package ingest_test

import (
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/ingest/capture"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// What passes on an interface becomes events while it passes; what is open at
// the stop is reported then, with a word on losses.
func TestCapture(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("no packet sockets")
	}
	cfg := quick()
	cfg.Sources = nil
	cfg.Capture = capture.Default()
	cfg.Capture.Interface, cfg.Capture.Promiscuous, cfg.Capture.Name = "lo", false, "wire"
	w := newWorld(t)
	r := w.start("ingest-packet", cfg, false)
	select {
	case err := <-r.done:
		if strings.Contains(err.Error(), "CAP_NET_RAW") {
			t.Skip(err)
		}
		t.Fatal(err)
	case <-r.svc.Ready():
	}
	tcp := exchange(t, 10_000)
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = packets.Close() }()
	for range 7 {
		if _, err := packets.WriteTo(make([]byte, 100), packets.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	udp := packets.LocalAddr().(*net.UDPAddr).Port
	of := func(port int) (list []event.Event) {
		for _, e := range w.events(topic.Network) {
			if e.Kind == event.KindConn && e.Role == "" && e.Observer.Name == "wire" && (e.Destination.Port == event.N(port) || e.Source.Port == event.N(port)) {
				list = append(list, e)
			}
		}
		return list
	}
	until(t, "the end of the TCP connection", func() bool { return len(of(tcp)) > 0 })
	if e := of(tcp)[0]; e.Destination.Port != event.N(tcp) || e.Source.Bytes != event.N(10_000) || e.Network.Transport != "tcp" {
		t.Errorf("the connection is %+v", e)
	}
	time.Sleep(50 * time.Millisecond)
	r.stop()
	list := of(udp)
	if len(list) == 0 {
		t.Fatal("what was open at the stop was not reported")
	}
	if e := list[len(list)-1]; e.Source.Bytes != event.N(700) {
		t.Errorf("the datagrams are %+v", e)
	}
	var health int
	for _, e := range w.events(topic.Network) {
		if e.Kind == event.KindHealth && e.Observer.Name == "wire" && e.Health.Received.Or(0) > 0 {
			health++
		}
	}
	if health == 0 {
		t.Error("no word on losses")
	}
	if n := w.counted("ebbwatch_ingest_capture_packets_total"); n < 14 {
		t.Errorf("%v packets counted", n)
	}
}

// exchange sends n bytes over a TCP connection of its own, and returns the
// server's port.
func exchange(t *testing.T, n int) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		buf := make([]byte, 4096)
		for {
			if _, err := c.Read(buf); err != nil {
				break
			}
		}
		_ = c.Close()
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().(*net.TCPAddr).Port
}

// Only ingest-packet captures, and not once.
func TestCaptureIsRefused(t *testing.T) {
	t.Parallel()
	cfg := ingest.Default()
	cfg.Capture.Interface = "lo"
	if _, err := ingest.New(kindOf(t, "ingest-zeek"), cfg, ingest.World{}); err == nil || !strings.Contains(err.Error(), "capture.interface") {
		t.Errorf("ingest-zeek: %v", err)
	}
	cfg.Once, cfg.Capture.Snaplen = true, 1
	if _, err := ingest.New(kindOf(t, "ingest-packet"), cfg, ingest.World{}); err == nil || !strings.Contains(err.Error(), "once: ") || !strings.Contains(err.Error(), "capture.snaplen: ") {
		t.Errorf("ingest-packet: %v", err)
	}
}
