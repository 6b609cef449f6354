package packet_test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// chrome is the hello of the example in JA4's specification.
func chrome(protocols ...string) []byte {
	ciphers := []uint16{0x0a0a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035}
	empty := func(kind uint16) []byte { return extension(kind, nil) }
	return helloBody(0x0303, ciphers,
		empty(0x1a1a), empty(0x001b), sni("www.example.com"), empty(0x0033), alpn(protocols...), empty(0x4469), empty(0x0017), empty(0x002d),
		extension(0x000d, vec16(u16(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601))),
		empty(0x0005), empty(0x0023), empty(0x0012), extension(0x002b, vec8(u16(0x2a2a, 0x0304, 0x0303)...)), empty(0xff01),
		extension(0x000b, vec8(0)), extension(0x000a, vec16(u16(0x3a3a, 0x001d, 0x0017, 0x0018))), empty(0x0015), empty(0x4a4a),
	)
}

// TestFingerprints uses the values of JA4's specification (technical_details/
// JA4.md) and of JA3's (README).
func TestFingerprints(t *testing.T) {
	t.Parallel()
	ja3, ja4, ok := packet.Fingerprint(chrome("h2", "http/1.1"), false)
	if want := "t13d1516h2_8daaf6152771_e5627efa2ab1"; !ok || ja4 != want {
		t.Errorf("JA4 %s, want %s", ja4, want)
	}
	sum := md5.Sum([]byte("771,4865-4866-4867-49195-49199-49196-49200-52393-52392-49171-49172-156-157-47-53," +
		"27-0-51-16-17513-23-45-13-5-35-18-43-65281-11-10-21,29-23-24,0"))
	if want := hex.EncodeToString(sum[:]); ja3 != want {
		t.Errorf("JA3 %s, want %s", ja3, want)
	}
	// "769,47–53–5–10–49161–49162–49171–49172–50–56–19–4,0–10–11,23–24–25,0"
	ja3, _, _ = packet.Fingerprint(helloBody(769, []uint16{47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4},
		sni("x"), extension(10, vec16(u16(23, 24, 25))), extension(11, vec8(0))), false)
	if want := "ada70206e40642a3e4461f35503241d5"; ja3 != want {
		t.Errorf("JA3 %s, want %s", ja3, want)
	}
	// "769,4–5–10–9–100–98–3–6–19–18–99,,,"
	ja3, ja4, _ = packet.Fingerprint(helloBody(769, []uint16{4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99}), false)
	if want := "de350869b8c85de67a350c8d186f11e6"; ja3 != want {
		t.Errorf("JA3 %s, want %s", ja3, want)
	}
	if !strings.HasPrefix(ja4, "t10i110000_") || !strings.HasSuffix(ja4, "_000000000000") {
		t.Errorf("JA4 without extensions: %s", ja4)
	}
	for _, c := range []struct{ protocol, want string }{
		{"h2", "h2"}, {"http/1.1", "h1"}, {"h", "hh"}, {"\xab", "ab"}, {"\xab\xcd", "ad"}, {"0\xab", "3b"}, {"", "00"},
	} {
		if _, ja4, _ := packet.Fingerprint(chrome(c.protocol), true); !strings.HasPrefix(ja4, "q13d1516"+c.want+"_") {
			t.Errorf("%q: %s", c.protocol, ja4)
		}
	}
	many := make([]uint16, 200)
	if _, ja4, _ := packet.Fingerprint(helloBody(0x0303, many), false); !strings.HasPrefix(ja4, "t12i9900") {
		t.Errorf("200 ciphers: %s", ja4)
	}
}

// stream is a TLS connection to port 8443.
type stream struct {
	*bench

	seq [2]uint32
}

func newStream(tb testing.TB) *stream {
	tb.Helper()
	s := &stream{newBench(tb, packet.Config{}), [2]uint32{101, 201}}
	s.put(tcp4(client, 5000, server, 8443, 100, 2, nil)).put(tcp4(server, 8443, client, 5000, 200, 18, nil))
	return s
}

