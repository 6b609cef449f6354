package packet

import (
	"bytes"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// transaction is one DNS question that waits for its reply, or got it lately.
type transaction struct {
	key    uint64 // flow, direction and message id
	tuple  tuple
	client uint8 // side of the tuple that asks
	flow   uint64
	ts     int64
	at     event.Origin
	id     uint16
	typ    uint16
	size   event.Count // of the query, known for its first question
	query  uint64      // hash of the query
	reply  uint64      // hash of the reply, once it came
	name   []byte
	chain  *transaction // the next of the same key
	queue  *queue
	prev   *transaction
	next   *transaction
}

// queue holds transactions, oldest first.
type queue struct{ head, tail *transaction }

func (q *queue) push(x *transaction) {
	x.queue, x.prev, x.next = q, q.tail, nil
	if q.tail == nil {
		q.head = x
	} else {
		q.tail.next = x
	}
	q.tail = x
}

func (q *queue) remove(x *transaction) {
	if x.prev == nil {
		q.head = x.next
	} else {
		x.prev.next = x.next
	}
	if x.next == nil {
		q.tail = x.prev
	} else {
		x.next.prev = x.prev
	}
}

// transactions is the part of a Tracker that joins questions and replies.
type transactions struct {
	byID              map[uint64]*transaction
	waiting, answered queue
	held              int // in both queues
	spare             []*transaction
}

// maxChain bounds how many open questions of one flow with the same id are
// told apart; a flood of them displaces its own oldest.
const maxChain = 32

// dnsMessage takes one datagram, or what was captured of it, that a side of a
// flow on a DNS port sent. False: it is something else, and that is no news.
func (t *Tracker) dnsMessage(f *flow, sender uint8, data []byte, size int, p *packet, sink decode.Sink) bool {
	v := t.message.parse(data, size)
	switch {
	case v == isDNS && t.rightWay(f, sender):
		t.dnsParsed(f, sender, data, size, p, sink)
	case v == cutDNS || p.partial:
	case f.onDNSPort():
		t.notDNS(f, sender, size, p, sink)
	default:
		return false
	}
	return true
}

// rightWay reports whether the message at hand goes where such go: nobody
// replies to the port of a server, and no server asks a client. A tunnel that
// plays with the response bit does.
func (t *Tracker) rightWay(f *flow, sender uint8) bool {
	if !f.onDNSPort() {
		return true
	}
	if t.message.response {
		return f.tuple.port[sender] == portDNS
	}
	return f.tuple.port[sender^1] == portDNS
}

// dnsParsed takes the message at hand.
func (t *Tracker) dnsParsed(f *flow, sender uint8, data []byte, size int, p *packet, sink decode.Sink) {
	f.protocol = "dns"
	if t.message.response {
		t.reply(f, sender, data, size, p, sink)
	} else {
		t.ask(f, sender, data, size, p, sink)
	}
}

// key finds the transactions of a message. The reply to a multicast question
// comes from another address, so that its flow does not tell.
func (f *flow) key(client uint8, id uint16) uint64 {
	k := &f.tuple
	if k.port[client^1] == portLLMNR {
		var b [21]byte
		copy(b[:], k.addr[client][:])
		b[16], b[17] = byte(k.port[client]>>8), byte(k.port[client])
		b[18], b[19] = byte(id>>8), byte(id)
		return xxhash.Sum64(b[:]) | 1<<63
	}
	return (f.serial<<17 | uint64(client)<<16 | uint64(id)) &^ (1 << 63)
}

// ask opens a transaction for each question of the message.
func (t *Tracker) ask(f *flow, client uint8, data []byte, size int, p *packet, sink decode.Sink) {
	m := &t.message
	// Nobody in particular answers a question on mDNS, if anyone does.
	alone := f.tuple.port[client^1] == portMDNS && f.tuple.multicast(client^1)
	key, hash := f.key(client, m.id), xxhash.Sum64(data)
	for i := range m.questions {
		q := &m.questions[i]
		bytes := event.Count{}
		if i == 0 {
			bytes = event.N(size)
		}
		if alone {
			e := t.begin(event.KindDNS, p.ts, p.at)
			t.between(e, &f.tuple, client, f.id)
			t.question(e, m.id, q.typ, q.name)
			e.DNS.QueryBytes = bytes
			t.stats.Transactions++
			sink.Event(e)
			continue
		}
		if t.repeated(key, hash, q) {
			t.stats.Repeated++
			continue
		}
		x := t.take(key, sink)
		*x = transaction{
			key: key, tuple: f.tuple, client: client, flow: f.id, ts: p.ts, at: p.at,
			id: m.id, typ: q.typ, size: bytes, query: hash, name: append(x.name[:0], q.name...), chain: t.byID[key],
		}
		t.byID[key] = x
		t.waiting.push(x)
		t.held++
		t.stats.Transactions++
	}
}

// repeated reports whether the same message already waits for its reply.
func (t *Tracker) repeated(key, hash uint64, q *question) bool {
	for x := t.byID[key]; x != nil; x = x.chain {
		if x.queue == &t.waiting && x.query == hash && x.typ == q.typ && bytes.Equal(x.name, q.name) {
			return true
		}
	}
	return false
}

// take returns an empty transaction, and makes room for it.
func (t *Tracker) take(key uint64, sink decode.Sink) *transaction {
	var last *transaction
	n := 0
	for x := t.byID[key]; x != nil; x = x.chain {
		last = x
		n++
	}
	switch {
	case n >= maxChain:
		t.displace(last, sink)
	case t.held < t.cfg.MaxTransactions:
	case t.answered.head != nil:
		t.forget(t.answered.head)
	default:
		t.displace(t.waiting.head, sink)
	}
	if len(t.spare) == 0 {
		block := make([]transaction, 64)
		for i := range block {
			t.spare = append(t.spare, &block[i])
		}
	}
	x := t.spare[len(t.spare)-1]
	t.spare = t.spare[:len(t.spare)-1]
	return x
}

func (t *Tracker) displace(x *transaction, sink decode.Sink) {
	if x.queue == &t.answered {
		t.forget(x)
		return
	}
	t.stats.Displaced++
	t.unanswered(x, sink)
}

// forget removes a transaction without a word.
func (t *Tracker) forget(x *transaction) {
	x.queue.remove(x)
	t.held--
	if first := t.byID[x.key]; first == x {
		if x.chain == nil {
			delete(t.byID, x.key)
		} else {
			t.byID[x.key] = x.chain
		}
	} else {
		for first.chain != x {
			first = first.chain
		}
		first.chain = x.chain
	}
	name := x.name
	*x = transaction{name: name}
	t.spare = append(t.spare, x)
}

// unanswered emits a question without its reply.
func (t *Tracker) unanswered(x *transaction, sink decode.Sink) {
	sink.Event(t.asked(x))
	t.forget(x)
}

// asked begins the event of a transaction.
func (t *Tracker) asked(x *transaction) *event.Event {
	e := t.begin(event.KindDNS, x.ts, x.at)
	t.between(e, &x.tuple, x.client, x.flow)
	t.question(e, x.id, x.typ, x.name)
	e.DNS.QueryBytes = x.size
	return e
}

// question fills in what was asked.
func (t *Tracker) question(e *event.Event, id, typ uint16, name []byte) {
	e.Network.Protocol = "dns"
	t.number = strconv.AppendUint(t.number[:0], uint64(id), 10)
	e.DNS.ID = view(t.number)
	t.name = appendNameText(t.name[:0], name)
	e.DNS.Name, e.DNS.Type = view(t.name), t.typeText(typ)
}

// reply emits the transactions that a reply ends.
func (t *Tracker) reply(f *flow, sender uint8, data []byte, size int, p *packet, sink decode.Sink) {
	m := &t.message
	client := sender ^ 1
	if f.tuple.multicast(client) {
		client = sender // told to everyone: nobody in particular had asked
	}
	key, hash := f.key(client, m.id), xxhash.Sum64(data)
	if len(m.questions) == 0 {
		// Some servers leave the question out of an error.
		t.answer(f, client, t.match(key, hash, nil), nil, true, size, hash, p, sink)
		return
	}
	for i := range m.questions {
		q := &m.questions[i]
		t.answer(f, client, t.match(key, hash, q), q, i == 0, size, hash, p, sink)
	}
}

// match finds the oldest transaction of the key that waits for a reply to the
// question, or to any where q is nil; else one that was ended by this reply.
func (t *Tracker) match(key, hash uint64, q *question) (found *transaction) {
	for x := t.byID[key]; x != nil; x = x.chain {
		if q != nil && (x.typ != q.typ || !bytes.Equal(x.name, q.name)) {
			continue
		}
		switch {
		case x.queue == &t.waiting:
			found = x // the oldest stands last
		case found == nil && x.reply == hash:
			found = x
		}
	}
	return found
}

// answer emits one question of a reply. first tells that the counters of the
// answer section belong to it.
func (t *Tracker) answer(f *flow, client uint8, x *transaction, q *question, first bool, size int, hash uint64, p *packet, sink decode.Sink) {
	m := &t.message
	var e *event.Event
	switch {
	case x == nil:
		t.stats.Transactions++
		e = t.begin(event.KindDNS, p.ts, p.at)
		t.between(e, &f.tuple, client, f.id)
		if q == nil {
			t.question(e, m.id, 0, nil)
			e.DNS.Name, e.DNS.Type = "", ""
		} else {
			t.question(e, m.id, q.typ, q.name)
		}
	case x.queue == &t.answered:
		t.stats.Repeated++
		return
	default:
		e = t.asked(x)
		e.DNS.RTT = event.N(max(p.ts-x.ts, 0))
	}
	dns := &e.DNS
	dns.ResponseCode = responseCodes[m.rcode]
	if first {
		dns.ResponseBytes = event.N(size)
		dns.Answers = event.N(m.answers)
		if m.whole {
			dns.DataBytes = event.N(m.dataBytes)
			if m.answers > 0 {
				dns.MinTTL = event.N(m.minTTL)
			}
		}
		dns.Addresses = append(dns.Addresses[:0], m.addresses...)
	}
	sink.Event(e)
	if x != nil {
		x.reply = hash
		// From now on it only stands for the copy that another interface may
		// have seen; its time is that of the reply.
		x.ts = p.ts
		t.waiting.remove(x)
		t.answered.push(x)
	}
}

// notDNS emits a packet of port 53 that is none. Its size stands on the side
// that sent it.
func (t *Tracker) notDNS(f *flow, sender uint8, size int, p *packet, sink decode.Sink) {
	e := t.begin(event.KindDNS, p.ts, p.at)
	t.between(e, &f.tuple, f.orig, f.id)
	e.DNS.NotDNS = true
	if sender == f.orig {
		e.DNS.QueryBytes = event.N(size)
	} else {
		e.DNS.ResponseBytes = event.N(size)
	}
	sink.Event(e)
}

func (t *Tracker) expireTransactions(sink decode.Sink) {
	for x := t.answered.head; x != nil && t.over(x.ts, copyKept); x = t.answered.head {
		t.forget(x)
	}
	for x := t.waiting.head; x != nil && t.over(x.ts, replyTimeout); x = t.waiting.head {
		t.unanswered(x, sink)
	}
}
