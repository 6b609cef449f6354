package packet

// Config bounds the memory of a Tracker. A field below 1 takes its default.
type Config struct {
	// MaxFlows is how many connections are followed at once; each takes about
	// 400 bytes with its place in the table.
	MaxFlows int
	// MaxTransactions is how many DNS questions wait for their reply at once,
	// or for a copy of it; each takes about 250 bytes and its name.
	MaxTransactions int
	// MaxDatagrams is how many fragmented datagrams are put together at once.
	MaxDatagrams int
	// MaxBuffered is how many bytes of fragments, hellos and DNS over TCP wait
	// for what is missing.
	MaxBuffered int
}

// Default is sized for one busy link: about 100 MB when all is in use.
func Default() Config {
	return Config{MaxFlows: 131_072, MaxTransactions: 65_536, MaxDatagrams: 1024, MaxBuffered: 16 << 20}
}

func (c Config) withDefaults() Config {
	d := Default()
	for _, f := range []struct {
		have      *int
		otherwise int
	}{
		{&c.MaxFlows, d.MaxFlows},
		{&c.MaxTransactions, d.MaxTransactions},
		{&c.MaxDatagrams, d.MaxDatagrams},
		{&c.MaxBuffered, d.MaxBuffered},
	} {
		if *f.have < 1 {
			*f.have = f.otherwise
		}
	}
	return c
}

// Times in microseconds of packet time. The idle times are Zeek's, so that
// both sources cut the same traffic into the same connections.
const (
	second = 1_000_000

	tcpIdle     = 300 * second
	shortIdle   = 60 * second // UDP, ICMP, other protocols, TCP without an answer
	linger      = 5 * second  // for what follows a FIN or RST
	reportEvery = 60 * second
	// reportBytes is the payload after which an open flow is reported before
	// its minute.
	reportBytes = 1 << 20
	// soonOver is how long a short-lived flow may be silent and still get its
	// minutely report: beyond, its end follows within half a minute.
	soonOver = 30 * second

	replyTimeout     = 10 * second
	copyKept         = 2 * second // for a second copy of a reply, from another interface
	handshakeTimeout = 10 * second
	fragmentTimeout  = 30 * second
)

const (
	// maxHello bounds the bytes of a stream that may hold one client hello.
	maxHello = 16 << 10
	// maxDNSStream holds one message of the largest size with its length.
	maxDNSStream = 2 + 65535
	maxDatagram  = 65535
	// maxSniffed is how many segments with data of a stream are looked at. A
	// hello may follow STARTTLS or a proxy's CONNECT.
	maxSniffed = 32
	// maxInitials is how many QUIC packets of a flow are deciphered.
	maxInitials = 12
	// maxGap is the largest jump of a sequence number that is taken for lost
	// packets; a larger one is noise and counts nothing.
	maxGap = 16 << 20
	// maxAddresses is how many resolved addresses an event holds.
	maxAddresses = 16
	// maxQuestions is how many questions of one message become events.
	maxQuestions = 32
	// maxDomain is the length at which a name that a client sent is cut.
	maxDomain = 255
)