func (s *stream) client(data []byte) *stream {
	s.put(tcp4(client, 5000, server, 8443, s.seq[0], 24, data))
	s.seq[0] += uint32(len(data))
	return s
}

func (s *stream) server(data []byte) *stream {
	s.put(tcp4(server, 8443, client, 5000, s.seq[1], 24, data))
	s.seq[1] += uint32(len(data))
	return s
}

var (
	applicationData = []byte{23, 3, 3, 0, 3, 1, 2, 3}
	cipherChange    = []byte{20, 3, 3, 0, 1, 1}
	tlsAlert        = []byte{21, 3, 3, 0, 2, 2, 40}
)

func TestHandshake(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		play func(s *stream)
		want string
	}{
		{"1.3", func(s *stream) {
			s.client(hello("a.test", "h2")).server(serverHello(0x0304)).client(cipherChange)
		}, "a.test TLSv13 h2 true"},
		{"1.2 with the server's protocol", func(s *stream) {
			s.client(hello("a.test", "h2", "http/1.1")).server(serverHello(0x0303, alpn("http/1.1"))).client([]byte{22, 3, 3, 0, 1, 16})
		}, "a.test TLSv12 http/1.1 true"},
		{"refused", func(s *stream) { s.client(hello("a.test", "h2")).server(tlsAlert) }, "a.test  h2 false"},
		{"the client refuses", func(s *stream) {
			s.client(hello("a.test", "h2")).server(serverHello(0x0304)).client(tlsAlert)
		}, "a.test TLSv13 h2 false"},
		{"no answer", func(s *stream) { s.client(hello("a.test", "h2")) }, "a.test  h2 false"},
		{"asked for another hello", func(s *stream) {
			retry := serverHello(0x0304)
			copy(retry[11:], "\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c")
			s.client(hello("a.test", "h2")).server(retry).client(hello("a.test", "h2")).server(serverHello(0x0304)).client(applicationData)
		}, "a.test TLSv13 h2 true"},
		{"after STARTTLS", func(s *stream) {
			s.server([]byte("220 mx ESMTP\r\n")).client([]byte("EHLO me\r\n")).server([]byte("250 STARTTLS\r\n")).client([]byte("STARTTLS\r\n"))
			s.server([]byte("220 go\r\n")).client(hello("mx.test")).server(serverHello(0x0304)).client(applicationData)
		}, "mx.test TLSv13  true"},
		{"through a proxy", func(s *stream) {
			s.client([]byte("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n")).server([]byte("HTTP/1.1 200 OK\r\n\r\n"))
			s.client(hello("a.test", "h2")).server(serverHello(0x0304)).client(applicationData)
		}, "a.test TLSv13 h2 true"},
		{"upper case and odd bytes", func(s *stream) { s.client(hello("A.\x00Test.", "h2")) }, `a.\x00test  h2 false`},
		{"without a name", func(s *stream) {
			s.client(tlsRecords(message(1, helloBody(0x0301, []uint16{5})), 99)).server(serverHello(0x0301))
		}, " TLSv12  false"},
		{"an empty hello", func(s *stream) { s.client(tlsRecords(message(1, nil), 99)).client(applicationData) }, ""},
		{"something else", func(s *stream) { s.client([]byte{22, 3, 1, 0, 9, 1, 0, 0, 5, 3, 3, 0, 0, 0}) }, ""},
		{"a message that is no hello", func(s *stream) { s.client([]byte{22, 3, 1, 0, 4, 2, 0, 0, 0}) }, ""},
		{"not TLS", func(s *stream) { s.client([]byte("hello, world")) }, ""},
		{"a hello of the server", func(s *stream) { s.server(hello("a.test", "h2")) }, ""},
		{"half, and then nothing", func(s *stream) { s.client(hello("a.test", "h2")[:len(hello("a.test", "h2"))-9]) }, "a.test   false no fingerprint"},
		{"less than the name", func(s *stream) { s.client(hello("a.test", "h2")[:95]) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStream(t)
			c.play(s)
			s.flush()
			var got strings.Builder
			for _, e := range s.of(event.KindTLS) {
				fmt.Fprint(&got, e.Destination.Domain, " ", e.TLS.Version, " ", e.TLS.ALPN, " ", e.TLS.Established)
				if e.TLS.JA4 == "" || e.TLS.JA3 == "" {
					got.WriteString(" no fingerprint")
				}
				if e.Network.Protocol != "tls" || e.ID != s.only(t, event.KindConn).ID || s.only(t, event.KindConn).Destination.Domain != e.Destination.Domain {
					t.Errorf("%s %s", e.Network.Protocol, e.ID)
				}
			}
			if got.String() != c.want {
				t.Errorf("got %q, want %q", got.String(), c.want)
			}
			s.checkEmpty(t)
		})
	}
}

