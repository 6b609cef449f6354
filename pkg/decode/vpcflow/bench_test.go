package vpcflow_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/decode/vpcflow"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// discard is a sink that only counts.
type discard struct{ events, ignored, dead int }

func (d *discard) Event(*event.Event)                { d.events++ }
func (d *discard) Ignored(string)                    { d.ignored++ }
func (d *discard) Dead(string, []byte, event.Origin) { d.dead++ }

// lines makes n varied lines in the default format or in a version 5 format,
// header first.
func lines(n int, v5 bool) (out [][]byte) {
	r := rand.New(rand.NewPCG(1, 2))
	if v5 {
		out = append(out, []byte("version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr region az-id sublocation-type sublocation-id pkt-src-aws-service pkt-dst-aws-service flow-direction traffic-path"))
	}
	for range n {
		packets := r.Uint64N(100_000) + 1
		from := 1767607200 + r.Uint64N(3600)
		src, dst := fmt.Sprintf("10.%d.%d.%d", r.IntN(256), r.IntN(256), r.IntN(256)), fmt.Sprintf("%d.%d.%d.%d", 1+r.IntN(200), r.IntN(256), r.IntN(256), r.IntN(256))
		if r.IntN(10) == 0 {
			src, dst = fmt.Sprintf("fd00:20:%x::%x", r.IntN(65536), r.IntN(65536)), fmt.Sprintf("2001:db8:%x:%x::%x", r.IntN(65536), r.IntN(65536), r.IntN(65536))
		}
		action := [...]string{"ACCEPT", "ACCEPT", "ACCEPT", "REJECT"}[r.IntN(4)]
		line := fmt.Sprintf("2 210987654321 eni-%017x %s %s %d %d %d %d %d %d %d %s OK", r.Uint64N(1<<40), src, dst,
			r.IntN(65536), [...]int{443, 53, 22, 445, 8080}[r.IntN(5)], [...]int{6, 6, 17, 1}[r.IntN(4)], packets, packets*(40+r.Uint64N(1400)), from, from+r.Uint64N(60), action)
		if v5 {
			pkt := src
			if r.IntN(4) == 0 {
				pkt = fmt.Sprintf("100.64.%d.%d", r.IntN(256), r.IntN(256))
			}
			line = "5" + line[1:] + fmt.Sprintf(" vpc-%x subnet-%x i-%017x %d IPv4 %s %s eu-central-1 euc1-az%d - - - %s %s %s", r.IntN(9), r.IntN(99), r.Uint64N(1<<40),
				r.IntN(20), pkt, dst, r.IntN(3), [...]string{"-", "S3", "EC2"}[r.IntN(3)], [...]string{"egress", "ingress"}[r.IntN(2)], [...]string{"-", "8", "1"}[r.IntN(3)])
		}
		out = append(out, []byte(line))
		if r.IntN(50) == 0 && !v5 {
			out = append(out, []byte("2 210987654321 eni-1 - - - - - - - 1767607200 1767607259 - NODATA"))
		}
	}
	return out
}

// Not parallel: AllocsPerRun counts the allocations of the whole process.
func TestSteadyStateDoesNotAllocate(t *testing.T) {
	for _, v5 := range []bool{false, true} {
		in := lines(500, v5)
		d, sink := vpcflow.New(), &discard{}
		run := func() {
			for i, line := range in {
				d.Line(line, event.Origin{Name: "flow.log", Line: event.N(i)}, sink)
			}
		}
		run()
		if sink.dead > 0 || sink.events < 500 {
			t.Fatalf("v5 %v: %+v", v5, *sink)
		}
		if n := testing.AllocsPerRun(20, run); n > 0 {
			t.Errorf("v5 %v: %v allocations in %d lines", v5, n, len(in))
		}
	}
}

func BenchmarkLine(b *testing.B) {
	for _, v5 := range []bool{false, true} {
		name := "v2"
		if v5 {
			name = "v5"
		}
		b.Run(name, func(b *testing.B) {
			in := lines(4000, v5)
			d, sink := vpcflow.New(), &discard{}
			b.SetBytes(int64(len(bytes.Join(in, nil)) / len(in)))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				d.Line(in[i], event.Origin{Name: "flow.log", Line: event.N(i)}, sink)
				if i++; i == len(in) {
					i = 0
				}
			}
			if sink.dead > 0 {
				b.Fatal("dead lines")
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
