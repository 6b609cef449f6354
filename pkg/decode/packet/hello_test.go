package packet_test

import (
	"encoding/binary"
)

// vec16 and vec8 put the length in front.
func vec16(parts ...[]byte) []byte {
	out := []byte{0, 0}
	for _, p := range parts {
		out = append(out, p...)
	}
	binary.BigEndian.PutUint16(out, uint16(len(out)-2))
	return out
}

func vec8(b ...byte) []byte { return append([]byte{byte(len(b))}, b...) }

func u16(values ...uint16) (out []byte) {
	for _, v := range values {
		out = binary.BigEndian.AppendUint16(out, v)
	}
	return out
}

func extension(kind uint16, data []byte) []byte { return append(u16(kind), vec16(data)...) }

// helloBody is the body of a client hello.
func helloBody(version uint16, ciphers []uint16, extensions ...[]byte) []byte {
	out := append(u16(version), make([]byte, 32)...)
	out = append(out, vec8(make([]byte, 32)...)...)
	out = append(out, vec16(u16(ciphers...))...)
	out = append(out, vec8(0)...)
	return append(out, vec16(extensions...)...)
}

// message puts a handshake header in front.
func message(kind byte, body []byte) []byte {
	return append([]byte{kind, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

// tlsRecords cuts a handshake message into records of at most size bytes.
func tlsRecords(msg []byte, size int) (out []byte) {
	for len(msg) > 0 {
		n := min(size, len(msg))
		out = append(append(out, 22, 3, 1), vec16(msg[:n])...)
		msg = msg[n:]
	}
	return out
}

func sni(name string) []byte {
	return extension(0, vec16([]byte{0}, vec16([]byte(name))))
}

func alpn(names ...string) []byte {
	var list []byte
	for _, n := range names {
		list = append(list, vec8([]byte(n)...)...)
	}
	return extension(16, vec16(list))
}

// hello is a client hello in one record.
func hello(name string, protocols ...string) []byte {
	return tlsRecords(message(1, helloBody(0x0303, []uint16{0x1301, 0x1302, 0xc02f}, sni(name), alpn(protocols...),
		extension(43, vec8(u16(0x0304, 0x0303)...)))), 1<<14)
}

// serverHello chooses a version.
func serverHello(version uint16, extensions ...[]byte) []byte {
	body := append(u16(0x0303), make([]byte, 32)...)
	body = append(body, 0)
	body = append(append(body, u16(0x1301)...), 0)
	if version == 0x0304 {
		extensions = append(extensions, extension(43, u16(version)))
	}
	return tlsRecords(message(2, append(body, vec16(extensions...)...)), 1<<14)
}