// TestHelloInPieces: a hello of any size is found however it is cut into
// records and segments, sent again and mixed up; its time is that of the first.
func TestHelloInPieces(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		padding := extension(21, make([]byte, rapid.IntRange(0, 9000).Draw(r, "padding")))
		body := helloBody(0x0303, []uint16{0x1301, 0xc02f}, padding, sni("big.example.com"), extension(43, vec8(u16(0x0304)...)))
		_, want, _ := packet.Fingerprint(body, false)
		raw := tlsRecords(message(1, body), rapid.SampledFrom([]int{1 << 14, 1 << 14, 1000, 50, 7}).Draw(r, "record"))
		if len(raw) > packet.MaxHello {
			r.Skip("too long")
		}
		size := rapid.IntRange(len(raw)/8+1, len(raw)).Draw(r, "segment")
		if rapid.Bool().Draw(r, "tiny") {
			size = max(len(raw)/20, 1)
		}
		var segs [][2]int
		for at := 0; at < len(raw); at += size {
			segs = append(segs, [2]int{at, min(at+size, len(raw))})
		}
		s := newStream(t)
		first := s.now + 1000
		for i := 0; i+1 < len(segs); i += 2 {
			if rapid.Bool().Draw(r, "swap") {
				segs[i], segs[i+1] = segs[i+1], segs[i]
			}
		}
		for _, g := range segs {
			s.put(tcp4(client, 5000, server, 8443, 101+uint32(g[0]), 16, raw[g[0]:g[1]]))
			if rapid.IntRange(0, 9).Draw(r, "again") == 0 {
				s.put(tcp4(client, 5000, server, 8443, 101, 16, raw[:g[1]]))
			}
		}
		s.flush()
		e := s.only(t, event.KindTLS)
		if e.Destination.Domain != "big.example.com" || e.TLS.JA4 != want || e.Time != first {
			r.Errorf("%s %s at %d", e.Destination.Domain, e.TLS.JA4, e.Time-first)
		}
		s.checkEmpty(t)
	})
}

// TestHelloWaits: a hello that the server does not answer is told after 10 s.
func TestHelloWaits(t *testing.T) {
	t.Parallel()
	s := newStream(t).client(hello("a.test", "h2"))
	s.Advance(s.now+10*second-1, s.rec)
	if n := len(s.of(event.KindTLS)); n != 0 {
		t.Errorf("%d events", n)
	}
	s.Advance(s.now+10*second, s.rec)
	if e := s.only(t, event.KindTLS); e.Time != s.now || e.TLS.Established {
		t.Errorf("%+v", e.TLS)
	}
}

func TestHelloIsBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t, packet.Config{MaxBuffered: 50_000})
	head := tlsRecords(message(1, helloBody(0x0303, []uint16{1}, sni("long.test"), extension(21, make([]byte, 15_000)))), 1<<14)
	for i := range 200 {
		port := uint16(2000 + i)
		b.put(tcp4(client, port, server, 443, 100, 2, nil))
		for at := 0; at < 12_000; at += 1000 {
			b.put(tcp4(client, port, server, 443, 101+uint32(at), 16, head[at:at+1000]))
		}
		if _, _, _, _, n := b.Held(); n > 50_000 {
			t.Fatalf("%d bytes are held", n)
		}
	}
	b.flush().checkEmpty(t)
	// What did not find room was told as far as it was known.
	for _, e := range b.of(event.KindTLS) {
		if e.Destination.Domain != "long.test" || e.TLS.JA4 != "" {
			t.Errorf("%q %q", e.Destination.Domain, e.TLS.JA4)
		}
	}
	if n := len(b.of(event.KindTLS)); n == 0 {
		t.Error("nothing was told")
	}
}

func TestProtocols(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name             string
		server, client   string
		protocol, domain string
	}{
		{"http", "", "GET / HTTP/1.1\r\nUser-Agent: x\r\nhOsT:  Files.Example.COM:8080 \r\n\r\n", "http", "files.example.com"},
		{"http by address", "", "POST /up HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", "http", "2001:db8::1"},
		{"http without host", "", "PUT /x HTTP/1.0\r\n\r\n", "http", ""},
		{"http cut off in the host", "", "PUT /x HTTP/1.0\r\nHost: exam", "http", ""},
		{"proxy", "", "CONNECT drop.test:443 HTTP/1.1\r\n\r\n", "http", "drop.test"},
		{"http reply", "HTTP/1.1 200 OK\r\n\r\n", "", "http", ""},
		{"smtp", "220 mail ESMTP\r\n", "ehlo me.test\r\n", "smtp", ""},
		{"ftp", "220 FTP ready\r\n", "USER anonymous\r\n", "ftp", ""},
		{"ssh", "SSH-2.0-x\r\n", "SSH-2.0-y\r\n", "ssh", ""},
		{"nothing known", "\x00\x01", "\x02\x03", "", ""},
		{"no user without a greeting", "", "USER x\r\n", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStream(t)
			if c.server != "" {
				s.server([]byte(c.server))
			}
			if c.client != "" {
				s.client([]byte(c.client))
			}
			e := s.flush().only(t, event.KindConn)
			if e.Network.Protocol != c.protocol || e.Destination.Domain != c.domain {
				t.Errorf("%q %q, want %q %q", e.Network.Protocol, e.Destination.Domain, c.protocol, c.domain)
			}
		})
	}
}

// TestAssembly holds an assembly against a plain array.
func TestAssembly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		const limit, room = 400, 500
		a := packet.NewAssembly(room)
		var have [2 * limit]bool
		content := func(i int) byte { return byte(i * 7) }
		base := 0
		for range rapid.IntRange(1, 40).Draw(r, "steps") {
			if rapid.IntRange(0, 4).Draw(r, "drop") == 0 {
				n := rapid.IntRange(0, len(a.Prefix())).Draw(r, "n")
				a.Drop(n)
				base += n
			} else {
				off := rapid.IntRange(0, 100).Draw(r, "off")
				data := make([]byte, rapid.IntRange(0, 30).Draw(r, "len"))
				for i := range data {
					data[i] = content(base + off + i)
				}
				if a.Put(off, data, limit) {
					for i := range data {
						have[base+off+i] = true
					}
				}
			}
			if base > limit {
				break
			}
			got := a.Prefix()
			n := 0
			for have[base+n] {
				n++
			}
			if len(got) != n {
				r.Fatalf("prefix of %d bytes, want %d", len(got), n)
			}
			for i, c := range got {
				if c != content(base+i) {
					r.Fatalf("byte %d is wrong", i)
				}
			}
		}
		if left := a.Release(); left != room {
			r.Errorf("%d of %d bytes came back", left, room)
		}
		if a.Put(limit-1, []byte{1, 2}, limit) || a.Put(-1, []byte{1, 2}, limit) {
			r.Error("beyond the limit")
		}
	})
	small := packet.NewAssembly(10)
	if small.Put(0, bytes.Repeat([]byte{1}, 11), 100) {
		t.Error("beyond the budget")
	}
}
